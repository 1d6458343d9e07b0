# Takes an image from other machines that are being written the same, and passes on what stands on the disk already. To be
# read after tell.sh and image.sh, by a script that has what they want, and besides $id (of the installation), $port (at
# which each passes on) and $seconds (for how long it is taken from others; then the boot service has to do).
#
# Another machine is not believed: a piece counts when its checksum is what the boot service says. One that sends other
# bytes, is silent or is slow is given up, and the boot service names the next, or itself.
#
# Whether the wire of the boot service is what is short, each finds out by itself: it takes its first piece from there, and
# goes on from another machine only if that is clearly faster, as both say by the clock, and as long as it is.
#
# What is passed on is what stands on the disk, also where the boot service sends it compressed.
CLEARLY=200 # percent of the time that it takes by another machine
JUDGED=4    # pieces, after which another machine has to have been faster
LOOKS=1     # seconds that it is looked at for longer than the boot service took
SLOW=20 # seconds for a piece
MUTE=10 # seconds without an answer; one machine is let in at a time
LONG=60 # seconds for a piece that its peer has not yet, but gets on with
GIVEN_UP=3
ASKS=5 # seconds, in which who takes from here asks again

begin_sharing() {
    key=$(printf %s "$token" | sha256sum)
    key=${key%% *}
    export disk notes disk_size key PIECE
    echo 0 >"$notes/have"
    : >"$notes/writer"
    echo -99 >"$notes/asked"
    doors &
    doors=$!
}

doors() { # one after the other: many at once could take more memory than there is
    trap 'kill -9 $!; wait $!; exit' TERM # what it has only just begun would not hear another signal
    while :; do
        nc -l -p "$port" -e sh "${share:-/sbin/share}" >/dev/null 2>&1 &
        wait $! || sleep 1
    done
}

end_sharing() { # end_sharing SECONDS: for so long at most, it waits while somebody takes from here
    [ -n "$doors" ] || return 0
    now
    last=$((up + $1))
    while [ $up -lt $last ]; do
        read -r asked <"$notes/asked"
        [ $((up - asked)) -lt $ASKS ] || break
        sleep 1
        now
    done
    echo 0 >"$notes/have" # whoever is just let in is told so
    : >"$notes/writer"
    kill "$doors"
    wait "$doors"
    doors=
}

find_peer() { # who it is taken from: $peer, its number, $whom, $at, $with, $quiet. Fails where that is the boot service
    echo "{\"id\": \"$id\", \"without\": [$gone]}" >"$notes/ask.json"
    answer=$notes/source limit=20
    talk /v1/source "$notes/ask.json"
    code=$?
    answer='' limit=''
    [ $code = 0 ] || return 1
    jq -r '.peer // empty | .id, .quiet, .name, .url, .token' "$notes/source" >"$notes/peer"
    { read -r peer && read -r quiet && read -r whom && read -r at && read -r with; } <"$notes/peer"
}

gone_on() { # whether the boot service names another than $peer by now, or itself: it may have all of it, and have shut its door
    had=$peer its_name=$whom
    find_peer && [ "$peer" = "$had" ] && return 1
    peer=$had whom=$its_name
}

ask_it() { # ask_it SECONDS FROM COUNT: that piece to $notes/piece; fails where it did not come whole, and $said says why
    timeout "$1" wget -q -O - --header "Authorization: Bearer $with" "$at/$id?from=$2&count=$3" 2>"$notes/peer.log" |
        dd bs=1M count="$3" iflag=count_bytes,fullblock status=none >"$notes/piece"
    said=
    read -r said <"$notes/peer.log"
    [ "$(stat -c %s "$notes/piece")" = "$3" ]
}

take() { # take COUNT: the piece at $written to $notes/piece; fails where it is not to be had, and $lost says why
    now
    begun=$up heard=$up moved=$up seen='' again=1
    look_up
    while :; do
        ask_it $SLOW $written "$1"
        code=$?
        now
        if [ $code = 0 ]; then
            sum=$(b2sum -l 256 "$notes/piece")
            [ "${sum%% *}" != "$wanted" ] || return 0
            lost='it sent other bytes'
            return 1
        fi
        case $said in
            *' 503 have '*)
                heard=$up
                [ "${said##* }" = "$seen" ] || seen=${said##* } moved=$up
                ;;
        esac
        if [ $((up - heard)) -ge $again ] && again=$((again + 1)) && gone_on; then
            lost='it has gone on'
        elif [ $((up - heard)) -ge $MUTE ]; then
            lost='it does not answer, or is slow'
        elif [ $((up - moved)) -ge "$quiet" ]; then
            lost='it does not come on'
        elif [ $((up - begun)) -ge $LONG ]; then
            lost='it is slow'
        else
            sleep 0.2
            continue
        fi
        return 1
    done
}

