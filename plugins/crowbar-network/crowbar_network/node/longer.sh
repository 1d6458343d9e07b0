# Has the switch $id wait for $limit seconds from now on; said over a new connection, when nothing is wrong and the node is
# slow. The node allows it $often times: then, and when it is too late, this is exit 3.
here=/run/crowbar-network/$id
[ "$(cat "$here/state" 2>/dev/null)" = tried ] && [ ! -d "$here/verdict" ] || exit 3
printf . >>"$here/longer"
[ "$(wc -c <"$here/longer")" -le "$often" ] || exit 3
read -r up rest </proc/uptime
echo $((${up%.*} * 100 + 1${up#*.} - 100 + limit * 100)) >"$here/end.new" && mv "$here/end.new" "$here/end" || exit 1
echo longer
