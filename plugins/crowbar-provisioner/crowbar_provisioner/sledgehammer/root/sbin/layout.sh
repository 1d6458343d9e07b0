# Divides disks and makes a root file system on them. To be read by a script that has $disks (their names), $layout (flat, lvm
# or raid1), $uuid (of the file system), $root (where it is mounted then), $notes, $url and $token. Where something fails,
# $why says what. Nothing here is found again by its name: another disk may have the like of a former installation.
#
#   1 MiB: GRUB's core image for BIOS; 2 to 10 MiB: EFI partition; from there on: the root. The image of a whole disk has it so.

bring_tools() { # what LVM and RAID take comes when it is wanted: at each start it would cost time
    [ -z "$tools" ] || return 0
    wget -q -O "$notes/tools.img" "$url/b/$token/tools.img" 2>"$notes/tools.log" || {
        why="the programs for the layout $layout do not come: $(tail -n 1 "$notes/tools.log")"
        return 1
    }
    (cd / && zstd -dcq "$notes/tools.img" | cpio -idmu 2>"$notes/tools.log") || {
        why="the programs for the layout $layout cannot be unpacked: $(tail -n 1 "$notes/tools.log")"
        return 1
    }
    rm "$notes/tools.img"
    mkdir -p /run/lock/lvm /run/lvm /run/mdadm /dev/md
    tools=yes
}

tried() { # tried PROGRAM...: the last line of its that says something is $why where it fails
    "$@" >"$notes/tried.log" 2>&1 </dev/null || {
        why="$1: $(grep -v '^ *Run \|Command failed' "$notes/tried.log" | tail -n 1)"
        return 1
    }
}

part() { # part DISK NUMBER: P is the partition
    case $1 in
        *[0-9]) P=/dev/${1}p$2 ;;
        *) P=/dev/$1$2 ;;
    esac
}

appears() { # appears DEVICE: within ten seconds
    waited=0
    until [ -b "$1" ]; do
        [ $waited -lt 100 ] || { why="$1 does not appear"; return 1; }
        sleep 0.1
        waited=$((waited + 1))
    done
}

let_go() { # let_go DEVICE: what was made of it or of its partitions is taken apart, topmost first
    for holder in "/sys/class/block/$1/holders"/* "/sys/class/block/$1/$1"*/holders/*; do
        [ -e "$holder" ] || continue
        held=${holder##*/}
        bring_tools || return 1
        (let_go "$held") || { why="$held, which is made of $1, cannot be taken apart"; return 1; }
        case $held in
            dm-*)
                read -r mapped <"/sys/class/block/$held/dm/name"
                tried dmsetup remove --retry "$mapped" || return 1
                for link in /dev/*/*; do # the name of its group is free again
                    [ -L "$link" ] && [ "$(readlink "$link")" = "/dev/mapper/$mapped" ] || continue
                    rm "$link"
                    rmdir "${link%/*}" 2>/dev/null || continue
                done
                ;;
            md*) tried mdadm --stop "/dev/$held" || return 1 ;;
            *) return 1 ;;
        esac
    done
}

forget() { # forget DISK: of what stood on it nothing is known again, at the begin and the end of it and of its partitions
    for place in "/sys/class/block/$1/$1"*/partition "/sys/class/block/$1/size"; do
        [ -e "$place" ] || continue
        one=${place%/*}
        read -r sectors <"$one/size"
        one=/dev/${one##*/}
        [ "$sectors" -gt 4096 ] || continue
        for from in 0 $((sectors / 2048 - 1)); do
            tried dd if=/dev/zero of="$one" bs=1M count=2 seek=$from conv=notrunc oflag=direct ||
                [ $from != 0 ] || return 1 # the last one may end within its second MiB
        done
    done
    tried blockdev --rereadpt "/dev/$1"
}

divide() { # divide DISK
    case $layout in
        lvm) kind=E6D6D379-F507-44C2-A23C-238F2A3DF928 ;;
        raid1) kind=A19D880F-05FC-4D3B-A006-743F0F84911E ;;
        *) kind=0FC63DAF-8483-4772-8E79-3D69D8477DE4 ;;
    esac
    {
        echo 'label: gpt'
        echo 'start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios'
        echo 'start=2MiB, size=8MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp'
        echo "start=10MiB, type=$kind, name=root"
    } >"$notes/parts"
    sfdisk -q -w always -W always "/dev/$1" <"$notes/parts" >"$notes/tried.log" 2>&1 || {
        why="sfdisk: $(tail -n 1 "$notes/tried.log")"
        return 1
    }
    part "$1" 3
    appears "$P"
}

make_root() { # on $disks, which are divided: $device, with a file system, mounted
    members=
    for one in $disks; do
        part "$one" 3
        members="$members $P"
    done
    case $layout in
        flat) device=$P ;;
        lvm)
            modprobe -q dm_mod
            group=system number=1
            while lvm vgs "$group" >/dev/null 2>&1; do # of a disk that is not touched
                number=$((number + 1))
                group=system$number
            done
            tried lvm pvcreate -ff -y "$P" && tried lvm vgcreate -y $group "$P" &&
                tried lvm lvcreate -y -l 100%FREE -n root $group || return 1
            device=/dev/$group/root
            ;;
        raid1)
            modprobe -q raid1
            number=0
            while [ -e /sys/class/block/md$number ]; do number=$((number + 1)); done
            device=/dev/md$number
            # shellcheck disable=SC2086 # each is a word
            tried mdadm --create $device --run --level=1 --raid-devices=2 --metadata=1.2 --bitmap=internal --name=root \
                --homehost=any $members || return 1
            echo frozen >/sys/class/block/md$number/md/sync_action # both are made equal by the new system
            ;;
        *) why="the layout $layout is not known here"; return 1 ;;
    esac
    tried mke2fs -q -F -t ext4 -T default -L root -U "$uuid" -b 4096 -m 1 -O ^metadata_csum_seed $device &&
        tried mount -t ext4 -o noatime $device "$root"
}
