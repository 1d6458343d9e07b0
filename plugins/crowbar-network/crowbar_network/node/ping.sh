# Asks others whether they answer, also with a packet of the full size: `ask FROM TO SIZE`, many at once. Prints
# "FROM TO whole|small|none": small is one that only answers small packets.
one() { # twice, for the first may have to wait until it is known who that is
    from=$1 to=$2
    shift 2
    ping -n -q -c 1 -W 1 -I "$from" "$@" "$to" >/dev/null 2>&1 || ping -n -q -c 1 -W 2 -I "$from" "$@" "$to" >/dev/null 2>&1
}
whole() {
    if one "$1" "$2" -M do -s "$3"; then echo "$1 $2 whole"
    elif one "$1" "$2"; then echo "$1 $2 small"
    else echo "$1 $2 none"; fi
}
count=0
ask() {
    whole "$@" &
    count=$((count + 1))
    [ $((count % 32)) != 0 ] || wait
}
