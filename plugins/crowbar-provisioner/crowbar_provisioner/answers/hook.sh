
# What installers run: begun | disk | late TARGET | error. For the shells of all of them; each step is told with the token
# of the boot, and whoever is refused goes no further.
work=/tmp/crowbar
mkdir -p $work

say() { echo "crowbar: $*" >/dev/console 2>/dev/null; }

halt() { # nothing more happens on this machine until it is reset
    say "$*"
    while :; do sleep 3600; done
}

send() { # send METHOD PATH [FILE]: the answer is in $work/answer, its status in $status; 000: nobody answered
    : >$work/answer
    if command -v curl >/dev/null; then
        status=$(curl -s -m 60 -o $work/answer -w '%{http_code}' -X "$1" -H "Authorization: Bearer $token" \
            -H 'Content-Type: application/json' ${3:+--data-binary "@$3"} "$base$2")
        return 0
    fi
    {
        printf '%s %s HTTP/1.0\r\nHost: %s\r\nAuthorization: Bearer %s\r\n' "$1" "$2" "$at" "$token"
        [ -z "$3" ] || printf 'Content-Type: application/json\r\nContent-Length: %s\r\n' "$(wc -c <"$3" | tr -d ' ')"
        printf '\r\n'
        [ -z "$3" ] || cat "$3"
        waited=0 # who closes its side is taken for gone
        until [ -s $work/answer ] || [ $waited -ge 30 ]; do
            sleep 1
            waited=$((waited + 1))
        done
    } | nc "$host" "$port" >$work/answer 2>/dev/null
    status=$(head -n 1 $work/answer | cut -d ' ' -f 2)
    status=${status:-000}
}

tell() { # tell STEP STATE [DETAIL [KEYS]]: until it is heard
    printf '{"id": "%s", "step": "%s", "state": "%s", "detail": "%s", "host_keys": [%s]}\n' "$id" "$1" "$2" \
        "$(printf %s "$3" | tr -cd 'A-Za-z0-9 .,:/_-')" "$4" >$work/step
    pause=1
    while :; do
        send POST /v1/steps $work/step
        case $status in
            200) return 0 ;;
            401 | 404 | 409 | 422) halt "the step $1 was refused ($status)" ;;
        esac
        sleep $pause
        [ $pause -ge 30 ] || pause=$((pause * 2))
    done
}

last_words() { # what the installer wrote last, once, heard or not
    for file in /var/log/syslog /tmp/anaconda.log /var/log/installer/subiquity-server-debug.log; do
        [ ! -s $file ] || tail -n 40 $file
    done 2>/dev/null | tr '"\134\011' "'/ " | tr -cd '\012\040-\176' | cut -c 1-500 | sed 's/.*/"&",/' >$work/lines
    [ -s $work/lines ] || return 0
    { echo '{"lines": [' && cat $work/lines && echo '""]}'; } >$work/log
    send POST /v1/log $work/log
}

failed() { # failed STEP WHY
    last_words
    tell "$1" failed "$2"
    halt "$2"
}

number() { # number FILE: what it says
    value "$1"
    printf '%s' "${V:-0}"
}

disk() { # disk NAME SIZE SERIAL WWN PLACE: the one that is meant is the next of $disks, whatever it is called here
    hits= count=0
    for one in /sys/block/*; do
        know "$one" || continue
        [ "$(($(number "$one/size") * 512))" = "$2" ] || continue
        [ "$(number "$one/ro")" != 1 ] && [ "$(number "$one/removable")" != 1 ] || continue
        if [ -n "$3" ]; then
            [ -n "$serial" ] || # an older kernel
                serial=$(udevadm info --query=property --name="/dev/${one##*/}" 2>/dev/null | sed -n 's/^ID_SERIAL_SHORT=//p')
            [ "$serial" = "$3" ] || continue
        elif [ -n "$4" ]; then
            [ "$wwn" = "$4" ] || continue
        elif [ -n "$5" ]; then
            [ "$path" = "$5" ] || continue
        else
            [ "${one##*/}" = "$1" ] || continue
        fi
        hits=${one##*/} count=$((count + 1))
    done
    [ $count = 1 ] || failed disk "$count disks are like $1, which was chosen: size $2, serial number $3"
    case " $disks " in *" $hits "*) failed disk "$hits would be both of two disks" ;; esac
    disks="$disks${disks:+ }$hits"
}

wipe() { # wipe NAME: nobody finds a RAID or a volume group on it that was there before
    for part in /sys/block/"$1" /sys/block/"$1"/"$1"*; do
        [ -e "$part/size" ] || continue
        size=$(number "$part/size") start=0
        [ ! -e "$part/start" ] || start=$(number "$part/start")
        for sector in "$start" $((start + (size > 4096 ? size - 2048 : 0))); do
            dd if=/dev/zero of="/dev/$1" bs=512 seek="$sector" count=$((size < 2048 ? size : 2048)) conv=notrunc \
                2>/dev/null || failed disk "$1 cannot be written to"
        done
    done
    sync
    blockdev --rereadpt "/dev/$1" 2>/dev/null
}

