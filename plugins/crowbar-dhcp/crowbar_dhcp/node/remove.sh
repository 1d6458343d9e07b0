set -eu
stop kea-ctrl-agent kea-ctrl-agent
for family in 4 6; do
    stop kea-dhcp$family-server kea-dhcp$family
    back /etc/kea/kea-dhcp$family.conf
done
back /etc/kea/kea-ctrl-agent.conf
rm -f /etc/kea/kea-api-password
if grep -qs 'Written by Crowbar' /etc/radvd.conf; then
    stop radvd radvd
    back /etc/radvd.conf
fi
echo removed
