"""`crowbar settings`: what the server is set to, and where each setting comes from."""

from __future__ import annotations

from typing import Any

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import noun, output
from crowbar_core.errors import NotFound

settings = noun("settings", "The settings of the server and of its barclamps.")


def _of(barclamp: str | None) -> list[dict[str, Any]]:
    rows = connect().get("settings")
    return rows if barclamp is None else [row for row in rows if row["barclamp"] == barclamp]


@settings.verb("list")
@click.option("--barclamp", metavar="NAME", help="Only those of this barclamp.")
@click.option("--set", "is_set", is_flag=True, help="Only those that are not left at their default.")
def list_(barclamp: str | None, is_set: bool) -> None:
    """List the settings with their origin: default, the file, a variable of the environment, or the command line."""
    rows = [row for row in _of(barclamp) if not is_set or row["origin"] != "default"]
    out.rows(rows, ("barclamp", "name", "value", "origin", "help"), output())


@settings.verb("show")
@click.argument("name")
@click.option("--barclamp", metavar="NAME", help="It is a setting of this barclamp.")
def show(name: str, barclamp: str | None) -> None:
    """Show one setting: its value, default and origin, and the variable that sets it."""
    found = [row for row in _of(barclamp) if row["name"] == name]
    if not found:
        raise NotFound(f"There is no setting {name}. `crowbar settings list` shows all.")
    out.record(found[0], output())