lap() { # $lap: the hundredths of a second since the last one, at $clock
    read -r up _ </proc/uptime
    lap=$((${up%.*}${up#*.} - clock)) clock=${up%.*}${up#*.} up=${up%.*}
}

to_disk() { # the piece at $written
    dd if="$notes/piece" of="$disk" bs=4M seek=$written oflag=direct,seek_bytes conv=notrunc 2>"$notes/dd.log" || {
        why=$(head -n 1 "$notes/dd.log")
        return 1
    }
    written=$((written + count))
    echo $written >"$notes/have"
}

next_piece() { # $count: its bytes
    count=$((disk_size - written))
    [ $count -le $PIECE ] || count=$PIECE
}

from_service() { # a piece. $service: for how long, were it on its way while the last one is written; $writes: that. 2, 3: as compare
    next_piece
    lap
    one_piece || return 3
    lap
    service=$lap
    to_disk || return 2
    lap
    writes=$lap
    [ $service -ge $writes ] || service=$writes
}

compare() { # 0: this peer is clearly faster than the boot service, 1: it is of no use, 2: the disk cannot be written, 3: it is not
    [ -n "$service" ] || from_service || return $?
    while [ $written -lt "$disk_size" ]; do
        [ $((writes * CLEARLY)) -le $((service * 100)) ] || return 3 # the disk is what is slow: nobody can be faster
        look
        code=$?
        [ $code = 4 ] || return $code
        from_service || return $?
    done
    return 3
}

look() { # as compare; 4: it has its first piece not yet. A door that is shut, as it is when it lets in another, is tried again
    most=$((service / 100 + LOOKS))
    lap
    looked=$clock again=1
    while :; do
        ask_it $most 0 $PIECE
        code=$?
        b2sum -l 256 "$notes/piece" >/dev/null
        lap
        if [ $code = 0 ]; then
            [ $(((lap + writes) * CLEARLY)) -le $((service * 100)) ] || return 3
            return 0
        fi
        [ $lap -lt $((most * 100)) ] || return 3
        case $said in *' 503 have '*) return 4 ;; esac
        lost=
        if [ $((clock - looked)) -ge $((again * 100)) ] && again=$((again + 1)) && gone_on; then
            lost='it has gone on'
        elif [ $((clock - looked)) -ge $((most * 100)) ]; then
            lost='it does not answer, or is slow'
        fi
        [ -z "$lost" ] || return 1
        sleep 0.2
        lap
    done
}

from_peer() { # 1: it is given up, 2: the disk cannot be written, 3: the boot service is faster
    lap
    start=$clock
    while [ $written -lt "$disk_size" ] && now && [ $up -lt $until ]; do
        next_piece
        take $count || return 1
        to_disk || return 2
        took=$((took + count))
        lap
        if [ $took -ge $((JUDGED * PIECE)) ] && [ $(((clock - start) * PIECE)) -gt $((service * took)) ]; then
            lost='the boot service is faster'
            return 3
        fi
    done
}

write_shared() { # from others where that is faster, and what is left from the boot service. $whence: for people. $lasted: seconds
    written=0 gone='' given_up=0 came_from='' taken=0 gone_why='' clock=0 compared=no service=''
    now
    began=$up until=$((up + seconds))
    [ "$format" = raw ] || find_sums || { write_image; return $?; }
    begin_sharing
    while [ $written -lt "$disk_size" ] && [ $given_up -lt $GIVEN_UP ] && [ $up -lt $until ] && find_peer; do
        took=0 code=0
        [ $compared = yes ] || { compare; code=$?; }
        if [ $code = 0 ]; then
            compared=yes
            [ -n "$summed" ] || find_sums || break
            from_peer
            code=$?
        fi
        [ $code != 2 ] || return 1
        taken=$((taken + took))
        [ $took = 0 ] || came_from="$came_from$((took / MIB)) MiB from $whom, "
        [ $code != 3 ] || break
        [ $code = 0 ] || {
            gone="$gone${gone:+, }$peer" gone_why="$gone_why; $whom was given up: $lost"
            given_up=$((given_up + 1))
        }
    done
    write_rest || return 1
    : >"$notes/writer"
    echo "$disk_size" >"$notes/have"
    now
    lasted=$((up - began))
    whence=$(printf '%.450s' "$came_from$(((disk_size - taken) / MIB)) MiB from the boot service$gone_why")
}
