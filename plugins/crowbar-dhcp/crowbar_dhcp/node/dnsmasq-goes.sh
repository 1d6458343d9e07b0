if [ -e $place/restart ]; then
    if [ -d /run/systemd/system ]; then
        stop crowbar-dnsmasq dnsmasq
        rm -f /etc/systemd/system/crowbar-dnsmasq.service
    elif pid=$(cat $place/pid 2>/dev/null) && [ "$(cat /proc/$pid/comm 2>/dev/null)" = dnsmasq ]; then
        kill $pid || true
        while kill -0 $pid 2>/dev/null; do sleep 0.05; done
    fi
    rm -rf $place
fi
