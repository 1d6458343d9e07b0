"""`crowbar barclamps`: the installed packages and what they bring; making a new one and checking it."""

from __future__ import annotations

from crowbar_core.cli.context import noun
from crowbar_core.cli.new_barclamp import add_check, add_new
from crowbar_core.cli.root import COMMANDS
from crowbar_core.cli.verbs import add_list, add_show

barclamps = noun("barclamps", "The installed packages and what they bring.")

add_list(
    barclamps,
    "barclamps",
    ("id", "name", "version", "distribution", "state", "error", "description"),
    what="the barclamps",
)
add_show(barclamps, "barclamps", what="a barclamp")
add_new(barclamps, commands=tuple(COMMANDS))
add_check(barclamps, commands=tuple(COMMANDS))
