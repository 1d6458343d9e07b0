# crowbar_value, crowbar_has and crowbar_names are made from the role's data.

read_attribute() {
    case "${1-}" in
    ?*/) read_attribute "${1%/}" ;;
    *) crowbar_value "${1#/}" || {
        printf 'read_attribute: this role has no value for %s\n' "'${1-}'" >&2
        return 1
    } ;;
    esac
}

has_attribute() {
    case "${1-}" in
    ?*/) has_attribute "${1%/}" ;;
    *) crowbar_has "${1#/}" ;;
    esac
}

get_keys() {
    case "${1-}" in
    ?*/) get_keys "${1%/}" ;;
    *) crowbar_names "${1#/}" || {
        printf 'get_keys: %s is no object or list\n' "'${1-}'" >&2
        return 1
    } ;;
    esac
}

write_attribute() {
    case "$#:${1-}" in
    3:--json) printf 'json\000%s\000%s\000' "$2" "$3" >>"$CROWBAR_DIR/report" ;;
    2:--json | 2: | 2:/) set -- ;;
    2:*) printf 'text\000%s\000%s\000' "$1" "$2" >>"$CROWBAR_DIR/report" ;;
    *) set -- ;;
    esac && [ "$#" -ne 0 ] || {
        printf 'usage: write_attribute [--json] PATH VALUE\n' >&2
        return 2
    }
}

announce_reboot() {
    [ -n "${CROWBAR_LAST-}" ] || {
        printf 'announce_reboot: only the last script of a role may reboot the node\n' >&2
        return 1
    }
    if [ -s "$CROWBAR_DIR/report" ]; then
        printf '\036%s\036 report\n' "$CROWBAR_RUN"
        cat "$CROWBAR_DIR/report"
    fi
    if [ -n "${CROWBAR_MARK-}" ]; then
        cat "$CROWBAR_DIR/boot" >"$CROWBAR_MARK.reboot" || return
        sync "$CROWBAR_MARK.report" "$CROWBAR_MARK.reboot" "${CROWBAR_MARK%/*}" 2>/dev/null || sync
    fi
    printf '\036%s\036 reboot\n' "$CROWBAR_RUN"
}

# fail REASON...: ends the script; the reason is the run's. On the stream that is seldom redirected.
fail() {
    printf '\036%s\036 fail %s\n' "$CROWBAR_RUN" "$*" >&2
    exit 1
}
