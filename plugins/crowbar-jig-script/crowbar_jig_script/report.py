"""What scripts reported with ``write_attribute``, made into a tree: bytes from a node, so all is checked."""

from __future__ import annotations

import json
import math
from typing import NoReturn

from crowbar_core import Json, PermanentError

DEEPEST = 32


def read_report(raw: bytes, *, longest: int) -> dict[str, Json]:
    """Records of three fields, each ended by a NUL: kind, path, value. Raises ``PermanentError``."""
    if len(raw) > longest:
        raise PermanentError(
            f"The scripts reported more than {longest} bytes with write_attribute; report less, or raise max_report in"
            " [plugins.jig-script]."
        )
    fields = raw.split(b"\0")
    if fields.pop() or len(fields) % 3:
        raise PermanentError(
            "What the scripts reported is cut or mixed with other output: what a script leaves in the background"
            " must not write to the script's output."
        )
    tree: dict[str, Json] = {}
    for kind, path, value in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        _put(tree, _text(path, "a path"), kind, value)
    return tree


def _put(tree: dict[str, Json], path: str, kind: bytes, raw: bytes) -> None:
    shown = path if len(path) <= 200 else path[:200] + "…"
    parts = path.strip("/").split("/")
    if not all(parts) or len(parts) > DEEPEST:
        raise PermanentError(f"write_attribute: {shown!r} is no path: 1 to {DEEPEST} names with a slash between them.")
    text = _text(raw, f"the value of {shown!r}")
    value: Json = text
    if kind == b"json":
        try:
            value = parse_json(text)
        except ValueError as problem:
            raise PermanentError(f"write_attribute: the value of {shown!r} is not JSON: {problem}.") from None
    elif kind != b"text":
        raise PermanentError("What the scripts reported is mixed with other output: a record is neither text nor json.")
    place = tree
    for part in parts[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise PermanentError(
                f"write_attribute: {shown!r} lies below {part!r}, which was written as a value before."
            )
    place[parts[-1]] = value


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise PermanentError(f"write_attribute: {what} is not UTF-8.") from None


def parse_json(text: str) -> Json:
    """JSON that any database and any client can hold. Raises ``ValueError`` with one clause for a person."""
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_int, parse_float=_float
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check(value, 0)
    return value


def _check(value: Json, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a string with a NUL")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("a string with half a surrogate pair") from None
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check(name, depth + 1)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object with the same name twice")
    return made


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not allowed")


def _int(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError("an integer beyond 64 bits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number out of range")
    return number
