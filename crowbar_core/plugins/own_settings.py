"""The settings that a barclamp declares as a dataclass: read from its table and the environment, checked, told of."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crowbar_core.barclamp import Json
from crowbar_core.errors import BarclampError, ConfigError

KINDS = (bool, int, float, str, tuple)


@dataclass(frozen=True, kw_only=True)
class OwnSetting:
    """One of them, as it is shown. ``origin``: default, the table, or the variable of the environment."""

    name: str
    value: Json
    default: Json
    origin: str
    variable: str
    help: str


def variable(barclamp: str, name: str) -> str:
    """``CROWBAR_JIG_SCRIPT_PORT`` of ``jig-script`` and ``port``."""
    return f"CROWBAR_{barclamp}_{name}".upper().replace("-", "_")


def read(
    barclamp: str, kind: type, config: Mapping[str, Json], environ: Mapping[str, str] = os.environ
) -> tuple[Any, tuple[OwnSetting, ...]]:
    """An instance of ``kind``, and what is to be told of its fields: the environment goes over the table ``config``,
    whose values may be text; what is in neither has its default.

    Raises ``ConfigError`` for an unknown name or a value of the wrong type, ``BarclampError`` for a class that is none.
    """
    items = _fields(barclamp, kind)
    table = f"[plugins.{barclamp}]"
    if unknown := sorted(set(config) - set(items)):
        raise ConfigError(f"{table} has no setting {unknown[0]!r}; there are: {', '.join(sorted(items)) or 'none'}.")
    values: dict[str, Any] = {}
    told = []
    for name, item in items.items():
        origin, where = "default", ""
        if (raw := environ.get(variable(barclamp, name))) is not None:
            origin, where, given = variable(barclamp, name), variable(barclamp, name), raw
        elif name in config:
            origin, where, given = table, f"{table} {name}", config[name]
        if where:
            values[name] = _value(where, item, given)
        shown = values.get(name, item.default)
        hides = bool(item.metadata.get("secret") and shown)
        told.append(
            OwnSetting(
                name=name,
                value="***" if hides else _json(shown),
                default=_json(item.default),
                origin=origin,
                variable=variable(barclamp, name),
                help=str(item.metadata.get("help", "")),
            )
        )
    try:
        return kind(**values), tuple(told)
    except ValueError as error:
        raise ConfigError(f"The settings of barclamp {barclamp} cannot be: {error}") from error


def _fields(barclamp: str, kind: type) -> dict[str, dataclasses.Field[Any]]:
    if not dataclasses.is_dataclass(kind):
        raise BarclampError(f"The settings of barclamp {barclamp} are {kind!r}, which is no dataclass.")
    found = {item.name: item for item in dataclasses.fields(kind)}
    for name, item in found.items():
        if type(item.default) not in KINDS:
            raise BarclampError(
                f"The setting {name} of barclamp {barclamp} has no default of the types bool, int, float, str or tuple."
            )
    return found


def _value(where: str, item: dataclasses.Field[Any], given: Any) -> Any:
    kind = type(item.default)
    value = _parsed(where, kind, given) if isinstance(given, str) and kind is not str else given
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple and isinstance(value, list):
        value = tuple(str(one) for one in value)
    if type(value) is not kind:
        raise ConfigError(f"{where} must be of type {kind.__name__}, not {given!r}.")
    if isinstance(value, int | float) and kind is not bool:
        least = item.metadata.get("above")
        if not math.isfinite(value) or (least is not None and value <= least):
            raise ConfigError(f"{where} must be more than {0 if least is None else least}, not {given!r}.")
    return value


def _parsed(where: str, kind: type, text: str) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise ConfigError(f"{where} must be true or false, not {text!r}.")
        return text.lower() in ("true", "1", "yes")
    if kind is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"{where} must be a number, not {text!r}.") from None


def _json(value: Any) -> Json:
    return list(value) if isinstance(value, tuple) else value
