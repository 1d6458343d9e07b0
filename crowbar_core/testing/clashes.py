"""What a barclamp calls as another installed one does: addresses, blueprints, commands, services, jobs, collections."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from flask import Blueprint, Flask

from crowbar_core import brought
from crowbar_core.barclamp import Declared, Periodic, Service
from crowbar_core.errors import CrowbarError
from crowbar_core.plugins import CORE, Registry
from crowbar_core.web.app import Taken, tried

_NAMED: tuple[tuple[str, type, Callable[[Any], str], str], ...] = (
    ("register_services", Service, lambda one: one.name, "service"),
    ("register_periodic", Periodic, lambda one: one.name, "periodic job"),
    ("register_declared", Declared, lambda one: one.noun, "declared collection"),
)


def beside_others(registry: Registry, barclamp: str, app: Flask) -> tuple[Taken, dict[str, str]]:
    """The addresses that the core and the other barclamps answer for, and blueprint -> whose it is."""
    taken, names = Taken(list(app.url_map.iter_rules())), dict.fromkeys(app.blueprints, "the core")
    for one, blueprints in registry.blueprints():
        if one.name != barclamp:
            with contextlib.suppress(CrowbarError):  # what is left out of theirs takes nothing
                trial = tried(one.name, blueprints, taken)
                taken.add(f"barclamp {one.name}", list(trial.url_map.iter_rules()))
                names |= dict.fromkeys(trial.blueprints, f"barclamp {one.name}")
    return taken, names


def blueprint_of_another(blueprint: Blueprint, barclamp: str, names: dict[str, str]) -> str:
    """What is wrong with its name; '' when nothing is."""
    if blueprint.name not in names:
        return ""
    return (
        f"Its blueprint {blueprint.name!r} is called as one of {names[blueprint.name]} is, so that only one of the two "
        f"can be added: give it another name, for example {barclamp!r}."
    )


def names_of_others(registry: Registry, barclamp: str) -> Iterator[str]:
    """Services, jobs and collections that are called as another barclamp's."""
    for hook, kind, name_of, what in _NAMED:
        listed = [(one.name, name_of(thing)) for one, things in registry.registered(hook, kind) for thing in things]
        others = {name: home for home, name in listed if home != barclamp}
        for name in dict.fromkeys(name for home, name in listed if home == barclamp):
            if name in others:
                whose = "the core" if others[name] == CORE else f"barclamp {others[name]}"
                yield f"It brings the {what} {name!r}, which {whose} brings already: give it another name."


def commands_of_others(commands: Iterable[EntryPoint], own: str) -> Iterator[str]:
    """Commands that are called as one of another package than its ``own``."""
    theirs = {entry.name: entry for entry in entry_points(group=brought.COMMANDS) if entry.dist is not None}
    for entry in commands:
        other = theirs.get(entry.name)
        if other is not None and other.dist is not None and brought.plain(other.dist.name) != brought.plain(own):
            yield f"It brings a command {entry.name!r}, which the package {other.dist.name} brings already."
