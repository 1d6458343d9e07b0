"""`crowbar roles`: what can be bound to a node."""

from __future__ import annotations

from crowbar_core.cli.context import noun
from crowbar_core.cli.verbs import add_list, add_show

roles = noun("roles", "What can be bound to a node.")

add_list(roles, "roles", ("id", "name", "jig_name", "cohort", "requires", "description"), what="the roles",
         order="name", filters={"barclamp": "Only those of this barclamp."})  # fmt: skip
add_show(roles, "roles", what="a role")
