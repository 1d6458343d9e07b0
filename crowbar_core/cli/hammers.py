"""`crowbar hammers`: ways to act on a node outside its roles."""

from __future__ import annotations

from typing import Any

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.confirm import ask, yes_option
from crowbar_core.cli.connection import ask_password, connect
from crowbar_core.cli.context import noun, output
from crowbar_core.cli.verbs import add_destroy, add_list, add_show, done, pair, read_value, ref

hammers = noun("hammers", "Ways to act on a node outside its roles: power, boot device.")

add_list(
    hammers,
    "hammers",
    ("id", "node", "name", "priority"),
    what="the nodes' hammers",
    names={"node": "nodes"},
    of_nodes=True,
)
add_show(hammers, "hammers", what="a hammer")
add_destroy(hammers, "hammers", what="a hammer")


@hammers.verb("available")
def available() -> None:
    """List the kinds of hammers that are installed."""
    out.rows(connect().get("available_hammers"), ("name",), output())


_secret = click.option(
    "--secret", multiple=True, metavar="KEY",
    help="A text that is asked for, or read from a line of standard input: no command line shows it.",
)  # fmt: skip


def _config(config: tuple[str, ...], secret: tuple[str, ...]) -> dict[str, Any]:
    given = {key: read_value(value) for key, value in (pair(text, "--config") for text in config)}
    return given | {key: ask_password(f"{key}: ") for key in secret}


@hammers.verb("create")
@click.argument("node")
@click.argument("name")
@click.option("--priority", type=int, default=0, show_default=True, help="The highest wins, action by action.")
@click.option("--config", multiple=True, metavar="KEY=VALUE", help="What this kind of hammer needs; may be repeated.")
@_secret
def create(node: str, name: str, priority: int, config: tuple[str, ...], secret: tuple[str, ...]) -> None:
    """Give NODE a hammer of the kind NAME."""
    client = connect()
    body = {"node_id": ref(node), "name": name, "priority": priority, "config": _config(config, secret)}
    out.record(client.post("hammers", body=body), output())


@hammers.verb("update")
@click.argument("number", metavar="HAMMER")
@click.option("--priority", type=int, help="The highest wins, action by action.")
@click.option("--config", multiple=True, metavar="KEY=VALUE", help="A key to change; KEY=null removes it.")
@_secret
def update(number: str, priority: int | None, config: tuple[str, ...], secret: tuple[str, ...]) -> None:
    """Change a hammer's priority or configuration; what is not named stays."""
    body: dict[str, Any] = {} if priority is None else {"priority": priority}
    if config or secret:
        body["config"] = _config(config, secret)
    if not body:
        raise click.UsageError("Say what to change: --priority, --config, --secret.")
    out.record(connect().patch("hammers", number, body=body), output())


@hammers.verb("perform")
@click.argument("number", metavar="HAMMER")
@click.argument("action")
@yes_option
def perform(number: str, action: str, yes: bool) -> None:
    """Have one hammer perform an ACTION. What may stop the node asks first."""
    client = connect()
    ask(client, "hammers", [number], action, yes=yes)
    answer = client.post("hammers", number, "perform", body={"action": action})
    done(answer, str((answer or {}).get("result") or f"{action}: done"))
