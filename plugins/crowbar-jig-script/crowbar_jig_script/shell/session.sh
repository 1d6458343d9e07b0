# Finding and ending what belongs to one session of processes: plain sh and /proc, no forks where it can be helped.

crowbar_state=/run/crowbar

# What outlives a start of the node: which runs it has seen, and the marks of destructive roles that have ended well.
crowbar_kept=/var/lib/crowbar-node

# Makes both; where the disk cannot be written to, memory has to do.
crowbar_room() {
    [ -d "$crowbar_state" ] && [ -d "$crowbar_kept" ] || mkdir -p "$crowbar_state" "$crowbar_kept" 2>/dev/null
    [ -w "$crowbar_kept" ] || {
        crowbar_kept=$crowbar_state/kept
        mkdir -p "$crowbar_kept" 2>/dev/null
    }
    [ -w "$crowbar_state" ] && [ -w "$crowbar_kept" ]
}

# crowbar_holder CLAIM: sets held_by, held_since, held_token and held_once to what a run's claim says; fails when it is
# gone, or was only just being written.
crowbar_holder() {
    held_by= held_since= held_token= held_once=
    { read -r held_by held_since held_token held_once <"$1"; } 2>/dev/null
    [ -n "$held_token" ]
}

# crowbar_end_holder: ends the run whose claim was read. One that is cut off in the middle has not gone down by its own
# announcement.
crowbar_end_holder() {
    crowbar_end "$held_by" "$held_since" "$held_token" "$grace" || return 1
    [ "$ended" -eq 0 ] || [ -z "$held_once" ] || rm -f "$crowbar_kept/done-$held_once.reboot"
}

# Sets newest to the number of the newest run of this installation that began here, though it may be gone.
crowbar_newest() {
    newest=
    { read -r newest <"$crowbar_kept/newest-$realm"; } 2>/dev/null
    case $newest in *[!0-9]*) newest= ;; esac
    while [ "$newest" != "${newest#0}" ]; do newest=${newest#0}; done
    newest=${newest:-0}
}

crowbar_sync() {
    sync "$@" 2>/dev/null || sync 2>/dev/null
}

# Whether the role has ended well under the token of this binding: there is its mark, or the node has gone down since the
# role announced just that.
crowbar_is_done() {
    [ ! -e "$mark" ] || return 0
    was=
    { read -r was <"$mark.reboot"; } 2>/dev/null
    [ -n "$was" ] && [ "$was" != "$boot" ] && true >"$mark" && crowbar_sync "$mark" "$crowbar_kept"
}

# What the role had reported when it ended well.
crowbar_report_again() {
    if [ -s "$mark.report" ]; then
        printf '\036%s\036 report\n' "$token"
        cat "$mark.report"
    fi
}

# crowbar_look PID: sets state, session and started of a process; fails when there is none.
crowbar_look() {
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    # The name, in parentheses, may hold anything; what follows the last one are numbers.
    set -- ${line##*) }
    state=$1 session=$4 started=${20}
}

# Seconds since the node started: does not jump when its clock is set.
crowbar_now() {
    read -r now line </proc/uptime
    now=${now%%.*}
}

# What tells one start of the node from the next. Namespaces share the kernel's boot id, but not their first process.
crowbar_boot() {
    read -r boot </proc/sys/kernel/random/boot_id || boot=unknown
    crowbar_look 1 && boot=$boot.$started
}

# What is the same for all runs of one shell: it must lead a session of its own, for a run is ended as a whole.
crowbar_stand() {
    crowbar_boot
    crowbar_look "$$"
    own=$started
    [ "$session" = "$$" ] || exit 98
    dir=$crowbar_state/shell-$$-$own spent= put=
    trap '[ ! -e "$dir" ] && [ -z "$spent" ] || rm -rf "$dir" $spent' EXIT
    cd /
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin${PATH:+:$PATH}
    export PATH
}

# The processes that were there before a run, so that only those have to be looked at after it that came since.
crowbar_note_processes() {
    crowbar_now
    since=$now
    set -- /proc/[0-9]*
    before="$*"
}

# Whether the session has no other living process than its leader. Where the run was a long one, a process may have the
# number of one that was there before it: then all of them are looked at. Sets same when the whole node has no other.
crowbar_is_alone() {
    same=
    crowbar_now
    [ "$((now - since))" -lt 5 ] || before=
    set -- /proc/[0-9]*
    if [ "$*" = "$before" ]; then
        same=yes
        return 0
    fi
    for entry in "$@"; do
        case " $before /proc/$$ " in *" $entry "*) continue ;; esac
        crowbar_look "${entry#/proc/}" || continue
        [ "$session" = "$$" ] || continue
        case $state in Z | X) ;; *) return 1 ;; esac
    done
}

# crowbar_members SESSION TOKEN: sets members to the living processes of the session. While its leader lives, or has been
# seen, the session is ours; else only those count that carry the run's token, since a number is used again some day.
crowbar_members() {
    members=
    for entry in /proc/[0-9]*; do
        pid=${entry#/proc/}
        crowbar_look "$pid" || continue
        [ "$session" = "$1" ] || continue
        case $state in Z | X) continue ;; esac
        if [ -z "$known" ]; then
            { tr '\000' '\n' <"/proc/$pid/environ"; } 2>/dev/null | grep -qx "CROWBAR_RUN=$2" || continue
        fi
        members="$members $pid"
    done
}

# crowbar_end SESSION STARTED TOKEN GRACE: TERM, after GRACE seconds KILL, and 5 s later give up. Sets ended to how many
# processes there were, and members to those that are left.
crowbar_end() {
    known= ended=0 signal=TERM members=
    if crowbar_look "$1"; then
        [ "$started" = "$2" ] || return 0
        known=yes
    fi
    crowbar_now
    # These are whole seconds, the first of which may be nearly over.
    killing=$((now + $4 + 1)) giving_up=$((now + $4 + 6))
    while crowbar_members "$1" "$3"; [ -n "$members" ]; do
        crowbar_now
        if [ "$now" -ge "$giving_up" ]; then
            return 1
        elif [ "$now" -ge "$killing" ]; then
            kill -KILL $members 2>/dev/null
        elif [ "$signal" = TERM ]; then
            signal=sent
            for pid in $members; do ended=$((ended + 1)); done
            # A stopped process takes note of TERM only when it goes on.
            kill -TERM $members 2>/dev/null
            kill -CONT $members 2>/dev/null
        fi
        sleep 0.05 2>/dev/null || sleep 1
    done
    return 0
}
