"""What is known of a plugin once it has been found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from crowbar_core.barclamp import Attribute, Barclamp, Role

CORE = "crowbar"


@dataclass(frozen=True, kw_only=True)
class LoadedRole:
    role: Role
    barclamp: str
    package: str


@dataclass(frozen=True, kw_only=True)
class LoadedAttribute:
    attribute: Attribute
    role: str | None
    barclamp: str


@dataclass(frozen=True, kw_only=True)
class LoadedBarclamp:
    """One entry point of the group ``crowbar.barclamps``: ``state`` is loaded, failed or disabled."""

    name: str
    help: str = ""
    distribution: str = ""
    version: str = ""
    package: str = ""
    requires: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    state: str = "loaded"
    error: str = ""
    definition: Barclamp | None = None
    plugin: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Implementation:
    """One plugin's implementation of one hook. ``roles`` empty: for all roles."""

    plugin: str
    function: Callable[..., Any]
    arguments: tuple[str, ...]
    roles: frozenset[str]

    def __call__(self, **arguments: Any) -> Any:
        return self.function(**{name: arguments[name] for name in self.arguments})

    def wants(self, role: str | None) -> bool:
        return not self.roles or role in self.roles


@dataclass(frozen=True)
class Failure:
    """A hook implementation that raised."""

    plugin: str
    hook: str
    error: str
    traceback: str
