# The dead man's switch itself: crowbar-network. $1 is its directory, $2 the seconds within which somebody must say `keep`.
cd "$1" || exit 1
trap '' HUP INT TERM
echo $$ >pid

now() { # hundredths of a second since the machine has started
    read -r up rest </proc/uptime
    echo $((${up%.*} * 100 + 1${up#*.} - 100))
}

changed=$(now)
limit=$2
end=$((changed + limit * 100))
echo $end >end
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

within() { # within NAME: what the network tool is told; it has three quarters of the time, or nobody can look any more
    [ -s "$1.sh" ] || return 0
    left=$(((end - limit * 25 - $(now)) / 100))
    [ $left -gt 0 ] || left=1
    if timeout -s KILL 1 true 2>/dev/null; then set -- "$1" timeout -s KILL $left; fi
    name=$1
    shift
    "$@" sh "$name.sh" >"$name.out" 2>&1
    code=$?
    [ $code -lt 128 ] || echo "the network tool has not done within $((limit * 3 / 4)) s what it was told" >>"$name.out"
    return $code
}

stands() { # what there is, to be compared
    for family in 4 6; do
        printf 'addr show scope global\nroute show table all\nrule show\n' | ip -$family -br -force -batch -
    done | sed -E '/fe80:|ff00:|anycast/d; s/ linkdown//; s/^([^ ]+ +)[A-Z]+ /\1/; s/  +/ /g'
}

sleep 0.5 || sleep 1 # until whoever began this has heard so
within try && change && within settle
outcome=$?
[ ! -s since ] || read -r changed <since # that the network tool was told of it was the first of it
if [ $outcome = 0 ]; then
    now >tried
    echo tried >state
    while [ ! -e back ] && [ ! -d verdict ] && [ "$(now)" -lt "$end" ]; do
        sleep 0.1 || sleep 1
        read -r end <end # see longer.sh
    done
    [ -e back ] || echo "nobody said over a new connection, in time ($limit s), that it may stay" >reason.timer
else
    failed=$(sed -n 's/.*failed forward:\([0-9]*\).*/\1/p' forward.out 2>/dev/null)
    {
        [ -z "$failed" ] || printf 'ip %s: ' "$(sed -n "${failed}p" forward)"
        cat try.out forward.out settle.out 2>/dev/null | grep -v -e 'failed forward:' -e '^Killed' | tail -n 3 | tr '\n' ' '
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
        for turn in 1 2 3 4 5 6; do
            [ "$(stands)" != "$stood" ] || break
            # Until it heard of it, the tool held on to what was tried; else it only takes its time.
            [ $turn != 3 ] && [ $turn != 6 ] || all backward
            ended=$(now)
            sleep 0.2 || sleep 1
        done
        sh untry.sh last >>untry.out 2>&1
    fi
    echo $((ended - changed)) >lasted
    echo back >state
    : >done
fi
