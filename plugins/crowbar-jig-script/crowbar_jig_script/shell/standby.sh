# A shell that stands by, and is given one run after another on its standard input. Its caller has set crowbar_driver.

crowbar_one() {
    CROWBAR_DRIVER=$crowbar_driver setsid sh -c 'eval "$CROWBAR_DRIVER"; unset CROWBAR_DRIVER; . /proc/self/fd/0'
    crowbar_code=$?
    [ "$crowbar_code" -eq 0 ] || exit "$crowbar_code"
}
command -v setsid >/dev/null 2>&1 || exit 98
