# Ends the run with the given number, whatever it started in its session, and removes what it left. Its caller sets token,
# grace, run, realm and once. Says what is known of the run: never (it did not begin, and will not), begun, or done.

crowbar_stop() {
    umask 077
    crowbar_boot
    crowbar_room
    claim=$crowbar_state/run-$run-$realm mark=$crowbar_kept/done-$once ended=0
    # Said before it is looked for: it either sees this, or is seen.
    { true >"$crowbar_kept/over-$run-$realm"; } 2>/dev/null && said=yes || said=
    if crowbar_holder "$claim"; then
        if ! crowbar_end_holder; then
            printf '\036%s\036 stuck %s\n' "$token" "$boot$members"
            exit 0
        fi
        rm -rf "$claim" "${crowbar_state:?}/shell-$held_by-$held_since"
    fi
    crowbar_newest
    known=begun
    [ "$newest" -ge "$run" ] || [ -z "$said" ] || known=never
    if [ -n "$once" ] && crowbar_is_done; then
        known=done
        crowbar_report_again
    fi
    printf '\036%s\036 gone %s %s %s\n' "$token" "$boot" "$ended" "$known"
    exit 0
}
