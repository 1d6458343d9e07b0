# Ends the run with the given token, whatever it started in its session, and removes what it left. Its caller sets
# token, grace and begun (empty when no script of it was seen to begin).

crowbar_stop() {
    umask 077
    crowbar_boot
    old_session= old_started= old_token=
    { read -r old_session old_started old_token <"$crowbar_state/run"; } 2>/dev/null
    if [ "$old_token" = "$token" ]; then
        if ! crowbar_end "$old_session" "$old_started" "$old_token" "$grace"; then
            printf '\036%s\036 stuck %s\n' "$token" "$boot$members"
            exit 0
        fi
        rm -rf "$crowbar_state/$token" "$crowbar_state/run"
    else
        # It ended by itself, or has not begun yet: then it must not.
        ended=0
        [ -n "$begun" ] || { mkdir -p "$crowbar_state" && : >"$crowbar_state/$token.ended"; }
        rm -rf "${crowbar_state:?}/$token"
    fi
    printf '\036%s\036 gone %s %s\n' "$token" "$boot" "$ended"
    exit 0
}
