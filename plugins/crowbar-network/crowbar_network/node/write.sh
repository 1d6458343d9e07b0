# Writes the files alone: the interfaces are as they should be.
unpack .crowbar-new || { clear_away .crowbar-new; exit 1; }
move .crowbar-new
remove_gone
sync
