"""Reading a JSON body without generosity: what two readers could understand differently is refused.

Refused: duplicate keys, NaN and Infinity, numbers beyond a double, integers beyond 64 bits, more than 100 levels, NUL
and lone surrogates in strings, bytes that are not UTF-8. The rejected text is never repeated; the field is named.

Every step is one pass over the body: no pattern is searched for in it, for a pattern that almost matches everywhere
costs the square of the length.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, NoReturn

from pydantic import BaseModel, ValidationError

from crowbar_core.errors import BadInput, FieldError

DEPTH_MAX: Final = 100
INTEGER_MAX: Final = 2**63 - 1
INTEGER_MIN: Final = -(2**63)
POINTER_PARTS: Final = 8
"""Deeper places are named by what holds them."""

_SAFE_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_CLOSING: Final = {ord("["): b"]", ord("{"): b"}"}


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands in the value for what cannot be, until the walk has found out where it is."""

    detail: str
    under: str = ""


_ROOM: Final = threading.BoundedSemaphore(2)
LARGE: Final = 64 * 1024


@contextmanager
def room(length: int | None) -> Iterator[None]:
    """Few large bodies are taken apart at once: each takes some twenty times its length, and is no sooner ready for
    others being read beside it.
    """
    if length is not None and length <= LARGE:
        yield
        return
    with _ROOM:
        yield


class NoJson(BadInput):
    """The text is no JSON at all; something else may be made of it."""


def _refuse(detail: str, pointer: str = "") -> NoReturn:
    raise BadInput(detail, errors=(FieldError(pointer=pointer, detail=detail),))


def parse(raw: bytes) -> Any:
    """The JSON value in ``raw``. Raises ``BadInput`` with the fact and a pointer to the field."""
    _check_depth(raw)
    try:
        value, is_clean = _loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        _refuse("The body is not UTF-8.")
    except json.JSONDecodeError as error:
        detail = f"The body is not JSON: line {error.lineno}, column {error.colno}."
        raise NoJson(detail, errors=(FieldError(pointer="", detail=detail),)) from None
    except RecursionError:
        _refuse(f"The JSON is nested deeper than {DEPTH_MAX} levels.")
    # NUL and half of a surrogate pair come into a string by an escape only: without one there is nothing to look for.
    if not is_clean or b"\\u" in raw:
        _check(value, [])
    return value


def _loads(text: str) -> tuple[Any, bool]:
    """The value, and whether nothing in it was refused."""
    refused: list[_Refused] = []

    def refuse(detail: str, under: str = "") -> Any:
        if len(refused) > 20:  # enough to name one of them
            return None
        refused.append(_Refused(detail, under))
        return refused[-1]

    def pairs(given: list[tuple[str, Any]]) -> Any:
        made = dict(given)
        return made if len(made) == len(given) else _duplicates(given, refuse)

    def constant(_name: str) -> Any:
        return refuse("NaN and Infinity are not JSON numbers: leave the field out or use null.")

    def fraction(digits: str) -> Any:
        number = float(digits)
        return refuse("A number is too large: at most about 1.8e308 can be held.") if math.isinf(number) else number

    def whole(digits: str) -> Any:
        if len(digits) <= 20 and INTEGER_MIN <= int(digits) <= INTEGER_MAX:
            return int(digits)
        return refuse(f"A whole number is too large: it lies between {INTEGER_MIN} and {INTEGER_MAX}.")

    value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant, parse_float=fraction, parse_int=whole)
    return value, not refused


def _duplicates(given: list[tuple[str, Any]], refuse: Callable[..., Any]) -> Any:
    seen: set[str] = set()
    for key, _ in given:
        if key in seen:
            named = key if _SAFE_KEY.fullmatch(key) else "of an object"
            return refuse(f"The key {named} is given twice in one object: give it once.", key)
        seen.add(key)
    raise AssertionError("no key is given twice")


def _check_depth(raw: bytes) -> None:
    """Raise ``BadInput`` before the parser has to go deeper than it should."""
    if raw.count(b"[") + raw.count(b"{") <= DEPTH_MAX:
        return
    # Without escapes, what lies between quotes is every second part.
    plain = raw.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
    brackets = b"".join(plain.split(b'"')[::2]).translate(None, _NO_BRACKETS)
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > DEPTH_MAX:
        _refuse(f"The JSON is nested deeper than {DEPTH_MAX} levels.", _too_deep(plain))


def _too_deep(plain: bytes) -> str:
    """A pointer to the field that goes too deep: what comes before is closed and read."""
    opened: list[int] = []
    inside = False
    end = 0
    for end, byte in enumerate(plain):  # noqa: B007 - where it stopped is asked for below
        if byte == ord('"'):
            inside = not inside
        elif inside or byte not in _STEPS:
            continue
        elif _STEPS[byte] > 0:
            if len(opened) == DEPTH_MAX:
                break
            opened.append(byte)
        elif opened:
            opened.pop()
    closing = b"".join(_CLOSING[byte] for byte in reversed(opened))
    try:
        value, _ = _loads((plain[:end] + b"0" + closing).decode("utf-8"))
    except ValueError:
        return ""
    parts: list[str | int] = []
    while isinstance(value, dict | list) and value and len(parts) < POINTER_PARTS:
        key = next(reversed(value)) if isinstance(value, dict) else len(value) - 1
        parts.append(key)
        value = value[key]
    return _pointer(parts)


