"""What is known of roles and attributes: those that barclamps declare, and those that they define at run time.

A picture is never changed, only replaced by another; so whoever has begun to read one reads it to its end. In the
middle of a turn that defines a role there is a picture that the turn's own thread alone sees: others must not meet what
may yet be undone.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from crowbar_core.barclamp import Json, Require, Role, Want
from crowbar_core.domain.carrying import fields_of, from_json, to_json
from crowbar_core.plugins.loaded import LoadedAttribute, LoadedRole

_ITS_OWN: Final = ("name", "like", "jig", "run", "abstract")
"""What a defined role is not given: it is its name, or that of the role it is like."""


def given_of(role: Role) -> dict[str, Json]:
    """What a role that is to be defined has beside what it is like, as JSON: all that is not left at its default.
    Raises ``ValueError`` for what cannot be kept, or is not its own to have.
    """
    given: dict[str, Json] = {}
    for one in dataclasses.fields(role):
        value = getattr(role, one.name)
        default = one.default_factory() if one.default_factory is not dataclasses.MISSING else one.default
        if value == default and not _says_how(value):
            continue
        if one.name not in _ITS_OWN:
            given[one.name] = [_with_how(inner) for inner in value] if _says_how(value) else to_json(value, one.name)
        elif one.name not in ("name", "like"):
            raise ValueError(f"its {one.name} is that of {role.like or 'the role it is like'}; leave out {one.name}=")
    return given


def _says_how(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(one, Want | Require) for one in value)


def _with_how(one: str) -> Json:
    """A name, with how it is wanted or where it is required."""
    if isinstance(one, Want | Require):
        return {"kind": type(one).__name__, "name": str(one), **to_json(vars(one))}
    return one


def _names(value: Iterable[Json]) -> tuple[str, ...]:
    kinds: Mapping[str, Any] = {"Want": Want, "Require": Require}
    return tuple(
        kinds[one["kind"]](one["name"], **{key: said for key, said in one.items() if key not in ("kind", "name")})
        if isinstance(one, Mapping)
        else one
        for one in value
    )


def like(declared: Role, name: str, given: Mapping[str, Json]) -> Role:
    """The role. Raises ``TypeError``, ``ValueError`` or ``KeyError`` when what is given does not fit (any more)."""
    hints = fields_of(Role)
    values: dict[str, Any] = {
        key: _names(value) if key in ("requires", "wants") else from_json(hints[key], value)
        for key, value in given.items() if key in hints and key not in _ITS_OWN
    }  # fmt: skip
    values = {"attributes": ()} | values
    return replace(declared, name=name, like=declared.name, abstract=False, **values)


@dataclass(frozen=True)
class Picture:
    """Roles and attributes by name, as of a generation of definitions."""

    generation: int
    roles: Mapping[str, LoadedRole]
    attributes: Mapping[str, LoadedAttribute]
    undefined: Mapping[str, str] = field(default_factory=dict)
    """Defined role -> why it cannot be."""


def picture(
    generation: int, roles: Mapping[str, LoadedRole], attributes: Mapping[str, LoadedAttribute],
    definitions: Iterable[tuple[str, str, Mapping[str, Json]]],
) -> Picture:  # fmt: skip
    """What is declared, and what is defined beside it: (name, like, given). A definition of a name that is declared
    (now) does not count, nor does one like a role that is not loaded.
    """
    all_roles, all_attributes, undefined = dict(roles), dict(attributes), dict[str, str]()
    for name, likes, given in definitions:
        if name in roles or likes not in roles:
            continue
        of = roles[likes]
        try:
            role = like(of.role, name, given)
        except (TypeError, ValueError, KeyError) as error:
            undefined[name] = str(error)
            continue
        all_roles[name] = LoadedRole(role=role, barclamp=of.barclamp, package=of.package, given=given)
        for attribute in role.attributes:
            found = LoadedAttribute(attribute=attribute, role=name, barclamp=of.barclamp)
            all_attributes.setdefault(attribute.name, found)
    return Picture(generation, all_roles, all_attributes, undefined)


class Pictures:
    """The picture that everybody sees, and what a thread sees of its own that is not committed yet."""

    def __init__(self, first: Picture) -> None:
        self._shown = first
        self._own = threading.local()

    @property
    def now(self) -> Picture:
        own: Picture | None = getattr(self._own, "picture", None)
        return self._shown if own is None else own

    def show(self, new: Picture) -> None:
        """To everybody; an older one than is shown already is not."""
        if new.generation > self._shown.generation:
            self._shown = new

    def draft(self, new: Picture) -> None:
        """To this thread alone, until ``drafting`` ends."""
        self._own.picture = new

    @contextmanager
    def drafting(self) -> Iterator[None]:
        """What is drafted in the block is shown when the block has ended well, and forgotten otherwise."""
        try:
            yield
            if (own := getattr(self._own, "picture", None)) is not None:
                self.show(own)
        finally:
            self._own.picture = None
