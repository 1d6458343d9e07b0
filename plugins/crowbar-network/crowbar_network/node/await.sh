# Waits until the change $id has been tried, at most for $seconds: who logs in before that has proven nothing.
turns=$((seconds * 10))
while [ $turns -gt 0 ] && [ ! -e "/run/crowbar-network/$id/tried" ] && [ ! -e "/run/crowbar-network/$id/done" ]; do
    sleep 0.1 || sleep 1
    turns=$((turns - 1))
done
