# Brings an image from the boot service to a disk, and reads it back. To be read by a script that has $disk, $token,
# $notes (a directory in memory) and what is told of the image: $image (its address), $format, $size, $disk_size, $sha256,
# $blake2b and $xxh64. Where something is wrong, $why says what.
#
# A wire that breaks is taken up where it broke: after a pause that doubles to half a minute, and until no byte has come for
# $patience seconds.
MIB=1048576
PIECE=$((8 * MIB))
patience=${patience:-1800}

now() { # $up: the seconds since the machine has started
    read -r up _ </proc/uptime
    up=${up%.*}
}

fetch() { # fetch FROM [COUNT]: so many bytes from there on
    wget -q -O - --header "Authorization: Bearer $token" "$image?from=$1${2:+&count=$2}" 2>"$notes/image.log"
}

was_refused() { # whether asking again is of no use
    why=
    read -r why <"$notes/image.log"
    case $why in *' 401 '* | *' 404 '* | *' 409 '* | *' 422 '*) return 0 ;; esac
    return 1
}

came_on() { # came_on BYTES: wait for the next try. 1: the wire is given up
    now
    [ "$1" = 0 ] || pause=1 since=$up
    if [ $((up - since)) -ge "$patience" ]; then
        why="no byte of it came for $patience seconds: $why"
        return 1
    fi
    sleep $pause
    pause=$((pause * 2))
    [ $pause -le 30 ] || pause=30
}

begin_wire() {
    now
    since=$up pause=1
}

write_raw() { # from $written on. Each pipe copies the whole image once more: not one too many
    begin_wire
    while [ $written -lt "$size" ]; do
        fetch $written |
            dd of="$disk" bs=4M seek=$written iflag=fullblock oflag=direct,seek_bytes conv=notrunc 2>"$notes/dd.log" &
        echo $! >"$notes/writer" # by which is known how far it is
        wait $!
        came=0
        while read -r count word more; do
            [ "$word" != bytes ] || came=$count
            [ "$count" != dd: ] || { why="$count $word $more"; return 1; }
        done <"$notes/dd.log"
        if [ $((written + came)) -ge "$size" ]; then
            written=$size
        else
            ! was_refused || return 1
            came=$((came / MIB * MIB)) # what is not a whole MiB is written once more
            written=$((written + came))
            came_on $came || return 1
        fi
    done
}

pieces() { # one that does not come whole is asked for again
    begin_wire
    while [ $written -lt "$size" ]; do
        count=$((size - written))
        [ $count -le $PIECE ] || count=$PIECE
        if fetch $written $count >"$notes/piece" && [ "$(stat -c %s "$notes/piece")" = $count ]; then
            cat "$notes/piece" || return 1
            written=$((written + count)) pause=1
            read -r up _ </proc/uptime
            since=${up%.*}
        elif was_refused || ! came_on 0; then
            echo "$why" >"$notes/why"
            return 1
        fi
    done
}

write_image() {
    : >"$notes/why"
    written=0
    case $format in
        raw) write_raw ;;
        raw.zst)
            pieces | zstd -dcq 2>"$notes/zstd.log" | dd of="$disk" bs=4M iflag=fullblock oflag=direct conv=notrunc 2>"$notes/dd.log"
            code=$?
            read -r why <"$notes/why" || why=$(cat "$notes/zstd.log" "$notes/dd.log" | tail -n 1)
            return $code
            ;;
        *) why="the format $format is not known here"; return 1 ;;
    esac
}

read_image() { # what stands on the disk, past all caches, against the checksum that is cheapest to make
    length=$disk_size
    if [ -n "$xxh64" ]; then
        wanted=$xxh64 summer='xxhsum -H1'
    elif [ -n "$blake2b" ]; then
        wanted=$blake2b summer=b2sum
    else
        wanted=$sha256 summer=sha256sum length=$size
    fi
    sum=$(dd if="$disk" bs=4M iflag=direct,count_bytes count="$length" 2>"$notes/dd.log" | $summer) || {
        why="it cannot be read: $(tail -n 1 "$notes/dd.log")"
        return 1
    }
    why="what stands on it has the checksum ${sum%% *}, not $wanted"
    [ "${sum%% *}" = "$wanted" ]
}
