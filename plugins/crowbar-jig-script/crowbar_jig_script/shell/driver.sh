# Runs a role's scripts one after another. Its caller has called crowbar_stand, sets token, grace, clock, run, realm and
# once, defines crowbar_unpack and crowbar_scripts, and reads the lines that begin with the token between two record
# separators: in that form it is nowhere on the node, so that no script prints it by listing its files or its environment.
# Whatever is forked or read here costs each run: a program a millisecond, a line of /proc half of one. A file is emptied by
# `true`: where `:` cannot open it, the shell ends.

crowbar_tell() {
    printf '\036%s\036 %s\n' "$token" "$*"
}

crowbar_leave() {
    crowbar_tell "$@"
    printf '\036%s\036 end\n' "$token" >&2
    exit 0
}

# crowbar_put NAME TEXT
crowbar_put() {
    put="$put $1"
    printf '%s' "$2" >"$dir/$1" || {
        rm -rf "$dir" "$claim"
        crowbar_leave full
    }
}

crowbar_overtaken() {
    rm -f "$claim"
    crowbar_leave overtaken "$1"
}

# Makes this the one run on the node. Each run first lays down a claim with its number and then looks at those of others:
# so of two, one sees the other, and an older one leaves, whoever comes first. What an earlier one has left is ended.
crowbar_claim() {
    crowbar_room || crowbar_leave full
    claim=$crowbar_state/run-$run-$realm seen=$crowbar_kept/newest-$realm
    { printf '%s %s %s %s\n' "$$" "$own" "$token" "$once" >"$claim"; } 2>/dev/null || {
        rm -f "$claim"
        crowbar_leave full
    }
    older=
    for entry in "$crowbar_state"/run-*; do
        case " $claim $spent " in *" $entry "*) continue ;; esac
        other=${entry##*/run-}
        if [ "${other#*-}" = "$realm" ] && [ "${other%%-*}" -gt "$run" ] 2>/dev/null; then
            crowbar_overtaken "${other%%-*}"
        fi
        older="$older $entry"
    done
    crowbar_newest
    [ "$newest" -lt "$run" ] || crowbar_overtaken "$newest"
    # Told not to begin any more: the connection broke while this was on its way, or its fate was asked for.
    [ ! -e "$crowbar_kept/over-$run-$realm" ] || crowbar_overtaken "$run"
    for left in $older; do
        if crowbar_holder "$left"; then
            if ! crowbar_end_holder; then
                rm -f "$claim"
                crowbar_leave stuck $members
            fi
            [ "$ended" -eq 0 ] || crowbar_tell ended "$ended"
        fi
        rm -f "$left"
    done
    # In place and of one length, so that there is no moment without a number.
    { printf '%020d\n' "$run" 1<>"$seen"; } 2>/dev/null || {
        rm -f "$claim"
        crowbar_leave full
    }
    stale=
    for entry in "$crowbar_state"/* "$crowbar_kept"/over-*; do
        case $entry in
        "$crowbar_state"/run-* | "$crowbar_state/kept" | "$dir") continue ;;
        "$crowbar_kept/over-*") continue ;;
        "$crowbar_kept"/over-*)
            other=${entry##*/over-}
            [ "${other#*-}" = "$realm" ] && [ "${other%%-*}" -lt "$run" ] || continue
            ;;
        esac
        stale="$stale $entry"
    done
    [ -z "$stale" ] || rm -rf $stale
    [ -d "$dir" ] || mkdir "$dir" 2>/dev/null || {
        rm -f "$claim"
        crowbar_leave full
    }
}

# A destructive role is done once. Told to end, this part lives on until the script that runs has ended, so that a success
# of the last moment is marked; what is to come after it is not begun.
crowbar_once() {
    mark=$crowbar_kept/done-$once
    if crowbar_is_done; then
        crowbar_tell before
        crowbar_report_again
        crowbar_clear
        number=0
        crowbar_told
        return 1
    fi
    rm -f "$mark.report" "$mark.reboot"
    if ! { true >"$mark.report" && ln -s "$mark.report" "$dir/report"; } 2>/dev/null; then
        rm -rf "$dir" "$claim"
        crowbar_leave full
    fi
    crowbar_sync "$seen" "$crowbar_kept"
    crowbar_put boot "$boot
"
    trap 'told=yes' TERM HUP INT
    trap : PIPE
}

