# Makes sure that LLDP runs on this machine: Debian's lldpd, installed where apt can. Prints whether it ran before.
if ! command -v lldpd >/dev/null || ! command -v lldpcli >/dev/null; then
    command -v apt-get >/dev/null || { echo "there is no lldpd, and no apt-get that could install it" >&2; exit 1; }
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=60 install --no-install-recommends lldpd >&2 ||
        { echo "apt-get cannot install lldpd: install it, or give the machine a mirror that has it" >&2; exit 1; }
fi
runs() { lldpcli -f json0 show configuration >/dev/null 2>&1; }
if runs; then
    echo ran
    exit 0
fi
if [ -d /run/systemd/system ]; then
    systemctl --quiet enable --now lldpd || exit 1
else # its socket, its pid and the directory that it is locked into are in this machine's own /run
    mkdir -p /run/lldpd && rm -f /run/lldpd.pid /run/lldpd.socket &&
        lldpd -L "$(command -v lldpcli)" </dev/null >/dev/null 2>&1 || { echo "lldpd cannot be started" >&2; exit 1; }
fi
for turn in 1 2 3 4 5 6 7 8 9 10; do ! runs || { echo begun; exit 0; }; sleep 0.5 || sleep 1; done
echo "lldpd was started, and does not answer" >&2
exit 1
