# Evidence on the node itself: mkdir is atomic, so a second run at once cannot miss the first. What a power cut or a
# kill leaves behind is told from a live one by the process number.
if mkdir /root/lock 2>/dev/null; then :; elif [ -d "/proc/$(cat /root/lock/pid)" ] && [ "$(cat /root/lock/boot)" = "$(cat /proc/sys/kernel/random/boot_id)" ]; then
    echo "not alone" >>/root/violations
fi
echo $$ >/root/lock/pid
cat /proc/sys/kernel/random/boot_id >/root/lock/boot
echo "begin s-slow" >>/root/journal
while [ ! -e /root/open ]; do sleep 0.1; done
echo "end s-slow" >>/root/journal
rm -r /root/lock
