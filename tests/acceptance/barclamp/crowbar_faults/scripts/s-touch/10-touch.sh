# Leaves its number in the node's own ledger again and again: an older one after a newer one has no business there.
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    echo "$CROWBAR_RUN_ID" >>/root/ledger
    sleep 0.1
done
