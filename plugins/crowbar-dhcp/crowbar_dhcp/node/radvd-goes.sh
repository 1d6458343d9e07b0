if grep -qs 'Written by Crowbar' /etc/radvd.conf; then
    stop radvd radvd
    back /etc/radvd.conf
fi
echo removed
