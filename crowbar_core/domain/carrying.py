"""Values as JSON and back: what a barclamp says is kept in the database until somebody else is told of it.

Whoever is told is given what the annotation says, a dataclass included, and need not know where that is defined. So the
annotation alone decides what is made again; a value without one stays JSON.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import math
import sys
import types
import typing
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any

_SCALARS = (str, bool, int, float)
_MANY: Mapping[Any, type] = {
    tuple: tuple, list: list, set: set, frozenset: frozenset,
    collections.abc.Sequence: tuple, collections.abc.Iterable: tuple, collections.abc.Collection: tuple,
    collections.abc.Set: frozenset,
}  # fmt: skip
_TREES = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def to_json(value: Any, where: str = "it") -> Any:
    """The value as JSON. Raises ``ValueError``, saying where, for what has no form in JSON."""
    if isinstance(value, Enum):
        return to_json(value.value, where)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{where} is too large a number to be kept")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, which JSON cannot say")
        return value
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError(f"{where} holds characters that cannot be kept")
        return value
    if isinstance(value, date):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: to_json(inner, f"{where}.{name}") for name, inner in named}
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"{where} has the key {odd[0]!r}, which is no text")
        return {key: to_json(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((to_json(inner, where) for inner in value), key=repr)
    if isinstance(value, list | tuple):
        return [to_json(inner, f"{where}[{place}]") for place, inner in enumerate(value)]
    raise ValueError(f"{where} is a {type(value).__name__}, which has no form in JSON")


def from_json(kind: Any, value: Any) -> Any:
    """The value as its annotation wants it. Fields that a dataclass does not have (any more) are left out. Raises
    ``TypeError`` or ``ValueError`` when it does not fit.
    """
    kind = _plain(kind)
    if value is None or kind is Any:
        return value
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return from_json(_one_of(typing.get_args(kind), value), value)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise TypeError(f"{kind.__name__} cannot be made of {type(value).__name__}")
        hints = fields_of(kind)
        return kind(**{name: from_json(hints[name], inner) for name, inner in value.items() if name in hints})
    if isinstance(kind, type) and issubclass(kind, datetime | date):
        return kind.fromisoformat(value)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    origin, inside = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in _MANY:
        if not isinstance(value, list):
            raise TypeError(f"{type(value).__name__} in place of several things")
        if origin is tuple and inside and inside[-1] is not Ellipsis:
            return tuple(from_json(one, inner) for one, inner in zip(inside, value, strict=True))
        return _MANY[origin](from_json(inside[0], inner) if inside else inner for inner in value)
    if origin in _TREES and len(inside) == 2 and isinstance(value, Mapping):
        return {key: from_json(inside[1], inner) for key, inner in value.items()}
    return float(value) if kind is float and isinstance(value, int) else value


def cannot_carry(kind: Any) -> str:
    """Why values of this annotation cannot be made again from JSON; '' when they can."""
    kind = _plain(kind)
    if kind in (Any, None, type(None), *_SCALARS) or typing.get_origin(kind) is typing.Literal:
        return ""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return next((f"{kind.__name__}.{name}: {said}" for name, inner in fields_of(kind).items()
                     if inner is not kind and (said := cannot_carry(inner))), "")  # fmt: skip
    if isinstance(kind, type) and issubclass(kind, datetime | date | Enum):
        return ""
    origin, inside = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (*_MANY, *_TREES, typing.Union, types.UnionType):
        return next((said for inner in inside if inner is not Ellipsis and (said := cannot_carry(inner))), "")
    return f"a {getattr(kind, '__name__', kind)} has no form in JSON"


@functools.cache
def fields_of(kind: type) -> Mapping[str, Any]:
    """Field -> annotation of a dataclass, of those that its constructor takes. One that names what cannot be found here
    (it was imported for type checkers alone) counts as ``Any``.
    """
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        home = next(one for one in kind.__mro__ if field.name in inspect.get_annotations(one))
        found[field.name] = annotation(field.type, vars(sys.modules[home.__module__]))
    return found


def annotation(said: Any, names: Mapping[str, Any]) -> Any:
    """An annotation, which may be text, with the names of its module."""
    try:
        holder = types.SimpleNamespace(__annotations__={"it": said})
        return typing.get_type_hints(holder, globalns=dict(names), include_extras=False)["it"]
    except NameError:
        return Any


def _plain(kind: Any) -> Any:
    """Without what only type checkers care for."""
    while isinstance(kind, typing.NewType):
        kind = kind.__supertype__
    return Any if kind is object or isinstance(kind, typing.TypeVar) else kind


def _one_of(kinds: tuple[Any, ...], value: Any) -> Any:
    """Which of several annotations the value was, by its shape."""
    known = [_plain(kind) for kind in kinds if kind is not type(None)]
    return known[0] if len(known) == 1 else next((kind for kind in known if _has_shape(kind, value)), Any)


def _has_shape(kind: Any, value: Any) -> bool:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        needed = {one.name for one in dataclasses.fields(kind) if one.init
                  and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING}  # fmt: skip
        return isinstance(value, Mapping) and needed <= set(value) <= set(fields_of(kind))
    if isinstance(value, list | Mapping):
        return (typing.get_origin(kind) or kind) in (_MANY if isinstance(value, list) else _TREES)
    return kind is type(value)
