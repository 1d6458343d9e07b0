# Writes a report on all members, each of which is ready by now. Running it again changes nothing.
set -eu

mkdir -p /etc/crowbar-example
count=0
{
    printf '%s from %s to:\n' "$(read_attribute example/greeting)" "$CROWBAR_NODE"
    for number in $(get_keys example/members); do
        printf '%s\n' "$(read_attribute "example/members/$number/name")"
        count=$((count + 1))
    done
} >/etc/crowbar-example/report.new
mv /etc/crowbar-example/report.new /etc/crowbar-example/report

echo "reported on $count members"
write_attribute --json example/count "$count"
