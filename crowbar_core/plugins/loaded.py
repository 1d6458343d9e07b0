"""What is known of a plugin once it has been found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from crowbar_core.barclamp import Attribute, Barclamp, Cluster, Json, Role, serving
from crowbar_core.plugins.own_settings import OwnSetting

CORE = "crowbar"


@dataclass(frozen=True, kw_only=True)
class LoadedRole:
    """``given``, of a role defined at run time: what it has that the one it is like has not, as JSON."""

    role: Role
    barclamp: str
    package: str
    given: Mapping[str, Json] = field(default_factory=dict)


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
    settings: Any = field(default=None, repr=False)
    """An instance of the dataclass that it declared, if it did."""
    own_settings: tuple[OwnSetting, ...] = field(default=(), repr=False)


@dataclass(eq=False)
class Seats:
    """What ``cluster()`` answers to each plugin. Nothing, until the process has been put together."""

    cluster: Callable[[str], Cluster] | None = None

    def __call__(self, plugin: str) -> AbstractContextManager[Any]:
        return nullcontext() if self.cluster is None else serving(self.cluster(plugin))


@dataclass(frozen=True, slots=True)
class Implementation:
    """One plugin's implementation of one hook. ``roles`` empty: for all roles; else names, or patterns of names. Called
    from whatever thread, it finds the cluster.
    """

    plugin: str
    function: Callable[..., Any]
    arguments: tuple[str, ...]
    roles: frozenset[str]
    seats: Seats = field(default_factory=Seats)

    def __call__(self, **arguments: Any) -> Any:
        given = {name: arguments[name] for name in self.arguments}
        with self.seats(self.plugin):
            answer = self.function(**given)
        return self._one_by_one(answer) if isinstance(answer, Iterator) else answer

    def _one_by_one(self, answer: Iterator[Any]) -> Iterator[Any]:
        """A generator goes on in the middle of its function whenever it is asked: then, too, it finds the cluster."""
        end = object()
        while True:
            with self.seats(self.plugin):
                one = next(answer, end)
            if one is end:
                return
            yield one

    def wants(self, role: str | None) -> bool:
        return not self.roles or role in self.roles or names_match(role, self.roles)


def names_match(name: str | None, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns (``network-*``) fits the name, upper and lower case told apart."""
    return name is not None and any("*" in one and fnmatchcase(name, one) for one in patterns)


@dataclass(frozen=True)
class Failure:
    """A hook implementation that raised."""

    plugin: str
    hook: str
    error: str
    traceback: str
