echo "begin s-once" >>/root/journal
while [ ! -e /root/open ]; do sleep 0.1; done
echo "end s-once" >>/root/journal