def _check(value: Any, parts: list[str | int]) -> None:
    """Find the first thing that cannot be in ``value`` (at most ``DEPTH_MAX`` deep), and say where it is."""
    if isinstance(value, str):
        _check_text(value, parts)
    elif isinstance(value, _Refused):
        _refuse(value.detail, _pointer([*parts, value.under] if value.under else parts))
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, parts)
            parts.append(key)
            _check(item, parts)
            parts.pop()
    elif isinstance(value, list):
        for place, item in enumerate(value):
            parts.append(place)
            _check(item, parts)
            parts.pop()


def _check_text(text: str, parts: list[str | int]) -> None:
    if "\x00" in text:
        _refuse("A string may not hold a NUL character.", _pointer(parts))
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            _refuse("A string holds half of a surrogate pair, which is no character.", _pointer(parts))


def _pointer(parts: list[str | int]) -> str:
    return "".join(f"/{_pointed(str(part))}" for part in parts[:POINTER_PARTS])


def _pointed(key: str) -> str:
    """A key as it may be shown in a pointer: only a plain one, because a strange one may be a misplaced secret."""
    return key if _SAFE_KEY.fullmatch(key) else "…"


# ---------------------------------------------------------------- text beside JSON


def single(given: Iterable[tuple[str, list[str]]], what: str) -> dict[str, str]:
    """Query parameters, or the fields of a form, each given once. Raises ``BadInput`` for repeated ones and for NUL."""
    found: dict[str, str] = {}
    for name, values in given:
        named = f" {name}" if _SAFE_KEY.fullmatch(name) else ""
        pointer = f"?{name}" if named else "?"
        if len(values) > 1:
            _refuse(f"The {what}{named} is given more than once: give it once.", pointer)
        for text in (name, *values):
            if "\x00" in text:
                _refuse(f"The {what}{named} may not hold a NUL character.", pointer)
            if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
                _refuse(f"The {what}{named} holds half of a surrogate pair, which is no character.", pointer)
        found[name] = values[0]
    return found


# ---------------------------------------------------------------- into a model


def model(kind: type[BaseModel], value: Any) -> BaseModel:
    """``value`` (from ``parse``) as a model, strictly. Raises ``BadInput`` with a pointer for each thing wrong."""
    if not isinstance(value, dict):
        _refuse("The body must be a JSON object.")
    try:
        # In JSON mode, so that moments may be strings while a bool is still no int.
        return kind.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise _wrong("body", "field", _errors(error, "/")) from None


def query(kind: type[BaseModel], values: dict[str, str]) -> BaseModel:
    """Query parameters as a model. They are all text, so numbers and truth values are read from it."""
    try:
        return kind.model_validate_strings(values)
    except ValidationError as error:
        raise _wrong("query", "parameter", _errors(error, "?")) from None


def form(kind: type[BaseModel], values: Mapping[str, str]) -> BaseModel:
    """The fields of a form as a model, which may be that of the API: text is read as its fields want it, empty is as
    good as left out, and what the model does not know (a CSRF token) is passed over.
    """
    wanted = {name: text.strip() for name, text in values.items() if name in kind.model_fields and text.strip()}
    try:
        return kind.model_validate_strings(wanted)
    except ValidationError as error:
        raise BadInput("The form has fields that cannot be.", errors=_errors(error, "/")) from None


def _wrong(where: str, what: str, errors: tuple[FieldError, ...]) -> BadInput:
    """One thing that is wrong is the sentence itself; of several each stands in ``errors``."""
    if len(errors) == 1 and errors[0].pointer[1:]:
        return BadInput(f"{errors[0].pointer[1:]}: {errors[0].detail}", errors=errors)
    return BadInput(f"The {where} has {what}s that cannot be: see errors.", errors=errors)


def _errors(error: ValidationError, start: str) -> tuple[FieldError, ...]:
    found = []
    for item in error.errors(include_url=False, include_input=False)[:20]:
        place = [_pointed(str(part)) for part in item["loc"]]
        pointer = start + "/".join(place)
        detail = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            detail = "This field is not known here: leave it out, or check its spelling."
        elif item["type"] == "missing":
            detail = "This field is needed."
        elif item["type"] == "string_pattern_mismatch":
            detail = "This does not have the form that is needed here."
        elif item["type"] == "string_too_short":
            detail = f"This is too short: {_letters(item['ctx']['min_length'])} at least."
        elif item["type"] == "string_too_long":
            detail = f"This is too long: {_letters(item['ctx']['max_length'])} at most."
        elif item["type"].startswith(("datetime_", "timezone_")):
            detail = "This is no moment with its offset, for example 2026-12-31T18:00:00+00:00."
        found.append(FieldError(pointer=pointer, detail=detail))
    return tuple(found)


def _letters(count: int) -> str:
    return f"{count} character{'' if count == 1 else 's'}"
