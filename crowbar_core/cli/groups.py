"""`crowbar groups`: tags on nodes, each of a category."""

from __future__ import annotations

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import noun, output
from crowbar_core.cli.verbs import add_destroy, add_list, add_show, id_of

groups = noun("groups", "Tags on nodes, each of a category.")
CATEGORIES = ("class", "rack", "tag", "ui")

add_list(groups, "groups", ("id", "name", "category", "description"), what="the groups")
add_show(groups, "groups", what="a group")
add_destroy(groups, "groups", what="a group")


@groups.verb("create")
@click.argument("name")
@click.option(
    "--category", type=click.Choice(CATEGORIES), default="tag", show_default=True, help="What kind of tag it is."
)
@click.option("--description", default="", help="What it is for.")
def create(name: str, category: str, description: str) -> None:
    """Make a group."""
    out.record(
        connect().post("groups", body={"name": name, "category": category, "description": description}), output()
    )
    out.say(f"Group {name} is made.")


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
