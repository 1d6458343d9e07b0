"""The commands that are not the core's own; imported only when one of them may be meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from crowbar_core.brought import Command, commands
from crowbar_core.cli.output import say
from crowbar_core.errors import CrowbarError
from crowbar_core.settings import load_settings


def brought(taken: Iterable[str]) -> Mapping[str, Command]:
    """Name -> command. What cannot be had is told on stderr, and the rest goes on."""
    try:
        settings = load_settings()
    except CrowbarError as error:
        say(f"The barclamps' commands are missing: {error.detail}")
        return {}
    if settings.safe_mode:
        return {}
    found, problems = commands(taken=taken, disabled=settings.disabled_barclamps)
    for problem in problems:
        say(problem)
    return found
