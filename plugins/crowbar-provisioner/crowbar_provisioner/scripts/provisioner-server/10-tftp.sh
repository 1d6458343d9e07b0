# The node gives firmware its boot loader, and that its first script, over TFTP, on IPv4 and IPv6. Running it again changes nothing.
set -eu
export DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"
if ! command -v in.tftpd >/dev/null || ! [ -e /usr/lib/ipxe/undionly.kpxe ]; then
    command -v apt-get >/dev/null || fail 'There is no TFTP server here (in.tftpd), and this is no Debian: install it, and iPXE.'
    apt-get -q -y install --no-install-recommends tftpd-hpa ipxe >&2 ||
        { apt-get -q update >&2 && apt-get -q -y install --no-install-recommends tftpd-hpa ipxe >&2; } ||
        fail 'tftpd-hpa and ipxe could not be installed'
fi
root=/srv/crowbar-tftp
mkdir -p $root
for name in undionly.kpxe ipxe.efi; do
    # Debian's ipxe.efi is a link into /boot, which need not be there.
    from=/usr/lib/ipxe/$name
    [ -s "$from" ] || from=/usr/lib/ipxe/snponly.efi
    if ! cmp -s "$from" "$root/$name"; then
        cp "$from" "$root/$name.new" || fail "there is no $name of the package ipxe here"
        chmod 644 "$root/$name.new"
        mv "$root/$name.new" "$root/$name"
    fi
done
for name in boot4.ipxe boot6.ipxe; do
    if has_attribute "provisioner/scripts/$name"; then
        printf '%s\n' "$(read_attribute "provisioner/scripts/$name")" >"$root/$name.new"
        chmod 644 "$root/$name.new"
        mv "$root/$name.new" "$root/$name"
    else
        rm -f "$root/$name"
    fi
done
for family in 4 6; do
    program="in.tftpd -L -$family --address :69 --secure $root"
    if [ -d /run/systemd/system ]; then
        systemctl -q disable --now tftpd-hpa >&2 2>&1 || true
        printf '[Unit]\nDescription=Boot loaders by TFTP, for Crowbar\nAfter=network.target\n[Service]\nExecStart=%s\nRestart=on-failure\n[Install]\nWantedBy=multi-user.target\n' \
            "$(command -v in.tftpd) ${program#in.tftpd }" >/etc/systemd/system/crowbar-tftp$family.service
        systemctl daemon-reload
        systemctl -q enable --now crowbar-tftp$family >&2
    elif ! pgrep -f "^in.tftpd -L -$family " >/dev/null; then
        setsid $program </dev/null >/dev/null 2>&1 &
    fi
done
tries=0
until [ "$(pgrep -fc 'in.tftpd -L -[46] ')" -ge 2 ]; do
    tries=$((tries + 1))
    [ $tries -lt 50 ] || fail 'in.tftpd does not run: another TFTP server may have port 69'
    sleep 0.1
done
echo "boot loaders, and the script that they begin with, are given by TFTP from $root"
