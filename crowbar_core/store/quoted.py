"""Columns as JSON text, which the database writes: of a long list, Python then sees one text for a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any, Final

import orjson
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    CursorResult,
    Enum,
    Integer,
    String,
    Text,
    TypeDecorator,
    case,
    literal,
    literal_column,
    type_coerce,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from crowbar_core.domain.attributes import SECRET, masked
from crowbar_core.store.models import UtcDateTime

_MOST: Final = 60
"""Members at once: PostgreSQL takes 100 arguments, SQLite 127."""


class Word(TypeDecorator[str]):
    """Text without a character that JSON would escape, never NULL: it needs but quotes around it."""

    impl = Text
    cache_ok = True


class _Moment(UtcDateTime):
    """Never NULL."""

    cache_ok = True


_FORMS: dict[type | None, str] = {Word: '"%s"', _Moment: '"%s+00:00"'}
"""What the values of these types stand in; all others come as they are to be."""
_OF_SQLITE: Final = "replace(CASE WHEN instr({0}, '.000000') THEN replace({0}, '.000000', '') ELSE {0} END, ' ', 'T')"
_OF_POSTGRESQL: Final = "replace(to_char(({}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), '.000000', '')"
"""Moments, without their zone."""
_SQLITE: dict[type, str] = {
    Word: "{}",
    _Moment: _OF_SQLITE,
    Boolean: "CASE {} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END",
    Integer: "coalesce({}, 'null')",
    Column: "CASE {0} WHEN '' THEN '\"\"' ELSE json_quote({0}) END",
    String: "json_quote({})",
    JSON: "coalesce({}, 'null')",
    UtcDateTime: f"coalesce('\"' || {_OF_SQLITE} || '+00:00\"', 'null')",
}
_POSTGRESQL: dict[type, str] = {
    Word: "{}",
    _Moment: _OF_POSTGRESQL,
    Boolean: "coalesce(({})::text, 'null')",
    Integer: "coalesce(({})::text, 'null')",
    Column: "coalesce(to_json({})::text, 'null')",
    String: "coalesce(to_json(({})::text)::text, 'null')",
    JSON: "coalesce(({})::text, 'null')",
    UtcDateTime: f"coalesce('\"' || {_OF_POSTGRESQL} || '+00:00\"', 'null')",
}


class Members(FunctionElement[str]):
    """``Members(form, *columns)``: the columns' values put into ``form`` (which has a ``%s`` for each) as orjson would
    write them, the same on both databases.
    """

    type = Text()
    name = "members"
    inherit_cache = True


def members(columns: Sequence[tuple[str, ColumnElement[Any]]]) -> ColumnElement[str]:
    """What stands between the braces of an object with these members: names and columns that can be quoted."""
    parts: list[ColumnElement[str]] = []
    for start in range(0, len(columns), _MOST):
        portion = columns[start : start + _MOST]
        form = ",".join(f'"{name}":{_FORMS.get(_kind(column), "%s")}' for name, column in portion)
        parts.append(Members(literal(f",{form}" if start else form), *(column for _, column in portion)))
    return reduce(add, parts)


def worded(column: ColumnElement[int], words: Mapping[int, str]) -> ColumnElement[str]:
    """These words instead of the numbers that the column has. Literals, as SQLite looks at a parameter for each row."""
    said: dict[Any, Any] = {
        literal_column(str(int(number))): literal_column(f"'{word}'") for number, word in words.items()
    }
    return type_coerce(case(said, value=column), Word())


def always(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same column, which is never NULL: a moment is written sooner then."""
    return type_coerce(column, _Moment()) if isinstance(column.type, UtcDateTime) else column


def fetched(result: CursorResult[Any]) -> Sequence[Any]:
    """All rows as the driver has them, for text and numbers: to make more of each costs a twentieth of a long list."""
    with result:
        return result.all() if result.cursor is None else result.cursor.fetchall()


def veiled(found: Sequence[str], trees: Sequence[str]) -> Sequence[str]:
    """Members of many objects, with the secrets in these of them masked. Secrets are told by their key, which might be
    written with escapes.
    """
    everything = "".join(found)
    if not trees or not (SECRET[0] in everything or "\\" in everything):
        return found
    return [_veiled(text, trees) if SECRET in text or "\\" in text else text for text in found]


def _veiled(text: str, trees: Sequence[str]) -> str:
    held = orjson.loads("{" + text + "}")
    held.update((name, masked(held[name])) for name in trees)
    return orjson.dumps(held).decode()[1:-1]


def can_be_quoted(column: ColumnElement[Any]) -> bool:
    """Whether the database writes a value of this type as Python does: not numbers with a fraction, nor days."""
    return _kind(column) is not None


def _kind(column: ColumnElement[Any]) -> type | None:
    if isinstance(column.type, Enum):
        return None
    if isinstance(column, Column) and isinstance(column.type, String):
        return Column  # a text that is not worked out: to name it twice costs nothing
    return next((kind for kind in _SQLITE if isinstance(column.type, kind)), None)


@compiles(Members, "sqlite")
def _of_sqlite(element: Any, compiler: Any, **how: Any) -> str:
    return f"printf({_arguments(_SQLITE, element, compiler, how)})"


@compiles(Members, "postgresql")
def _of_postgresql(element: Any, compiler: Any, **how: Any) -> str:
    return f"format({_arguments(_POSTGRESQL, element, compiler, how)})"


def _arguments(forms: dict[type, str], element: Any, compiler: Any, how: dict[str, Any]) -> str:
    form, *columns = element.clauses
    arguments = [compiler.process(form, **how)]
    for column in columns:
        kind = _kind(column)
        assert kind is not None
        arguments.append(forms[kind].format(compiler.process(column, **how)))
    return ", ".join(arguments)
