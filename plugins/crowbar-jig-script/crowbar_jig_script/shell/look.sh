# Looks for the mark of a destructive role whose run, with the given number, nobody watches any more. Its caller sets token,
# run, realm and once. Nothing is run, and the run does not begin any more if it has not yet.

crowbar_seek() {
    umask 077
    crowbar_boot
    crowbar_room
    mark=$crowbar_kept/done-$once found=none
    if ! { true >"$crowbar_kept/over-$run-$realm"; } 2>/dev/null; then
        # It may still begin: then nothing is said.
        crowbar_newest
        [ "$newest" -ge "$run" ] || exit 1
    fi
    # First whether it is still at work, then the mark: what ends between the two is then seen to have ended.
    if crowbar_holder "$crowbar_state/run-$run-$realm"; then
        known=
        if crowbar_look "$held_by" && [ "$started" = "$held_since" ]; then known=yes; fi
        crowbar_members "$held_by" "$held_token"
        [ -z "$members" ] || found=busy
    fi
    if crowbar_is_done; then
        found=found
        crowbar_report_again
    fi
    printf '\036%s\036 %s\n' "$token" "$found"
    exit 0
}
