command -v dnsmasq >/dev/null || packages dnsmasq-base
mkdir -p $place/hosts
[ -e $place/options ] || : >$place/options
[ -e $place/dnsmasq.conf ] || printf '%s' "$conf" >$place/dnsmasq.conf
cat >$place/restart.new <<END
#!/bin/sh
# Written by Crowbar (dhcp-server): it is overwritten.
cd $place || exit 1
if [ -d /run/systemd/system ] && [ "\${1-}" != run ]; then exec systemctl restart crowbar-dnsmasq; fi
pid=\$(cat pid 2>/dev/null) && [ "\$(cat /proc/\$pid/comm 2>/dev/null)" = dnsmasq ] && {
    kill \$pid
    while kill -0 \$pid 2>/dev/null; do sleep 0.02; done
}
sha256sum dnsmasq.conf >started
exec dnsmasq -C $place/dnsmasq.conf
END
chmod 755 $place/restart.new
mv -f $place/restart.new $place/restart
if [ -d /run/systemd/system ]; then
    cat >/etc/systemd/system/crowbar-dnsmasq.service <<END
# Written by Crowbar (dhcp-server): it is overwritten.
[Unit]
Description=DHCP for Crowbar
After=network-online.target
[Service]
Type=forking
PIDFile=$place/pid
ExecStart=$place/restart run
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
END
    systemctl daemon-reload
    systemctl -q enable crowbar-dnsmasq >&2
fi
[ $reopened = no ] && pid=$(cat $place/pid 2>/dev/null) && [ "$(cat /proc/$pid/comm 2>/dev/null)" = dnsmasq ] ||
    $place/restart >&2
serving="$(dnsmasq -v | head -n 1 | cut -d " " -f 1-3)"
