"""A column among many ids that are one parameter, however many there are: one statement for any number of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.ext.compiler import compiles

from crowbar_core.store.flags import Condition


class Among(Condition):
    """``Among(column, parameter)``: the parameter is an array on PostgreSQL, JSON on SQLite.

    An element of our own, for it is part of most statements: put together of the library's, a table-valued function in
    a subquery takes longer to build than SQLite takes to answer.
    """

    name = "among"
    inherit_cache = True


def among(column: Any, parameter: Any) -> ColumnElement[bool]:
    return Among(column, parameter)


@compiles(Among, "sqlite")
def _of_json(element: Any, compiler: Any, **how: Any) -> str:
    column, given = (compiler.process(one, **how) for one in element.clauses)
    return f"({column} IN (SELECT value FROM json_each({given})))"


@compiles(Among, "postgresql")
def _of_array(element: Any, compiler: Any, **how: Any) -> str:
    column, given = (compiler.process(one, **how) for one in element.clauses)
    return f"({column} = ANY ({given}))"
