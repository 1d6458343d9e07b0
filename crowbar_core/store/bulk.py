"""Writing very many rows in few statements, on both databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import orjson
from sqlalchemy import Integer, Table, Text, bindparam, cast, column, func, insert, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from crowbar_core.store.db import Store

AT_ONCE = 5000
"""How many values are named in one statement where each is a parameter of its own."""
One = TypeVar("One")


def portions(values: Sequence[One]) -> Iterator[Sequence[One]]:
    """The values, no more of them at a time than one statement can name."""
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]


def insert_rows(session: Session, store: Store, into: Table, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Insert rows, all with the same columns. Returns their ids, in the same order."""
    if not rows:
        return []
    statement = insert(into)
    if store.postgresql:
        found = session.scalars(statement.returning(into.c.id, sort_by_parameter_order=True), list(rows))
        return list(found.all())
    # SQLite numbers the rows of one statement in the order in which they are given, and each higher than all before.
    return sorted(session.scalars(statement.returning(into.c.id), list(rows)).all())


def set_json(session: Session, store: Store, of: Table, name: str, values: Mapping[int, Any]) -> None:
    """Write a JSON column of many rows: id -> its new value."""
    if not values:
        return
    ids, texts = list(values), [orjson.dumps(value).decode() for value in values.values()]
    if not store.postgresql:
        session.connection().execute(
            update(of).where(of.c.id == bindparam("row_id")).values({name: bindparam("row_value")}),
            [{"row_id": ref, "row_value": value} for ref, value in values.items()],
        )
        return
    given = (
        func.unnest(bindparam("ids", ids, type_=ARRAY(Integer)), bindparam("texts", texts, type_=ARRAY(Text)))
        .table_valued(column("id", Integer), column("text", Text))
        .render_derived()
    )
    chosen = select(given.c.id, given.c.text).subquery()
    session.execute(update(of).where(of.c.id == chosen.c.id).values({name: cast(chosen.c.text, of.c[name].type)}))
