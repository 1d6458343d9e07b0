# Begins the change $id under a dead man's switch: a process of its own session, which outlives this one, and leads back
# unless somebody says `keep` within $limit seconds. A switch that was killed is finished first; beside one at work
# nothing begins (exit 75).
base=/run/crowbar-network
umask 077
mkdir -p "$base" || exit 1
exec 9>"$base/lock"
if ! flock -n 9; then
    echo busy
    exit 75
fi

lives() { # lives DIRECTORY
    pid=$(cat "$1/pid" 2>/dev/null) && [ -n "$pid" ] && grep -q crowbar-network "/proc/$pid/cmdline" 2>/dev/null
}

for one in "$base"/*/; do
    one=${one%/}
    [ -d "$one" ] && [ ! -e "$one/done" ] || continue
    if lives "$one"; then
        echo busy
        exit 75
    fi
    if mkdir "$one/verdict" 2>/dev/null && [ -e "$one/pid" ]; then
        ip -force -batch "$one/backward" >/dev/null 2>&1
        [ ! -s "$one/backward6" ] || ip -6 -force -batch "$one/backward6" >/dev/null 2>&1
        [ ! -s "$one/untry.sh" ] || sh "$one/untry.sh" >/dev/null 2>&1
        echo "the switch ${one##*/} had been killed: what it guarded was taken back"
    fi
    : >"$one/done"
done
# What is over is only of interest to whoever asks for the last one's end.
for one in "$base"/*/; do [ ! -d "$one" ] || rm -rf -- "$one"; done

here=$base/$id
mkdir "$here" || exit 1
unpack "$here"
if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; then
    systemd-run --quiet --collect --unit="crowbar-network-$id" sh "$here/watch.sh" "$here" "$limit" 9>&- || exit 1
else
    setsid sh "$here/watch.sh" "$here" "$limit" </dev/null >/dev/null 2>&1 9>&- &
fi
for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -e "$here/pid" ] || sleep 0.1 || sleep 1; done
echo begun
