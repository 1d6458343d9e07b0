# Waits until the change $id has been tried, but no longer than a moment: who logs in before that has proven nothing.
for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    [ ! -e "/run/crowbar-network/$id/tried" ] && [ ! -e "/run/crowbar-network/$id/done" ] || break
    sleep 0.1 || sleep 1
done
