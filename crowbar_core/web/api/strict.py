"""Reading a JSON body without generosity: what two readers could understand differently is refused.

Refused: duplicate keys, NaN and Infinity, numbers beyond a double, integers beyond 64 bits, more than 100 levels, NUL
and lone surrogates in strings, bytes that are not UTF-8. The rejected text is never repeated.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

from pydantic import BaseModel, ValidationError

from crowbar_core.errors import BadInput, FieldError

DEPTH_MAX: Final = 100
INTEGER_MAX: Final = 2**63 - 1
INTEGER_MIN: Final = -(2**63)

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_SAFE_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


def _refuse(detail: str, pointer: str = "") -> NoReturn:
    raise BadInput(detail, errors=(FieldError(pointer=pointer, detail=detail),))


def parse(raw: bytes) -> Any:
    """The JSON value in ``raw``. Raises ``BadInput`` with the fact and, where there is one, a pointer."""
    _check_depth(raw)
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=lambda _: _refuse("NaN and Infinity are not JSON numbers: leave the field out or use null."),
            parse_float=_float,
            parse_int=_int,
        )
    except UnicodeDecodeError:
        _refuse("The body is not UTF-8.")
    except json.JSONDecodeError as error:
        _refuse(f"The body is not JSON: line {error.lineno}, column {error.colno}.")
    except RecursionError:
        _refuse(f"The JSON is nested deeper than {DEPTH_MAX} levels.")
    _check_strings(value, "")
    return value


def _check_depth(raw: bytes) -> None:
    if raw.count(b"[") + raw.count(b"{") <= DEPTH_MAX:
        return
    depth = 0
    for token in _TOKENS.finditer(raw):
        first = token[0][:1]
        if first in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                _refuse(f"The JSON is nested deeper than {DEPTH_MAX} levels.")
        elif first in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                named = key if _SAFE_KEY.fullmatch(key) else "of an object"
                _refuse(f"The key {named} is given twice in one object: give it once.")
            seen.add(key)
    return made


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        _refuse("A number is too large: at most about 1.8e308 can be held.")
    return number


def _int(text: str) -> int:
    if len(text) > 20 or not INTEGER_MIN <= int(text) <= INTEGER_MAX:
        _refuse("An integer is too large: whole numbers lie between -2^63 and 2^63 - 1.")
    return int(text)


def _check_strings(value: Any, pointer: str) -> None:
    if isinstance(value, str):
        _check_text(value, pointer)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, pointer)
            _check_strings(item, f"{pointer}/{_pointed(key)}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _check_strings(item, f"{pointer}/{place}")


def _check_text(text: str, pointer: str) -> None:
    if "\x00" in text:
        _refuse("A string may not hold a NUL character.", pointer)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            _refuse("A string holds half of a surrogate pair, which is no character.", pointer)


def _pointed(key: str) -> str:
    """A key as it may be shown in a pointer: only a plain one, because a strange one may be a misplaced secret."""
    return key if _SAFE_KEY.fullmatch(key) else "…"


# ---------------------------------------------------------------- into a model


def model(kind: type[BaseModel], value: Any) -> BaseModel:
    """``value`` (from ``parse``) as a model, strictly. Raises ``BadInput`` with a pointer for each thing wrong."""
    if not isinstance(value, dict):
        _refuse("The body must be a JSON object.")
    try:
        # In JSON mode, so that moments may be strings while a bool is still no int.
        return kind.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise BadInput("The body has fields that cannot be: see errors.", errors=_errors(error, "/")) from None


def query(kind: type[BaseModel], values: dict[str, str]) -> BaseModel:
    """Query parameters as a model. They are all text, so numbers and truth values are read from it."""
    try:
        return kind.model_validate_strings(values)
    except ValidationError as error:
        raise BadInput("The query has parameters that cannot be: see errors.", errors=_errors(error, "?")) from None


def _errors(error: ValidationError, start: str) -> tuple[FieldError, ...]:
    found = []
    for item in error.errors(include_url=False, include_context=False, include_input=False)[:20]:
        place = [_pointed(str(part)) for part in item["loc"]]
        pointer = start + "/".join(place)
        detail = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            detail = "This field is not known here: leave it out, or check its spelling."
        elif item["type"] == "missing":
            detail = "This field is needed."
        found.append(FieldError(pointer=pointer, detail=detail))
    return tuple(found)
