
# The machine says by itself what it is, with a token that counts once.

if command -v curl >/dev/null; then
    send() { curl -sS -m 60 -o "$2" -w '%{http_code}' -H "Authorization: Bearer $TOKEN" --data-binary "@$1" "$URL$3"; }
elif command -v wget >/dev/null; then
    send() {
        wget -q -T 60 -O "$2" --content-on-error --header "Authorization: Bearer $TOKEN" --post-file "$1" "$URL$3"
        case $? in 0) echo 200 ;; *) echo 500 ;; esac
    }
else
    die 'curl or wget is needed'
fi
told=$(mktemp -d) || die 'no directory for temporary files can be made'
trap 'rm -rf "$told"' EXIT
take_stock "$HOST" >"$told/facts"
cat /etc/ssh/ssh_host_*_key.pub >"$told/keys" 2>/dev/null
[ -s "$told/keys" ] || die 'it has no host keys in /etc/ssh: install an SSH server'
sed 's/^/host_key	/' "$told/keys" >>"$told/facts"
code=$(send "$told/facts" "$told/answer" /v1/join)
[ "$code" = 200 ] || die "it was not taken: $(cat "$told/answer" 2>/dev/null)"
let_in
: >"$told/nothing"
code=$(send "$told/nothing" "$told/alive" /v1/join/alive)
[ "$code" = 200 ] || die "it could not be said that it is alive: $(cat "$told/alive" 2>/dev/null)"
cat "$told/answer"
