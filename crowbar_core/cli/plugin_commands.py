"""The commands that barclamps bring (`register_commands`); imported only when one of them may be meant."""

from __future__ import annotations

from collections.abc import Iterable

import click

from crowbar_core import plugins
from crowbar_core.cli.output import say
from crowbar_core.errors import CrowbarError
from crowbar_core.settings import load_settings


def plugin_commands(taken: Iterable[str]) -> dict[str, click.Command]:
    """Name -> command, for every loaded barclamp. What cannot be had is told on stderr, and the rest goes on."""
    reserved = set(taken)
    found: dict[str, click.Command] = {}
    try:
        registry = plugins.load(load_settings())
    except CrowbarError as error:
        say(f"The barclamps' commands are missing: {error.detail}")
        return {}
    for problem in registry.problems():
        say(problem.detail)
    for barclamp, answer in registry.ask("register_commands"):
        if isinstance(answer, plugins.Failure):
            say(f"The commands of barclamp {barclamp} are missing: {answer.error}")
            continue
        try:
            commands = list(answer or ())
        except Exception as error:  # noqa: BLE001 -- a barclamp's generator or list: one broken package does not take the rest along
            say(f"The commands of barclamp {barclamp} are missing: {type(error).__name__}: {error}")
            continue
        for command in commands:
            if not isinstance(command, click.Command) or not command.name:
                say(f"Barclamp {barclamp} registers {command!r} as a command, which is no named click command.")
            elif command.name in reserved:
                say(f"Barclamp {barclamp} brings a command {command.name!r}, which exists already; it is left out.")
            else:
                reserved.add(command.name)
                found[command.name] = command
    return found