put_in() { # put_in FILE: the names of the disks instead of those that no disk has
    number=0
    for one in $disks; do
        sed -i "s/crowbar-disk-$number/$one/g" "$1" || failed disk "$1 cannot be changed"
        number=$((number + 1))
    done
}

partition() { # partition DISK NUMBER
    case $1 in
        *[0-9]) printf '%sp%s' "$1" "$2" ;;
        *) printf '%s%s' "$1" "$2" ;;
    esac
}

find_disks() {
    tell disk begun
    udevadm settle 2>/dev/null
    disks=
    the_disks
    case $method in
        preseed)
            for one in $disks; do wipe "$one"; done
            told=
            for one in $disks; do told="$told${told:+ }/dev/$one"; done
            debconf-set partman-auto/disk "$told" && debconf-set grub-installer/bootdev "$told" ||
                failed disk "the disks cannot be told to the installer"
            ;;
        autoinstall) put_in /autoinstall.yaml ;;
        kickstart)
            curl -sSf -o $work/layout "$base/b/$token/answers/layout.ks" || failed disk "the layout is not served"
            put_in $work/layout
            mv $work/layout /tmp/crowbar.layout
            ;;
    esac
    echo "$disks" >$work/disks
    tell disk 'done' "$disks"
}

identity() { # identity TARGET
    tell identity begun
    [ -d "$1/etc" ] || failed identity "there is no new system at $1"
    echo "$name" >"$1/etc/hostname"
    printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s %s\n' "$fqdn" "$name" >"$1/etc/hosts"
    mkdir -p "$1/root/.ssh"
    chmod 700 "$1/root/.ssh"
    authorized_keys >"$1/root/.ssh/authorized_keys" || failed identity "the keys of root cannot be written"
    chmod 600 "$1/root/.ssh/authorized_keys"
    # It asks DHCP as the card that it is, as the discovery image did.
    [ ! -d "$1/etc/dhcp" ] || echo 'send dhcp-client-identifier = hardware;' >>"$1/etc/dhcp/dhclient.conf"
    [ ! -d "$1/etc/NetworkManager/conf.d" ] ||
        printf '[connection]\nipv4.dhcp-client-id=mac\nipv6.dhcp-duid=ll\n' >"$1/etc/NetworkManager/conf.d/10-crowbar.conf"
    [ ! -d "$1/etc/cloud" ] || : >"$1/etc/cloud/cloud-init.disabled"
    keys=
    for kind in ed25519 ecdsa rsa; do
        file=/etc/ssh/ssh_host_${kind}_key
        [ -e "$1$file" ] || chroot "$1" ssh-keygen -q -t $kind -N '' -f $file 2>/dev/null || continue
        chroot "$1" chmod 600 $file
        keys="$keys${keys:+, }\"$(cut -d ' ' -f 1,2 "$1$file.pub")\""
    done
    [ -n "$keys" ] || failed identity "the new system has no host key: is openssh-server among its packages"
    if [ "$firmware" = uefi ] && [ -d "$1/boot/efi/EFI" ]; then # where firmware looks, and the loader that is served
        mkdir -p "$1/boot/efi/EFI/BOOT"
        for loader in "$1"/boot/efi/EFI/*/shimx64.efi "$1"/boot/efi/EFI/*/grubx64.efi; do
            [ ! -e "$1/boot/efi/EFI/BOOT/BOOTX64.EFI" ] && [ -e "$loader" ] || continue
            cp "$loader" "$1/boot/efi/EFI/BOOT/BOOTX64.EFI"
            [ ! -e "${loader%/*}/grubx64.efi" ] || cp "${loader%/*}/grubx64.efi" "$1/boot/efi/EFI/BOOT/grubx64.efi"
        done
        if [ "$layout $method" = 'raid1 preseed' ]; then # each disk boots without the other one
            read -r first second <$work/disks
            sync
            dd if="/dev/$(partition "$first" 1)" of="/dev/$(partition "$second" 1)" bs=1048576 2>/dev/null ||
                failed identity "the boot loader cannot be copied to $second"
        fi
    fi
    [ ! -x "$1/usr/sbin/restorecon" ] || chroot "$1" restorecon -R /etc/ssh /etc/hosts /etc/hostname /root/.ssh 2>/dev/null
    sync
    tell identity 'done'
    tell installed 'done' '' "$keys"
}

leave() { # until the machine is to restart: what it boots then is served
    waited=0
    while [ $waited -lt 1800 ]; do
        send GET /v1/work
        case $status in
            200) ! grep -q '"do": "reboot"' $work/answer || return 0 ;;
            401) return 0 ;;
        esac
        sleep 2
        waited=$((waited + 2))
    done
}

case $1 in
    begun) tell installer 'done' ;;
    disk) find_disks ;;
    late)
        identity "$2"
        leave
        ;;
    error) failed installer "the installer ended with an error: its console says which" ;;
esac
