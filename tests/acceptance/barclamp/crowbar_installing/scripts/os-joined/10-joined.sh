echo "joined" >>/root/journal
