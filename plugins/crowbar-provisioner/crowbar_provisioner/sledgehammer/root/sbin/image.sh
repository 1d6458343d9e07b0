# Brings an image from the boot service to a disk, and reads it back. To be read by a script that has $disk, $token,
# $notes (a directory in memory) and what is told of the image: $image (its address), $format, $size, $disk_size, $sha256,
# $blake2b and $xxh64. Where something is wrong, $why says what.
#
# A compressed image may stand in pieces: one after the other, each of them compressed for itself, so that the boot service
# can be asked for any, and for all from one on. Which they are says $image/sums.
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

find_sums() { # a line each of the pieces, for look_up. The boot service may be about to make them
    tries=0
    until wget -q -O "$notes/sums" --header "Authorization: Bearer $token" "$image/sums" 2>"$notes/image.log"; do
        tries=$((tries + 1))
        [ $tries -lt 30 ] && ! was_refused || return 1
        sleep 1
    done
    summed=-1
    exec 3<"$notes/sums"
}

look_up() { # of the piece at $written: $wanted, its checksum, and of a compressed one $place and $packed, its bytes in the file
    while [ $summed -lt $((written / PIECE)) ]; do
        wanted='' place='' packed=''
        read -r wanted place packed <&3
        summed=$((summed + 1))
    done
}

rest() { # all of it from $written on
    case $format in
        raw) fetch $written ;;
        *) fetch "$place" | zstd -dcq 2>"$notes/zstd.log" ;;
    esac
}

one_piece() { # one_piece: $count bytes from $written on to $notes/piece
    case $format in
        raw) fetch $written $count >"$notes/piece" ;;
        *)
            look_up
            fetch "$place" "$packed" | zstd -dcq 2>"$notes/zstd.log" >"$notes/piece"
            ;;
    esac
    [ "$(stat -c %s "$notes/piece")" = $count ]
}

was_broken() { # whether what came can never be unpacked. One that ended too early is asked for again
    [ "$format" != raw ] || return 1
    read -r why <"$notes/zstd.log"
    case $why in *'Decoding error'* | *'unsupported format'*) return 0 ;; esac
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

write_rest() { # of one that is raw, or stands in pieces. Each pipe copies the whole image once more: not one too many
    whole=$size unit=$MIB # what is not a whole one is written once more
    [ "$format" = raw ] || whole=$disk_size unit=$PIECE
    begin_wire
    while [ $written -lt "$whole" ]; do
        [ "$format" = raw ] || look_up
        rest |
            dd of="$disk" bs=4M seek=$written iflag=fullblock oflag=direct,seek_bytes conv=notrunc 2>"$notes/dd.log" &
        echo $! >"$notes/writer" # by which is known how far it is
        wait $!
        came=0
        while read -r count word more; do
            [ "$word" != bytes ] || came=$count
            [ "$count" != dd: ] || { why="$count $word $more"; return 1; }
        done <"$notes/dd.log"
        if [ $((written + came)) -ge "$whole" ]; then
            written=$whole
        else
            ! was_broken && ! was_refused || return 1
            came=$((came / unit * unit))
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
        raw) write_rest ;;
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
