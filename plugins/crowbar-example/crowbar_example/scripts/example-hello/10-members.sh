# Writes down all members and greets them, and reports the kernel. Running it again changes nothing.
set -eu

mkdir -p /etc/crowbar-example
for number in $(get_keys example/members); do
    address=$(read_attribute "example/members/$number/address")
    name=$(read_attribute "example/members/$number/name")
    printf '%s %s\n' "$address" "$name"
done >/etc/crowbar-example/members.new
mv /etc/crowbar-example/members.new /etc/crowbar-example/members

greeting=$(read_attribute example/greeting)
while read -r address name; do
    echo "$greeting, $name ($address)"
done </etc/crowbar-example/members

kernel=$(uname -r)
write_attribute example/kernel "$kernel"
