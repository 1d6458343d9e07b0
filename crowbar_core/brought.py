"""What installed packages bring, by the groups of entry points, and their commands.

Their names are known without importing anything of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points

import click

from crowbar_core.errors import BarclampError

BARCLAMPS, COMMANDS = "crowbar.barclamps", "crowbar.commands"
JIGS, HAMMERS, QUEUES = "crowbar.jigs", "crowbar.hammers", "crowbar.queues"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command as the package that brings it announces it."""

    name: str
    package: str
    """The distribution."""
    entry: EntryPoint = field(repr=False)

    @property
    def summary(self) -> str:
        """What the package says of itself in its metadata; the command's own help would need its code."""
        return str(self.entry.dist.metadata["Summary"] or "") if self.entry.dist is not None else ""

    def load(self) -> click.Command:
        """The command itself. Raises ``BarclampError``."""
        try:
            command = self.entry.load()
        except (Exception, SystemExit) as error:
            raise BarclampError(
                f"{self.package} brings a command {self.name!r}, which cannot be loaded: "
                f"{type(error).__name__}: {error}."
            ) from error
        if not isinstance(command, click.Command) or command.name != self.name:
            raise BarclampError(
                f"{self.package} brings a command {self.name!r}, but {self.entry.value} is {command!r}, which is no"
                " click command of that name."
            )
        return command


def commands(*, taken: Iterable[str] = (), disabled: Collection[str] = ()) -> tuple[dict[str, Command], list[str]]:
    """Name -> command of the installed packages, and what is wrong with those that are left out.

    Left out without a word are those of packages whose barclamps are all ``disabled``. A name that is ``taken``, or
    that two packages bring, is the first one's.
    """
    off = _packages_of(disabled)
    reserved = set(taken)
    found: dict[str, Command] = {}
    problems: list[str] = []
    entries = sorted(entry_points(group=COMMANDS), key=lambda entry: (entry.name, _package(entry)))
    for entry in dict.fromkeys(entries):
        package = _package(entry)
        if package in off:
            continue
        if entry.name in reserved:
            problems.append(f"{package} brings a command {entry.name!r}, which exists already; it is left out.")
            continue
        reserved.add(entry.name)
        found[entry.name] = Command(name=entry.name, package=package, entry=entry)
    return found, problems


def commands_beside(barclamp: EntryPoint) -> list[EntryPoint]:
    """The commands that the package of an installed barclamp brings."""
    return [entry for entry in entry_points(group=COMMANDS) if _package(entry) == _package(barclamp)]


def plain(distribution: str) -> str:
    """The name of a distribution in the one form that all its spellings have."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _packages_of(disabled: Collection[str]) -> frozenset[str]:
    """The packages that bring barclamps, all of which are disabled."""
    brought: dict[str, set[str]] = {}
    for entry in entry_points(group=BARCLAMPS) if disabled else ():
        brought.setdefault(_package(entry), set()).add(entry.name)
    return frozenset(package for package, barclamps in brought.items() if barclamps <= set(disabled))


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
