# Writes down the node's address. Running it again changes nothing.
set -eu

mkdir -p /etc/crowbar-addresses
read_attribute example-addresses/own >/etc/crowbar-addresses/own.new
mv /etc/crowbar-addresses/own.new /etc/crowbar-addresses/own
