"""Destroying asks first: what will be lost is shown, and the name of the thing is typed, or `--yes` is given.

What is lost, and whether anything is, the server says (`losses`), in the same words in which the pages say it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.client import Client
from crowbar_core.cli.errors import ApiError, NobodyToAsk
from crowbar_core.errors import Refused

_F = TypeVar("_F", bound=Callable[..., Any])


def yes_option(function: _F) -> _F:
    return click.option("--yes", is_flag=True, help="Do not ask, whatever will be lost.")(function)


def ask(client: Client, path: str, things: Iterable[str | int], act: str, *, yes: bool, force: bool = False) -> None:
    """Return if each of the things may be destroyed; all are asked for before any of it is done.

    Raises ``NobodyToAsk`` (exit 2) when nobody is there to answer, ``Refused`` when another name was typed.
    """
    if yes:
        return
    names = list(things)
    for loss in [_loss(client, path, name, act, force, alone=len(names) == 1) for name in names]:
        if not loss["asks"]:
            continue
        _show(loss)
        ask_name(str(loss["name"]), f"{_words(act)} {loss['subject']}")


def _loss(client: Client, path: str, name: str | int, act: str, force: bool, *, alone: bool) -> dict[str, Any]:
    """What cannot be done to one of several destroys nothing; it says so itself when it is tried."""
    query = {"act": act, "force": "true" if force else None}
    try:
        found: dict[str, Any] = client.get(path, name, "losses", query=query)
    except ApiError as error:
        if alone or error.answer != 409:
            raise
        return {"asks": False}
    return found


def ask_name(name: str, doing: str) -> None:
    """Return when ``name`` was typed. Raises as ``ask`` does."""
    if not sys.stdin.isatty():
        raise NobodyToAsk(f"This would {doing}, and nobody is here to be asked: give --yes if that is what you want.")
    typed = click.prompt(f"Type {out.visible(name)} to go on", prompt_suffix=": ", err=True)
    if str(typed).strip().casefold() != name.casefold():
        raise Refused(f"Nothing was done: the name that you typed is not {name}.")


def _show(loss: dict[str, Any]) -> None:
    out.say(str(loss["summary"]))
    for section in loss["sections"]:
        out.say(f"  {section['title']} ({section['count']:,}):")
        for line in section["lines"]:
            out.say(f"    {line}")


def _words(act: str) -> str:
    return act if act in ("destroy", "redeploy", "unbind", "commit") else f"perform {act!r} on"
