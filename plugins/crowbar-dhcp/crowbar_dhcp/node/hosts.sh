# Kea's reservations are in a PostgreSQL of their own: a cluster of its own, which no other program uses.
if ! command -v pg_createcluster >/dev/null || ! command -v kea-admin >/dev/null ||
    ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    packages postgresql kea-admin
fi
if [ -z "$(its_cluster)" ]; then
    pg_createcluster "$(ls /usr/lib/postgresql | sort -V | tail -n 1)" $cluster >&2
fi
set -- $(its_cluster)
release=$1 hosts_port=$2
owner=postgres new=no
put /etc/postgresql/$release/$cluster/conf.d/crowbar.conf "listen_addresses = '*'
"
put /etc/postgresql/$release/$cluster/pg_hba.conf "local all postgres peer
host $database $database all scram-sha-256
"
[ $new = no ] || pg_ctlcluster $release $cluster stop -m fast >&2 2>/dev/null || true
pg_ctlcluster $release $cluster status >/dev/null || pg_ctlcluster $release $cluster start >&2
at_hosts() { (cd / && runuser -u postgres -- psql -q -At -v ON_ERROR_STOP=1 -p "$hosts_port" "$@"); }
quoted=$(printf '%s' "$password" | sed "s/'/''/g")
[ -n "$(at_hosts -c "SELECT 1 FROM pg_roles WHERE rolname = '$database'")" ] || at_hosts -c "CREATE ROLE $database LOGIN"
printf '%s\n' "SET password_encryption = 'scram-sha-256'; ALTER ROLE $database PASSWORD '$quoted';" | at_hosts
if [ -z "$(at_hosts -c "SELECT 1 FROM pg_database WHERE datname = '$database'")" ]; then
    at_hosts -c "CREATE DATABASE $database OWNER $database"
fi
# Kea asks the same few things for each packet.
at_hosts -c "ALTER DATABASE $database SET plan_cache_mode = force_generic_plan"
if [ -z "$(at_hosts -d $database -c "SELECT to_regclass('schema_version')")" ]; then
    PGPASSWORD=$password psql -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$hosts_port" -U $database -d $database \
        -f /usr/share/kea/scripts/pgsql/dhcpdb_create.pgsql >/dev/null
fi
if [ -d /run/systemd/system ]; then
    owner=root new=no
    for family in 4 6; do
        mkdir -p /etc/systemd/system/kea-dhcp$family-server.service.d
        put /etc/systemd/system/kea-dhcp$family-server.service.d/crowbar.conf "[Unit]
After=postgresql.service
[Service]
Restart=on-failure
RestartSec=2
"
    done
    [ $new = no ] || systemctl daemon-reload
fi
echo "reservations in PostgreSQL at port $hosts_port"
