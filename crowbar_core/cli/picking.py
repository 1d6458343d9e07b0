"""Which nodes are meant: those that are named, and those of groups and patterns. For every verb that takes many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.client import Client
from crowbar_core.cli.verbs import id_of
from crowbar_core.domain.names import some
from crowbar_core.errors import NotFound

_F = TypeVar("_F", bound=Callable[..., Any])


def picking_options(function: _F) -> _F:
    """``--group`` and ``--match``, each of which may be given several times."""
    function = click.option(
        "--match", "matches", multiple=True, metavar="PATTERN",
        help="Nodes named like this: * is any text, ? one character. With --group, those of the group.",
    )(function)  # fmt: skip
    return click.option("--group", "groups", multiple=True, metavar="NAME", help="All nodes of this group.")(function)


def query_of(client: Client, groups: Sequence[str], matches: Sequence[str]) -> dict[str, Any]:
    """Groups and patterns as a list's filters. Raises ``NotFound`` for a group that does not exist."""
    query: dict[str, Any] = {}
    if groups:
        query["group"] = [id_of(client, "groups", group) for group in groups]
    if matches:
        query["match"] = list(matches)
    return query


def pick(client: Client, names: Sequence[str], groups: Sequence[str], matches: Sequence[str]) -> list[str]:
    """The nodes that are meant, each once: those named, then the others as people count.

    Raises ``UsageError`` when nothing says which, ``NotFound`` when no node is like that.
    """
    if not (names or groups or matches):
        raise click.UsageError("Say which nodes: name them, or give --group or --match.")
    picked = list(names)
    if groups or matches:
        query = {**query_of(client, groups, matches), "fields": "name", "sort": "name"}
        found = [str(row["name"]) for row in client.rows("nodes", query=query)]
        if not found:
            raise NotFound(f"No node is in {_words(groups, matches)}. `crowbar nodes list` shows what there is.")
        picked += found
        out.say(f"{len(found)} node{'s' if len(found) != 1 else ''}: {some(found, 10)}")
    return list(dict.fromkeys(picked))


def _words(groups: Sequence[str], matches: Sequence[str]) -> str:
    of = f"group {' or '.join(groups)}" if groups else "the cluster"
    return f"{of} and named like {' or '.join(matches)}" if matches else of
