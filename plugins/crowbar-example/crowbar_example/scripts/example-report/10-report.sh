# Writes a report on all members, each of which is ready by now. Running it again changes nothing.
set -eu

mkdir -p /etc/crowbar-example
greeting=$(read_attribute example/greeting)
members=$(get_keys example/members)
count=0
{
    printf '%s from %s to:\n' "$greeting" "$CROWBAR_NODE"
    for number in $members; do
        read_attribute "example/members/$number/name"
        count=$((count + 1))
    done
} >/etc/crowbar-example/report.new
[ "$count" -gt 0 ] || fail "There is nobody to report on."
mv /etc/crowbar-example/report.new /etc/crowbar-example/report

for number in $(get_keys example/kernel); do
    echo "$(read_attribute "example/kernel/$number/node") runs $(read_attribute "example/kernel/$number/value")"
done

echo "reported on $count members"
write_attribute --json example/count "$count"
