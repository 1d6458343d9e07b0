"""Columns as JSON text, which the database writes: of a long list, Python then sees one text for a row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any, Final

from sqlalchemy import JSON, Boolean, ColumnElement, Enum, Integer, String, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from crowbar_core.store.models import UtcDateTime

_MOST: Final = 60
"""Members at once: PostgreSQL takes 100 arguments, SQLite 127."""
_SQLITE = {
    Boolean: "CASE {} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END",
    Integer: "coalesce({}, 'null')",
    String: "json_quote({})",
    JSON: "coalesce({}, 'null')",
    UtcDateTime: "coalesce('\"' || replace(replace({}, ' ', 'T'), '.000000', '') || '+00:00\"', 'null')",
}
_POSTGRESQL = {
    Boolean: "coalesce(({})::text, 'null')",
    Integer: "coalesce(({})::text, 'null')",
    String: "coalesce(to_json(({})::text)::text, 'null')",
    JSON: "coalesce(({})::text, 'null')",
    UtcDateTime: "coalesce('\"' || replace(to_char(({}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'),"
    " '.000000', '') || '+00:00\"', 'null')",
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
        form = ",".join(f'"{name}":%s' for name, _ in portion)
        parts.append(Members(literal(f",{form}" if start else form), *(column for _, column in portion)))
    return reduce(add, parts)


def can_be_quoted(column: ColumnElement[Any]) -> bool:
    """Whether the database writes a value of this type as Python does: not numbers with a fraction, nor days."""
    return _kind(column) is not None


def _kind(column: ColumnElement[Any]) -> type | None:
    if isinstance(column.type, Enum):
        return None
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