crowbar_mark() {
    if [ "$code" -ne 0 ]; then
        rm -f "$mark.reboot" "$mark.report"
    elif { true >"$mark"; } 2>/dev/null; then
        crowbar_sync "$mark.report" "$mark" "$crowbar_kept"
        for entry in "$crowbar_kept/done-${once%-*}"-*; do
            case $entry in "$mark" | "$mark.report") ;; *) rm -f "$entry" ;; esac
        done
    else
        crowbar_tell unmarked
    fi
}

# crowbar_play NUMBER COMMAND...
crowbar_play() {
    number=$1
    shift
    [ -e "$claim" ] || exit 1
    if [ -n "$told" ]; then
        code=143
        crowbar_finish
    fi
    # In one piece with what came before it: each piece is a packet of its own.
    if [ -n "$begun" ]; then
        crowbar_tell script "$number"
        crowbar_tell script >&2
    else
        begun=yes
        printf '\036%s\036 start %s\n\036%s\036 script %s\n' "$token" "$boot $clock" "$token" "$number"
    fi
    "$@" </dev/null
    code=$?
    [ "$code" -eq 0 ] || crowbar_finish
}

crowbar_finish() {
    [ -z "$once" ] || crowbar_mark
    if [ "$code" -eq 0 ] && [ -s "$dir/report" ]; then
        crowbar_tell report
        cat "$dir/report"
    fi
    if [ "$code" != 0 ]; then
        rm -rf "$dir" "$claim"
        crowbar_told
        exit 0
    fi
    crowbar_clear
    crowbar_told
}

# Empties all that is a run's, where nothing is there but what was put there, root's, and no process has come that may read
# it. To remove it is a program of its own: done for eight runs at once, and with the shell. The empty folder is kept for the
# next, unless it is somebody else's by now, or a link to another place.
crowbar_clear() {
    alone= whole=
    if crowbar_is_alone; then alone=yes; fi
    [ -n "$same" ] && crowbar_is_own "$dir" || whole=yes
    for entry in "$claim" "$dir"/* "$dir"/.[!.]* "$dir"/..?*; do
        [ -z "$whole" ] || break
        [ -e "$entry" ] || [ -L "$entry" ] || continue
        case " $claim $put " in
        *" $entry "* | *" ${entry##*/} "*) [ -f "$entry" ] && crowbar_is_own "$entry" || whole=yes ;;
        *) whole=yes ;;
        esac
        [ -n "$whole" ] || { true >"$entry"; } 2>/dev/null || whole=yes
    done
    spent="$spent $claim"
    set -- $spent
    [ -z "$whole" ] && [ "$#" -lt 8 ] || {
        if crowbar_is_own "$dir"; then
            rm -rf $spent "${dir:?}"/* "$dir"/.[!.]* "$dir"/..?*
        else
            rm -rf $spent "$dir"
        fi
        spent= put=
    }
}

crowbar_is_own() {
    [ ! -L "$1" ] && [ -O "$1" ]
}

crowbar_told() {
    crowbar_tell end "$code" "$number"
    printf '\036%s\036 end\n' "$token" >&2
}

# One run. Returns when the shell may be given another; in every other case it exits.
crowbar_run() {
    umask 077
    crowbar_note_processes
    [ -z "$clock" ] || clock=$(date +%s)
    crowbar_claim
    told= mark= begun= number=0 code=0
    if [ -z "$once" ] || crowbar_once; then
        crowbar_unpack
        umask 022
        CROWBAR_RUN=$token CROWBAR_DIR=$dir CROWBAR_LIB=$dir/lib CROWBAR_CALL=$dir/call CROWBAR_MARK=$mark
        export CROWBAR_RUN CROWBAR_DIR CROWBAR_LIB CROWBAR_CALL CROWBAR_MARK
        unset CROWBAR_LAST
        crowbar_scripts
        crowbar_finish
    fi
    # Told to end while it did what is done once: whoever said so waits for this.
    [ -z "$told" ] || exit 0
    # What stays in the background may still write to this run's output, and is none of the next one's processes.
    [ -n "$alone" ] || exit 99
    trap - TERM HUP INT PIPE
    unset -f crowbar_unpack crowbar_scripts
}
