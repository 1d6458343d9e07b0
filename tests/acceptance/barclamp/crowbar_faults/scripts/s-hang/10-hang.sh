# Deaf to TERM, and with a child that is deaf too: only the hard kill of the whole group ends them.
trap '' TERM
sh -c "trap '' TERM; while :; do sleep 0.2; done # the-deaf-child" &
echo "hanging now"
while :; do sleep 0.2; done
