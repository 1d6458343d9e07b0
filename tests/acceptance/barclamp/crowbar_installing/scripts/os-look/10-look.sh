echo "look" >>/root/journal
