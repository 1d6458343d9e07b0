# Tells what the interfaces of this machine are, under headings of `$mark NAME`. Reads only.
heading() { printf '\n%s %s\n' "$mark" "$1"; }

heading links; ip -d -j addr show
for family in 4 6; do
    heading "ways $family"
    printf 'route show table all\nrule show\n' | ip -$family -d -j -force -batch -
done
heading hardware # by what the shell can do itself: a fork for each fact of each card would be the dearest part
for path in /sys/class/net/*; do
    [ -d "$path/device" ] || [ -e "$path/speed" ] || continue
    name=${path##*/} bus='' driver='' speed=''
    if [ -d "$path/device" ]; then
        bus=$(cd -P "$path/device" && pwd -P)
        driver=$(cd -P "$path/device/driver" 2>/dev/null && pwd -P)
        if command -v ethtool >/dev/null; then
            speed=$(ethtool "$name" 2>/dev/null | sed -n '/Supported link modes/,/Supported pause/p' |
                grep -o '[0-9][0-9]*base' | tr -d bases | sort -n | tail -n 1)
        fi
    fi
    [ -n "$speed" ] || read -r speed 2>/dev/null <"$path/speed"
    printf '%s|%s|%s|%s\n' "$name" "$bus" "${driver##*/}" "$speed"
done
heading product; [ ! -r /sys/class/dmi/id/product_name ] || cat /sys/class/dmi/id/product_name
heading kept; [ ! -e /etc/crowbar-network/kept.json ] || cat /etc/crowbar-network/kept.json
heading tools
for tool in arping ifup ip netplan networkctl ping; do ! command -v $tool >/dev/null || printf '%s ' $tool; done
if [ -d /run/systemd/system ]; then
    printf 'systemd '
    ! systemctl --quiet is-active systemd-networkd || printf 'networkd-active '
    ! systemctl --quiet is-active NetworkManager || printf 'NetworkManager-active '
    root=''
    while read -r _ point type _; do [ "$point" != / ] || root=$type; done </proc/mounts
    case $root in
    '' | rootfs | tmpfs | ramfs | overlay | squashfs | erofs | iso9660) ;; # in memory: the next start is from the network
    *) printf 'disk ' ;;
    esac
fi
for file in "$@"; do
    if [ -f "$file" ]; then heading "file $file"; cat "$file"; fi
done
if [ $# != 0 ]; then
    heading clients # of DHCP, in this network: their numbers and command lines
    for one in /proc/[0-9]*/comm; do
        read -r name 2>/dev/null <"$one" || continue
        case $name in
        dhclient | dhcpcd | udhcpc | busybox)
            one=${one%/comm}
            [ "$one/ns/net" -ef /proc/self/ns/net ] || continue
            printf '%s %s\n' "${one#/proc/}" "$(tr '\0' '\037' <"$one/cmdline")"
            ;;
        esac
    done
fi
heading switches
for one in /run/crowbar-network/*/; do
    if [ -d "$one" ] && [ ! -e "$one/done" ]; then
        state=new tried=''
        [ ! -e "$one/state" ] || read -r state <"$one/state"
        [ ! -e "$one/tried" ] || read -r tried <"$one/tried"
        printf '%s %s\n' "$state" "${tried:-never}"
    fi
done
# When the server began this session, in hundredths of a second since the machine has started.
heading session
if read -r line <"/proc/$PPID/stat"; then
    set -- ${line##*) }
    shift 19
    printf '%s\n' "$1"
fi
heading end
