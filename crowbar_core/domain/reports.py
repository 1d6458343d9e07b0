"""What a node reports of itself: bounded, and each value parsed into its type or refused. Pure.

A node is not trusted. What it says reaches pages, inventories, other barclamps and, through them, files on other nodes;
so nothing is taken that could be read as anything else than a value: addresses are parsed, and a text is one line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Final

from crowbar_core.barclamp import Json
from crowbar_core.domain.addresses import parse_interface, parse_mac
from crowbar_core.errors import BadInput, FieldError

MOST_BYTES: Final = 512 * 1024
MOST_VALUES: Final = 10_000
"""Values of any kind, in lists and objects at any depth."""
MOST_DEEP: Final = 16
MOST_AT_TOP: Final = 256
LONGEST_TEXT: Final = 4096
LONGEST_NAME: Final = 128
MOST_ADDRESSES: Final = 64

_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII)
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
# Line and paragraph separators, control characters, and format characters, among them those that turn the direction.
_NOT_IN_A_LINE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def parse_host_name(text: object) -> str:
    """A host name, with or without its domain, in lower case. Raises ``ValueError``."""
    if not isinstance(text, str) or len(text) > 253 or not _HOST_NAME.fullmatch(text):
        raise ValueError("This is no host name: letters, digits and hyphens, with dots between its labels.")
    return text.lower()


def check_report(report: Mapping[str, Json]) -> dict[str, Json]:
    """The report with its addresses, MACs and host names in their one written form. Raises ``BadInput``, which names
    the limit or the place. The rejected text is never repeated.
    """
    check_bounds(report)
    typed = dict(report)
    for name, (parse, many) in _KNOWN.items():
        if name not in typed or typed[name] is None:
            continue
        typed[name] = _all(name, typed[name], parse) if many else _one(f"/discovery/{name}", typed[name], parse)
    return typed


def check_together(known: Mapping[str, Json], *, whose: str) -> None:
    """Raise ``BadInput`` when reports, each of which was in order, are too much together. Done under the graph's lock:
    only counts.
    """
    _check_top(known, whose)
    stack: list[Json] = [dict(known)]
    size = values = 0
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            values += len(item)
            size += sum(map(len, item))
            stack += item.values()
        elif isinstance(item, list):
            values += len(item)
            stack += item
        else:
            size += len(item) if isinstance(item, str) else 8
    _check_total(whose, values, size)


def check_bounds(report: Mapping[str, Json]) -> None:
    """Raise ``BadInput`` for what is too large, too deep or too much, or holds a text that is not one line. Linear."""
    whose = "A report"
    _check_top(report, whose)
    stack: list[tuple[Json, int, str]] = [(dict(report), 1, "/discovery")]
    size = values = 0
    while stack:
        item, depth, place = stack.pop()
        if depth > MOST_DEEP:
            raise _refused(f"{whose} is nested at most {MOST_DEEP} deep.", place)
        if isinstance(item, dict):
            values += len(item)
            _check_total(whose, values, size)
            for name in item:
                size += len(name.encode(errors="replace"))
                if len(name) > LONGEST_NAME:
                    raise _refused(f"A name in a report has at most {LONGEST_NAME} characters.", place)
                _check_line(name, place)
            stack += [(below, depth + 1, f"{place}/{_shown(name)}") for name, below in item.items()]
        elif isinstance(item, list):
            values += len(item)
            _check_total(whose, values, size)
            stack += [(below, depth + 1, f"{place}/{at}") for at, below in enumerate(item)]
        elif isinstance(item, str):
            size += len(item.encode(errors="replace"))
            if len(item) > LONGEST_TEXT:
                raise _refused(f"A text in a report has at most {LONGEST_TEXT} characters.", place)
            _check_line(item, place)
        else:
            size += 8
        _check_total(whose, values, size)


def _check_top(report: Mapping[str, Json], whose: str) -> None:
    if len(report) > MOST_AT_TOP:
        raise _refused(f"{whose} has at most {MOST_AT_TOP} names at its top; this has {len(report)}.")


def _check_total(whose: str, values: int, size: int) -> None:
    if values > MOST_VALUES:
        raise _refused(f"{whose} holds at most {MOST_VALUES} values.")
    if size > MOST_BYTES:
        raise _refused(f"{whose} has at most {MOST_BYTES} bytes.")


def _check_line(text: str, place: str) -> None:
    if text.isascii() and text.isprintable():
        return
    if any(unicodedata.category(character) in _NOT_IN_A_LINE for character in text):
        raise _refused("A text in a report is one line of printable characters.", place)


def _all(name: str, value: Json, parse: Callable[[object], str]) -> list[Json]:
    if not isinstance(value, list):
        raise _refused("This is a list.", f"/discovery/{name}")
    if len(value) > MOST_ADDRESSES:
        raise _refused(f"A node reports at most {MOST_ADDRESSES} {name}; here are {len(value)}.", f"/discovery/{name}")
    return list(dict.fromkeys(_one(f"/discovery/{name}/{at}", item, parse) for at, item in enumerate(value)))


def _one(place: str, value: Json, parse: Callable[[object], str]) -> str:
    try:
        return parse(value)
    except ValueError as error:
        raise _refused(str(error), place) from None


def _shown(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else "…"


def _refused(detail: str, place: str = "/discovery") -> BadInput:
    return BadInput(f"{detail} (at {place})", errors=(FieldError(pointer=place, detail=detail),))


_KNOWN: Final[Mapping[str, tuple[Callable[[object], str], Any]]] = {
    "addresses": (parse_interface, True),
    "macs": (parse_mac, True),
    "hostname": (parse_host_name, False),
}
"""The names in a report that mean the same to everybody: how each is parsed, and whether it is a list."""
