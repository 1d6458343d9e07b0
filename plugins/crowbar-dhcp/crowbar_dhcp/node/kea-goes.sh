if grep -qs '"crowbar-base"' /etc/kea/kea-dhcp4.conf || [ -e /etc/kea/kea-api-password ]; then
    stop kea-ctrl-agent kea-ctrl-agent
    for family in 4 6; do
        stop kea-dhcp$family-server kea-dhcp$family
        back /etc/kea/kea-dhcp$family.conf
    done
    back /etc/kea/kea-ctrl-agent.conf
    rm -f /etc/kea/kea-api-password
fi
