# What systemd-networkd is told around a change of interfaces. All of it is below /run: a restart forgets it.
run=/run/systemd/network
here=$(dirname "$0")

remember() { # what it has been told by now, for the way back
    mkdir -p "$run" "$here/before"
    cp -a "$run"/00-crowbar-trial.network "$run"/05-crowbar-* "$run"/*.netdev.d "$here/before/" 2>/dev/null
}

recall() {
    rm -rf "$run"/00-crowbar-trial.network "$run"/05-crowbar-*
    rm -f "$run"/*.netdev.d/00-crowbar-trial.conf
    cp -a "$here"/before/. "$run/"
}

notes() { # notes NAME...: where it can be told of each file that wants such a link that it shall not make it
    for name in "$@"; do
        grep -slxF "Name=$name" /etc/systemd/network/*.netdev "$run"/*.netdev /lib/systemd/network/*.netdev |
            sed "s:.*/:$run/:; s:\$:.d/00-crowbar-trial.conf:"
    done
}

unmade() { # unmade NAME...: it makes none of these, as it would with every reload
    notes "$@" | while read -r note; do
        mkdir -p "${note%/*}"
        printf '[Match]\nHost=nowhere.invalid\n' >"$note"
    done
}

made() {
    notes "$@" | while read -r note; do rm -f "$note"; done
}

begin() { # the reload with which a change begins
    read -r up rest </proc/uptime
    echo $((${up%.*} * 100 + 1${up#*.} - 100)) >"$here/since"
    networkctl reload
}
