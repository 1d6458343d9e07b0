# What a machine that joins runs, as root. Before it stand KEY, the key that root is to let in, and what the caller wants.

die() {
    echo "crowbar: $*" >&2
    exit 1
}

card_to() { # card_to ADDRESS: the MAC of the card by which it is reached
    name=$(ip -o route get "$1" 2>/dev/null | sed -n 's/.* dev \([^ ]*\) .*/\1/p')
    cat "/sys/class/net/$name/address" 2>/dev/null
}

take_stock() { # take_stock ADDRESS: what it is, as facts; who asks is at ADDRESS
    [ "$(id -u)" = 0 ] || die 'this is to be run as root'
    command -v ip >/dev/null || die 'the program ip is missing: install iproute2'
    RAW=$(mktemp -d) || die 'no directory for temporary files can be made'
    export RAW
    stock >"$RAW/inventory"
    sh "$RAW/inventory" "$(card_to "$1")"
    printf 'fact\tfqdn\t%s\n' "$(hostname -f 2>/dev/null)"
    rm -rf "$RAW"
}

let_in() { # root lets KEY in; said again, it changes nothing
    home=$(awk -F : '$1 == "root" { print $6; exit }' /etc/passwd)
    keys=${home:-/root}/.ssh/authorized_keys
    ! grep -qF "${KEY% *}" "$keys" 2>/dev/null || return 0
    umask 077
    mkdir -p "${keys%/*}"
    [ ! -s "$keys" ] || [ -z "$(tail -c 1 "$keys")" ] || echo >>"$keys"
    echo "$KEY" >>"$keys" || die "$keys cannot be written"
}
