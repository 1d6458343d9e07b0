new=no
if [ -n "$radvd" ]; then
    grep -qs 'Written by Crowbar' /etc/radvd.conf || aside /etc/radvd.conf
    command -v radvd >/dev/null || packages radvd
    owner=root
    put /etc/radvd.conf "# Written by Crowbar (dhcp-server): it is overwritten.
$radvd"
    chmod 644 /etc/radvd.conf
    radvd -c -C /etc/radvd.conf >&2 || { echo 'radvd does not take its configuration' >&2; exit 3; }
    begin radvd radvd -n -C /etc/radvd.conf -p /run/radvd.pid -m none
elif grep -qs 'Written by Crowbar' /etc/radvd.conf; then
    stop radvd radvd
    back /etc/radvd.conf
fi
command -v python3 >/dev/null || packages python3-minimal  # asks who else offers addresses
echo "serving $serving"
