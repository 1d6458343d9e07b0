"""The kit of commands: nouns with list, show, create, update, destroy and actions over REST, as the core's are made.

``networks = noun("networks", "Networks.")``, then ``add_list(networks, "networks", columns, what="the networks")`` and
so on; name it as an entry point of the group `crowbar.commands`. Importing this loads neither Flask nor SQLAlchemy.

A command runs where an operator is, without the database: ``cluster()`` does not answer in it. It asks the server, with
``connect()``.
"""

from crowbar_core.cli.confirm import ask, ask_name, yes_option
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import Noun, noun, output, verb
from crowbar_core.cli.output import data, line, record, rows, say
from crowbar_core.cli.plans import DRY, plan_options, show_plan
from crowbar_core.cli.verbs import (
    Given,
    add_action,
    add_create,
    add_destroy,
    add_list,
    add_show,
    add_update,
    done,
    pair,
    read_file,
    read_json,
    read_value,
    ref,
)

__all__ = [
    "DRY",
    "Given",
    "Noun",
    "add_action",
    "add_create",
    "add_destroy",
    "add_list",
    "add_show",
    "add_update",
    "ask",
    "ask_name",
    "connect",
    "data",
    "done",
    "line",
    "noun",
    "output",
    "pair",
    "plan_options",
    "read_file",
    "read_json",
    "read_value",
    "record",
    "ref",
    "rows",
    "say",
    "show_plan",
    "verb",
    "yes_option",
]
