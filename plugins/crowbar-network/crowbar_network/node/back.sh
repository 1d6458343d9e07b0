# Asks the switch $id to lead back now, and waits for it; then tells how it ended: its state, and its reason.
here=/run/crowbar-network/$id
if [ -n "$why" ] && [ ! -e "$here/back" ]; then printf '%s\n' "$why" >"$here/back.new" && mv "$here/back.new" "$here/back"; fi
for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ ! -e "$here/done" ] || break
    sleep 0.1 || sleep 1
done
cat "$here/state" || echo unknown
cat "$here/lasted" 2>/dev/null || echo 0
cat "$here/reason" 2>/dev/null
