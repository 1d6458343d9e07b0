"""Whether the tables that migrations make are those that a barclamp describes: types, what must be filled, names, and
what its request bodies give them. SQLite keeps anything in any column; PostgreSQL does not.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Union, get_args, get_origin

from flask import Flask
from sqlalchemy import Column, inspect
from sqlalchemy.sql.expression import ColumnClause, TableClause

from crowbar_core.barclamp import Problem
from crowbar_core.store.db import Store
from crowbar_core.store.migrate import tables_of
from crowbar_core.store.models import CORE_TABLES
from crowbar_core.testing.fitting import described

_ALIKE = {"Uuid": "String", "Enum": "String", "Interval": "DateTime", "Float": "Numeric", "MatchType": "Boolean"}
_TAKEN: dict[Any, tuple[str, ...]] = {
    str: ("String",),
    int: ("Integer", "Numeric"),
    bool: ("Boolean",),
    float: ("Numeric",),
    Decimal: ("Numeric",),
    datetime.date: ("Date",),
    datetime.datetime: ("DateTime",),
}
"""What a request body may give a column of which family."""


def wrong_columns(package: str, barclamps: Iterable[str], store: Store) -> Iterator[Problem]:
    """What modules of a package say of its tables otherwise than its migrations. ``store`` is one in which they, and
    those of all ``barclamps``, have run.
    """
    with store.read() as session:
        looking = inspect(session.connection())
        there = [name for name in looking.get_table_names() if name not in CORE_TABLES]
        made = {name: {one["name"]: one for one in looking.get_columns(name)} for name in there}
        keys = {name: looking.get_pk_constraint(name)["constrained_columns"] for name in there}
    owned = {name for barclamp in barclamps for name in tables_of(barclamp, there)}
    said: dict[tuple[str, str], Problem] = {}
    for module, table, _ in described(package):
        if table.schema is not None or table.name not in made:
            continue
        if table.name not in owned:
            said.setdefault((table.name, ""), _unowned(module, table))
        for column in table.columns:
            if column.name in made[table.name] and (
                problem := _compared(module, table, column, made[table.name][column.name])
            ):
                said.setdefault((table.name, column.name), problem)
        for name, one in made[table.name].items():
            filled = one["nullable"] or one["default"] is not None or name in keys[table.name]
            if isinstance(next(iter(table.columns), None), Column) and name not in table.columns and not filled:
                said.setdefault((table.name, name), _left_out(module, table, name))
    yield from said.values()


def _unowned(module: str, table: TableClause) -> Problem:
    return Problem(
        detail=f"The table {table.name}, which {module} describes, begins with the name of no barclamp and _, so that "
        "`crowbar db purge` would leave it: name it so.",
        severity="warning",
    )


def _left_out(module: str, table: TableClause, name: str) -> Problem:
    return Problem(
        detail=f"The migrations make a column {name} of the table {table.name} that must be filled and has no default; "
        f"{module} describes none.",
        severity="warning",
    )


def _compared(module: str, table: TableClause, column: ColumnClause[Any], made: Any) -> Problem | None:
    declared, kept = _family(column.type), _family(made["type"])
    if declared and kept and declared != kept:
        return Problem(
            detail=f"{module} describes the column {column.name} of the table {table.name} as {column.type!r}; the "
            f"migrations make it {made['type']!r}."
        )
    if isinstance(column, Column) and not column.primary_key and bool(column.nullable) != bool(made["nullable"]):
        may, must = "may be empty (nullable)", "must be filled (nullable=False)"
        return Problem(
            detail=f"{module} says that the column {column.name} of the table {table.name} "
            f"{may if column.nullable else must}; as the migrations make it, it {may if made['nullable'] else must}.",
            severity="warning",
        )
    return None


def _family(kind: Any) -> str:
    affinity = kind._type_affinity
    name = "" if affinity is None else affinity.__name__
    return "" if name == "NullType" else _ALIKE.get(name, name)


def wrong_bodies(app: Flask, endpoints: Iterable[str]) -> Iterator[Problem]:
    """Fields of request bodies that are called as a column of their resource, and are of another kind than it."""
    said: dict[Any, Problem] = {}  # once, however many bodies have it
    for endpoint in endpoints:
        operation = getattr(app.view_functions[endpoint], "crowbar_operation", None)
        table = getattr(getattr(operation, "listing", None), "key", None)
        columns = getattr(getattr(table, "table", None), "columns", None)
        if operation is None or operation.body is None or columns is None:
            continue
        for name, one in operation.body.model_fields.items():
            kind, column = _plain_kind(one.annotation), columns.get(name)
            family = "" if column is None else _family(column.type)
            if kind is not None and family and family not in _TAKEN[kind]:
                said.setdefault(
                    column,
                    Problem(
                        detail=f"{operation.body.__name__} takes {name} as {kind.__name__}, and the column {name} of "
                        f"{column.table.name} is {column.type!r}: what it takes, it must not give that as it is.",
                        severity="warning",
                    ),
                )
    yield from said.values()


def _plain_kind(annotation: Any) -> Any:
    """The one plain type that a field can be, besides None; None where it can be several, or something else."""
    origin = get_origin(annotation)
    if origin is Union or type(annotation).__name__ == "UnionType":
        kinds = {_plain_kind(one) for one in get_args(annotation) if one is not type(None)}
        return kinds.pop() if len(kinds) == 1 else None
    if hasattr(annotation, "__metadata__"):
        return _plain_kind(get_args(annotation)[0])
    return annotation if isinstance(annotation, type) and annotation in _TAKEN else None
