# Leaves its number in the node's own ledger: an older one after a newer one has no business there. Asks to be tried again
# at once, so that at any moment many runs are on their way to their nodes.
echo "$CROWBAR_RUN_ID" >>/root/ledger
sleep 0.1
echo "$CROWBAR_RUN_ID" >>/root/ledger
[ -e /root/enough ] || exit 75
