# Tells what the interfaces of this machine are, under headings of `$mark NAME`. Reads only.
heading() { printf '\n%s %s\n' "$mark" "$1"; }

heading links; ip -d -j link show
heading addresses; ip -j addr show
heading routes4; ip -d -j -4 route show table all
heading routes6; ip -d -j -6 route show table all
heading rules4; ip -j -4 rule show
heading rules6; ip -j -6 rule show
heading hardware
for path in /sys/class/net/*; do
    name=${path##*/}
    speed=
    if command -v ethtool >/dev/null; then
        speed=$(ethtool "$name" 2>/dev/null | sed -n '/Supported link modes/,/Supported pause/p' |
            grep -o '[0-9][0-9]*base' | tr -d bases | sort -n | tail -n 1)
    fi
    [ -n "$speed" ] || speed=$(cat "$path/speed" 2>/dev/null)
    driver=$(readlink -f "$path/device/driver")
    printf '%s|%s|%s|%s\n' "$name" "$(readlink -f "$path/device")" "${driver##*/}" "$speed"
done
heading product; cat /sys/class/dmi/id/product_name 2>/dev/null
heading kept; cat /etc/crowbar-network/kept.json 2>/dev/null
heading tools
for tool in arping ifup ip netplan networkctl ping; do ! command -v $tool >/dev/null || printf '%s ' $tool; done
if [ -d /run/systemd/system ]; then
    printf 'systemd '
    ! systemctl --quiet is-active systemd-networkd || printf 'networkd-active '
    ! systemctl --quiet is-active NetworkManager || printf 'NetworkManager-active '
fi
for file in "$@"; do
    if [ -f "$file" ]; then heading "file $file"; cat "$file"; fi
done
heading switches
for one in /run/crowbar-network/*/; do
    [ ! -d "$one" ] || [ -e "$one/done" ] || printf '%s\n' "$one"
done
heading end
