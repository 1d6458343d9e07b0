set -eu
export DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"
begin() { # UNIT PROGRAM ARGUMENT...: it runs; anew, if $new
    unit=$1
    shift
    if [ -d /run/systemd/system ]; then
        systemctl -q enable "$unit" >&2 || true
        if [ "$new" = yes ] || ! systemctl -q is-active "$unit"; then systemctl restart "$unit" >&2; fi
        return
    fi
    if pidof "$1" >/dev/null; then
        [ "$new" = yes ] || return 0
        stop "$unit" "$1"
    fi
    KEA_PIDFILE_DIR=/run/kea KEA_LOCKFILE_DIR=/run/lock/kea setsid "$@" </dev/null >/dev/null 2>&1 &
}
stop() { # UNIT PROGRAM
    if [ -d /run/systemd/system ]; then
        systemctl -q disable "$1" >&2 || true
        systemctl stop "$1" >&2 || true
        return
    fi
    pids=$(pidof "$2") || return 0
    kill $pids || true
    tries=0
    while kill -0 $pids 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 50 ] || kill -9 $pids || true
        sleep 0.1
    done
}
aside() { # FILE: what was there before Crowbar is kept
    [ ! -e "$1" ] || [ -e "$1.before-crowbar" ] || grep -qs crowbar "$1" || mv "$1" "$1.before-crowbar"
}
back() { # FILE
    rm -f "$1"
    [ ! -e "$1.before-crowbar" ] || mv -f "$1.before-crowbar" "$1"
}
cluster=crowbarkea
its_cluster() { # the release and the port of the PostgreSQL in which reservations are
    ! command -v pg_lsclusters >/dev/null || pg_lsclusters -h | awk -v name=$cluster '$2 == name { print $1, $3 }'
}
packages() { # NAME...: Debian's packages are there
    command -v apt-get >/dev/null || { echo "$1 is not there, and this is no Debian: install it" >&2; exit 3; }
    apt-get -q -y install --no-install-recommends "$@" >&2 ||
        { apt-get -q update >&2 && apt-get -q -y install --no-install-recommends "$@" >&2; } ||
        { echo "$* could not be installed" >&2; exit 3; }
}
put() { # FILE TEXT: what is there is this; sets $new
    if ! printf '%s' "$2" | cmp -s - "$1"; then
        (umask 077; printf '%s' "$2" >"$1.new")
        chown "$owner" "$1.new"
        mv -f "$1.new" "$1"
        new=yes
    fi
}
