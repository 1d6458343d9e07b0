"""What `crowbar machines install` and erase have in common: disks are shown before anybody is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crowbar_core.client import connect
from crowbar_core.commands import DRY, ask_name, say, show_plan


def order(
    names: Sequence[str], verb: str, said: Mapping[str, Any], *, asks: str, done: str, yes: bool, plan: bool,
    every: bool,
) -> None:  # fmt: skip
    """``said``: what was given as options. ``asks`` and ``done`` say ``{name}``."""
    given = {name: value for name, value in said.items() if value not in (None, ())}
    wish = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    client = connect()
    for name in names:
        if plan or not yes:
            found = client.put("machines", name, verb, body=wish, query=DRY)
            if plan:
                show_plan(found, every=every)
                continue
            for told in found["lines"]:
                say(told["text"])
            ask_name(name, asks.format(name=name))
        client.put("machines", name, verb, body=wish)
        say(done.format(name=name))
