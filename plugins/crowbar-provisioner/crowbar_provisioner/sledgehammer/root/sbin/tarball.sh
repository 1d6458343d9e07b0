# Makes a system of a tarball on disks that are divided already. To be read after image.sh and layout.sh, by a script that has
# what they want.

unpack() { # as it comes, into $root; $sum is the checksum of what came
    : >"$notes/why"
    written=0
    rm -f "$notes/stream"
    mkfifo "$notes/stream"
    sha256sum <"$notes/stream" >"$notes/sum" &
    summer=$!
    pieces | tee "$notes/stream" | zstd -dcq 2>"$notes/zstd.log" |
        tar -x -C "$root" --numeric-owner --xattrs --xattrs-include='*' -f - 2>"$notes/tar.log"
    code=$?
    wait $summer
    read -r sum _ <"$notes/sum"
    read -r why <"$notes/why" || why=$(cat "$notes/zstd.log" "$notes/tar.log" | head -n 1)
    return $code
}

name_root() { # what the new system finds its root by
    echo "UUID=$uuid / ext4 errors=remount-ro 0 1" >"$root/etc/fstab"
    tried sed -i "s/\$crowbar_root/$uuid/g" "$root/boot/grub/grub.cfg" || return 1
    [ $layout = raid1 ] || return 0
    array=$(mdadm --detail --brief $device) || { why="mdadm does not describe $device"; return 1; }
    {
        printf '%s\n' '# Arrays keep their names, whatever this host is called.' 'HOMEHOST <ignore>' 'MAILADDR root'
        echo "ARRAY /dev/md/root ${array#* * }"
    } >"$root/etc/mdadm/mdadm.conf"
}

write_loaders() { # last, on each disk: from now on it starts
    loaders=$root/boot/crowbar
    mkdir -p "$notes/esp"
    modprobe -q -a vfat nls_cp437 nls_ascii
    for one in $disks; do
        part "$one" 1
        tried dd if="$loaders/core.img" of="$P" bs=1M conv=fsync || return 1
        part "$one" 2
        tried dd if="$loaders/esp.img" of="$P" bs=1M conv=fsync || return 1
        tried mount -t vfat "$P" "$notes/esp" && tried mkdir -p "$notes/esp/grub" || return 1
        {
            echo "search --no-floppy --fs-uuid --set=root $uuid"
            echo 'configfile ($root)/boot/grub/grub.cfg'
        } >"$notes/esp/grub/grub.cfg"
        tried umount "$notes/esp" || return 1
        tried dd if="$loaders/boot.img" of="/dev/$one" bs=440 count=1 conv=notrunc,fsync || return 1
    done
}
