echo "end s-after" >>/root/journal
