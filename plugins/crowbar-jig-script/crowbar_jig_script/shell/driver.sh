# Runs a role's scripts one after another. Its caller sets token, grace and clock, defines crowbar_unpack and
# crowbar_scripts, and reads the lines that
# begin with the token between two record separators: in that form it is nowhere on the node, so that no script prints it
# by listing its files or its environment.

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
    printf '%s' "$2" >"$dir/$1" || {
        rm -rf "$dir" "$crowbar_state/run"
        crowbar_leave full
    }
}

# Makes this the one run on the node: ends what an earlier one left, whose controller is gone.
crowbar_claim() {
    mkdir -p "$dir" || crowbar_leave full
    set -C
    until { printf '%s %s %s\n' "$$" "$own" "$token" >"$crowbar_state/run"; } 2>/dev/null; do
        old_session= old_started= old_token=
        { read -r old_session old_started old_token <"$crowbar_state/run"; } 2>/dev/null
        if [ -n "$old_token" ]; then
            if ! crowbar_end "$old_session" "$old_started" "$old_token" "$grace"; then
                rm -rf "$dir"
                crowbar_leave stuck $members
            fi
            [ "$ended" -eq 0 ] || crowbar_tell ended "$ended"
        else
            # Just being written, or what a full disk left of it.
            sleep 0.2 2>/dev/null || sleep 1
            [ -s "$crowbar_state/run" ] && continue
            [ -w "$crowbar_state" ] || crowbar_leave full
        fi
        rm -f "$crowbar_state/run"
    done
    set +C
    stale=
    for entry in "$crowbar_state"/*; do
        case $entry in "$dir" | "$crowbar_state/run" | "$crowbar_state/$token.ended") ;; *) stale="$stale $entry" ;; esac
    done
    [ -z "$stale" ] || rm -rf $stale
    # Told to end before it began: the connection broke while this was on its way.
    if [ -e "$crowbar_state/$token.ended" ]; then
        rm -rf "$dir" "$crowbar_state/run" "$crowbar_state/$token.ended"
        exit 0
    fi
}

# crowbar_play NUMBER COMMAND...
crowbar_play() {
    number=$1
    shift
    { read -r holder line <"$crowbar_state/run"; } 2>/dev/null
    [ "$holder" = "$$" ] || exit 0
    crowbar_tell script "$number"
    "$@" </dev/null
    code=$?
    [ "$code" -eq 0 ] || crowbar_finish
}

crowbar_finish() {
    if [ "$code" -eq 0 ] && [ -s "$dir/report" ]; then
        crowbar_tell report
        cat "$dir/report"
    fi
    rm -rf "$dir" "$crowbar_state/run"
    crowbar_leave end "$code" "$number"
}

crowbar_run() {
    umask 077
    dir=$crowbar_state/$token
    crowbar_boot
    crowbar_look "$$"
    own=$started
    # To be killed as a whole, it must lead a session of its own; sshd sees to that, smaller servers do not.
    [ "$session" = "$$" ] || crowbar_leave nosession
    crowbar_tell start "$boot" ${clock:+"$(date +%s)"}
    crowbar_claim
    crowbar_unpack
    umask 022
    cd /
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin${PATH:+:$PATH}
    CROWBAR_RUN=$token CROWBAR_DIR=$dir CROWBAR_LIB=$dir/lib CROWBAR_CALL=$dir/call
    export PATH CROWBAR_RUN CROWBAR_DIR CROWBAR_LIB CROWBAR_CALL
    number=0 code=0
    crowbar_scripts
    crowbar_finish
}
