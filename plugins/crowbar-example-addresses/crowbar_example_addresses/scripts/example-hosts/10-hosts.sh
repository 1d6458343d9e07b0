# Writes down all addresses that are in use. Running it again changes nothing.
set -eu

mkdir -p /etc/crowbar-addresses
read_attribute example-addresses/all >/etc/crowbar-addresses/hosts.new
mv /etc/crowbar-addresses/hosts.new /etc/crowbar-addresses/hosts
