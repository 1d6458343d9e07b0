if ! command -v kea-dhcp4 >/dev/null || ! command -v kea-dhcp6 >/dev/null || ! command -v kea-ctrl-agent >/dev/null; then
    packages kea-dhcp4-server kea-dhcp6-server kea-ctrl-agent
fi
owner=$(id -un _kea 2>/dev/null || id -un kea 2>/dev/null || echo root)
for place in /run/kea /var/lib/kea /var/log/kea /run/lock/kea /etc/kea; do
    mkdir -p $place
    [ $place = /etc/kea ] || chown "$owner" $place
done
# On an address that is still tentative Kea does not listen, and (2.2, with its queue) never again until it is told.
tries=0
while ip -6 -o addr show tentative 2>/dev/null | grep -qv dadfailed && [ $tries -lt 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
for family in 4 6; do
    if [ -d /etc/apparmor.d/local ]; then
        # Kea writes its configuration down itself.
        rule="/etc/kea/kea-dhcp$family.conf rw,"
        local=/etc/apparmor.d/local/usr.sbin.kea-dhcp$family
        if ! grep -qsF "$rule" $local; then
            echo "$rule" >>$local
            ! command -v apparmor_parser >/dev/null || apparmor_parser -r /etc/apparmor.d/usr.sbin.kea-dhcp$family || true
        fi
    fi
    file=/etc/kea/kea-dhcp$family.conf
    new=$reopened
    if [ $family = 4 ]; then text=$base4 mark=$mark4; else text=$base6 mark=$mark6; fi
    if ! grep -qsF "$mark" $file; then
        aside $file
        library=$(find /usr/lib /usr/local/lib -name libdhcp_lease_cmds.so 2>/dev/null | head -n 1)
        put $file "$(printf '%s' "$text" | sed "s|\"@LEASE_CMDS@\"|[${library:+{\"library\": \"$library\"\}}]|
            s|\"@HOSTS_PORT@\"|${hosts_port:-0}|")"
    fi
    begin kea-dhcp$family-server kea-dhcp$family -c $file
done
new=no
aside /etc/kea/kea-ctrl-agent.conf
put /etc/kea/kea-ctrl-agent.conf "$agent"
put /etc/kea/kea-api-password "$password"
begin kea-ctrl-agent kea-ctrl-agent -c /etc/kea/kea-ctrl-agent.conf
tries=0
until [ -S /run/kea/kea4-ctrl-socket ] && [ -S /run/kea/kea6-ctrl-socket ] && pidof kea-dhcp4 >/dev/null &&
    pidof kea-dhcp6 >/dev/null && pidof kea-ctrl-agent >/dev/null; do
    tries=$((tries + 1))
    if [ $tries -ge 100 ]; then
        tail -n 3 /var/log/kea/kea-dhcp4.log /var/log/kea/kea-dhcp6.log /var/log/kea/kea-ctrl-agent.log >&2 || true
        echo 'Kea does not run: its logs in /var/log/kea say why' >&2
        exit 3
    fi
    sleep 0.1
done
serving="Kea $(kea-dhcp4 -v | head -n 1)"
