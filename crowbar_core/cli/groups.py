"""`crowbar groups`: tags on nodes, each of a category."""

from __future__ import annotations

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import noun
from crowbar_core.cli.verbs import Given, add_create, add_destroy, add_list, add_show, add_update, id_of

groups = noun("groups", "Tags on nodes, each of a category.")
CATEGORIES = ("class", "rack", "tag", "ui")

add_list(groups, "groups", ("id", "name", "category", "description"), what="the groups", order="name")
add_show(groups, "groups", what="a group")
add_destroy(groups, "groups", what="a group")


_OPTIONS = (
    Given(name="category", type=click.Choice(CATEGORIES), help="What kind of tag it is; tag unless said."),
    Given(name="description", help="What it is for."),
)
add_create(groups, "groups", what="a group", options=_OPTIONS)
add_update(groups, "groups", what="a group", options=_OPTIONS)


@groups.verb("add")
@click.argument("name")
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
def add(name: str, nodes: tuple[str, ...]) -> None:
    """Put nodes into a group."""
    client = connect()
    for node in nodes:
        client.put("groups", name, "nodes", id_of(client, "nodes", node))
        out.say(f"Node {node} is in group {name}.")


@groups.verb("remove")
@click.argument("name")
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
def remove(name: str, nodes: tuple[str, ...]) -> None:
    """Take nodes out of a group."""
    client = connect()
    for node in nodes:
        client.delete("groups", name, "nodes", id_of(client, "nodes", node))
        out.say(f"Node {node} is no longer in group {name}.")
