set -- $(its_cluster)
if [ $# != 0 ]; then
    pg_dropcluster --stop "$1" $cluster >&2
    rm -f /etc/systemd/system/kea-dhcp[46]-server.service.d/crowbar.conf
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
fi
