# Says that the change $id stays, and only then writes what the machine finds at its next start. Too late is exit 3.
here=/run/crowbar-network/$id
[ "$(cat "$here/state" 2>/dev/null)" = tried ] || exit 3
unpack .crowbar-new || { clear_away .crowbar-new; exit 1; }
if ! mkdir "$here/verdict" 2>/dev/null; then
    clear_away .crowbar-new
    exit 3
fi
move .crowbar-new
remove_gone
sync
echo kept >"$here/state"
: >"$here/done"
echo kept
