"""A flag as the partial indexes of set flags have it: by itself, where SQLAlchemy would write ``flag = 1`` for SQLite,
which then reads the whole table.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class Condition(FunctionElement[bool]):
    """An element that is a condition as it is compiled."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> ColumnElement[bool]:  # type: ignore[override]
        return self


class Flag(Condition):
    name = "flag"
    inherit_cache = True


def flag(column: Any) -> ColumnElement[bool]:
    return Flag(column)


@compiles(Flag)
def _by_itself(element: Any, compiler: Any, **how: Any) -> str:
    (column,) = element.clauses
    return str(compiler.process(column, **how))
