# Asks others whether they answer: "ADDRESS SIZE" a line on standard input, all at once; SIZE 0 is a small ping, other
# sizes must get through whole. Prints "ADDRESS SIZE yes|near|no": near is one that only ARP or neighbour discovery finds.
asked() {
    if [ "$2" = 0 ]; then
        if ping -n -c 1 -W 1 "$1" >/dev/null 2>&1; then echo "$1 $2 yes"
        elif ip neigh show "$1" | grep -q lladdr; then echo "$1 $2 near"
        else echo "$1 $2 no"; fi
    elif ping -n -c 1 -W 1 -M do -s "$2" "$1" >/dev/null 2>&1; then echo "$1 $2 yes"
    else echo "$1 $2 no"; fi
}
doubled() { # doubled ADDRESS DEV; another card of ours on the same wire, which answers too, is nobody else
    if ! arping -V 2>/dev/null | grep -q iputils; then
        echo "$1 doubled unknown"
        return
    fi
    others=$(arping -D -c 1 -w 1 -I "$2" "$1" 2>/dev/null | sed -n 's/.*\[\([0-9A-Fa-f:]*\)\].*/\1/p' |
        grep -viF "$(cat /sys/class/net/*/address 2>/dev/null)")
    if [ -n "$others" ]; then echo "$1 doubled yes"; else echo "$1 doubled no"; fi
}
ask
wait
