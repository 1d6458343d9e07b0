"""What other packages bring for a barclamp: found by entry points of a group that is the barclamp's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from crowbar_core.errors import ConfigError


class Extensions:
    """Drivers, writers and the like: ``Extensions("crowbar_dns.drivers", "DNS driver")`` are those that installed
    packages name by entry points of that group; the second word is what a person calls one of them. They are looked for
    once, and each is imported when it is asked for.
    """

    def __init__(self, group: str, kind: str) -> None:
        self.group, self.kind = group, kind

    def names(self) -> list[str]:
        """In their order."""
        return sorted(self._installed)

    def find(self, name: str) -> Any:
        """What the entry point of that name leads to. Raises ``ConfigError``: nobody brings one, two packages do, or it
        cannot be imported.
        """
        found = self._installed.get(name, ())
        if not found:
            raise ConfigError(
                f"There is no {self.kind} {name}; there are {', '.join(self.names()) or 'none'}. Install the package "
                "that brings it, or name another."
            )
        if len(found) > 1:
            brought = " and ".join(sorted(one.value for one in found))
            raise ConfigError(f"The {self.kind} {name} is brought by {brought}: uninstall one of them.")
        try:
            return found[0].load()
        except Exception as error:
            raise ConfigError(f"The {self.kind} {name} ({found[0].value}) cannot be loaded: {error}.") from error

    @cached_property
    def _installed(self) -> Mapping[str, Sequence[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for one in {(each.name, each.value): each for each in entry_points(group=self.group)}.values():
            found.setdefault(one.name, []).append(one)
        return found
