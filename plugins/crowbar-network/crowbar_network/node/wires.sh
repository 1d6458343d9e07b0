# Tells of the cards of this machine and of what they are plugged into, under headings of `$mark NAME`. Reads only.
heading() { printf '\n%s %s\n' "$mark" "$1"; }

heading links; ip -d -j link show
heading speeds
for path in /sys/class/net/*; do
    name=${path##*/} speed='' duplex='' real=''
    read -r speed 2>/dev/null <"$path/speed"
    read -r duplex 2>/dev/null <"$path/duplex"
    [ ! -d "$path/device" ] || real=yes
    printf '%s|%s|%s|%s\n' "$name" "$speed" "$duplex" "$real"
done
heading lldp; ! command -v lldpcli >/dev/null || lldpcli -f json0 show neighbors details 2>/dev/null
heading pings
