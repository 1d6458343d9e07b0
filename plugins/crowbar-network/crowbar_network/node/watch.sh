# The dead man's switch itself: crowbar-network. $1 is its directory, $2 the seconds within which somebody must say `keep`.
cd "$1" || exit 1
trap '' HUP INT TERM
echo $$ >pid

now() { # hundredths of a second since the machine has started
    read -r up rest </proc/uptime
    echo $((${up%.*} * 100 + 1${up#*.} - 100))
}

changed=$(now)
end=$((changed + $2 * 100))
echo trying >state

batch() { # batch NAME: the lines for ip, and those for ip -6
    if [ -s "$1" ]; then ip -batch "$1" >>"$1.out" 2>&1 || return 1; fi
    if [ -s "${1}6" ]; then ip -6 -batch "${1}6" >>"$1.out" 2>&1 || return 1; fi
}

all() { # all NAME: the same, whatever fails
    [ ! -s "$1" ] || ip -force -batch "$1" >>"$1.out" 2>&1
    [ ! -s "${1}6" ] || ip -6 -force -batch "${1}6" >>"$1.out" 2>&1
    :
}

change() {
    changed=$(now)
    all away
    batch forward
}

stands() { # what there is, to be compared
    ip -br addr
    ip route show table all
    ip -6 route show table all
    ip rule
    ip -6 rule
}

sleep 0.5 || sleep 1 # until whoever began this has heard so
if { [ ! -s try.sh ] || sh try.sh >try.out 2>&1; } && change &&
    { [ ! -s settle.sh ] || sh settle.sh >settle.out 2>&1; }; then
    now >tried
    echo tried >state
    while [ ! -e back ] && [ ! -d verdict ] && [ "$(now)" -lt "$end" ]; do
        sleep 0.1 || sleep 1
        [ ! -e end ] || read -r end <end # see longer.sh
    done
    [ -e back ] || echo "nobody said over a new connection, in time ($2 s), that it may stay" >reason.timer
else
    failed=$(sed -n 's/.*failed forward:\([0-9]*\).*/\1/p' forward.out 2>/dev/null)
    {
        [ -z "$failed" ] || printf 'ip %s: ' "$(sed -n "${failed}p" forward)"
        cat try.out forward.out settle.out 2>/dev/null | grep -v 'failed forward:' | tail -n 3 | tr '\n' ' '
    } >back
fi
# Whoever makes this directory decides: it can be made once.
if mkdir verdict 2>/dev/null; then
    all backward # before the network tool is told: that takes time, in which nobody could log in
    ended=$(now)
    cat back reason.timer 2>/dev/null | head -c 1000 >reason
    if [ -s untry.sh ]; then
        stood=$(stands)
        sh untry.sh first >untry.out 2>&1
        if [ "$(stands)" != "$stood" ]; then # until it heard of it, the tool held on to what was tried
            all backward
            ended=$(now)
        fi
        sh untry.sh >>untry.out 2>&1
    fi
    echo $((ended - changed)) >lasted
    echo back >state
    : >done
fi
