"""Writing very many rows in few statements, on both databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import orjson
from sqlalchemy import (
    JSON,
    Integer,
    LargeBinary,
    String,
    Subquery,
    Table,
    Text,
    TypeDecorator,
    Update,
    bindparam,
    cast,
    column,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
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


def insert_many(session: Session, into: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert thousands of rows, all with the same columns, at half the cost of ``session.execute(insert(into), rows)``.
    Columns may be of numbers, truths, texts, times and JSON; one that is not named is what the database makes of it.
    Raises as an insert does, and TypeError for a column of bytes.
    """
    if not rows:
        return
    connection = session.connection()
    dialect = connection.dialect
    kinds = {name: into.c[name].type.dialect_impl(dialect) for name in rows[0]}
    if bytes_in := [name for name, kind in kinds.items() if isinstance(kind, LargeBinary)]:
        raise TypeError(f"insert_many writes no bytes, as {bytes_in[0]} has: use session.execute(insert(table), rows).")
    written = {name: kind.bind_processor(dialect) for name, kind in kinds.items()}
    plain = insert(into).inline().compile(dialect=dialect, column_keys=list(kinds))
    for some in portions(rows):
        columns = {
            name: [row[name] for row in some] if write is None else [write(row[name]) for row in some]
            for name, write in written.items()
        }
        if dialect.name == "postgresql":
            connection.execute(*_as_text(into, kinds, columns, some[0], len(some)))
        else:
            connection.exec_driver_sql(
                str(plain), list(zip(*(columns[name] for name in plain.positiontup or ()), strict=True))
            )


def _as_text(
    into: Table, kinds: Mapping[str, Any], columns: Mapping[str, list[Any]], first: Mapping[str, Any], count: int
) -> tuple[Any, Mapping[str, Any]]:
    """A statement with all rows in one text, which the server reads sooner than as many parameters; what is the same in
    all rows is said once. Texts are not cast: a cast would cut what is too long for its column.
    """
    text = cast(bindparam("several", type_=Text), JSON)
    each = func.json_array_elements(text).table_valued(column("row", JSON)).render_derived()
    differing: list[list[Any]] = []
    found: list[Any] = []
    for name, values in columns.items():
        kind = kinds[name]
        if values.count(values[0]) == count:
            found.append(literal(first[name], into.c[name].type))
            continue
        value = each.c.row.op("->>")(literal_column(str(len(differing))))
        differing.append(values)
        is_text = isinstance(kind.impl_instance if isinstance(kind, TypeDecorator) else kind, String)
        found.append(value if is_text else cast(value, kind))
    several = list(zip(*differing, strict=True)) if differing else [()] * count
    statement = insert(into).from_select(list(columns), select(*found).select_from(each), include_defaults=False)
    return statement, {"several": orjson.dumps(several, default=str).decode()}


def set_json(session: Session, store: Store, of: Table, name: str, values: Mapping[int, Mapping[str, Any]]) -> None:
    """Write a JSON column of many rows: id -> its new value, an object."""
    if values:
        session.execute(_set_json(of, name, store.postgresql), objects_of(store, values))


@cache
def _set_json(of: Table, name: str, postgresql: bool) -> Update:
    given = objects(postgresql=postgresql)
    return update(of).where(of.c.id == given.c.id).values({name: given.c.object})


def objects(*, postgresql: bool) -> Subquery:
    """(id, object) of what ``objects_of`` gives as the parameters of a statement."""
    if not postgresql:
        each = func.json_each(bindparam("objects")).table_valued("key", "value")
        return select(cast(each.c.key, Integer).label("id"), each.c.value.label("object")).subquery()
    given = (
        func.unnest(bindparam("object_ids", type_=ARRAY(Integer)), bindparam("objects", type_=ARRAY(Text)))
        .table_valued(column("id", Integer), column("text", Text))
        .render_derived()
    )
    return select(given.c.id, cast(given.c.text, JSONB).label("object")).subquery()


def objects_of(store: Store, values: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The parameters for ``objects``: id -> its object."""
    if not store.postgresql:
        return {"objects": orjson.dumps(dict(values), option=orjson.OPT_NON_STR_KEYS).decode()}
    return {"object_ids": list(values), "objects": [orjson.dumps(value).decode() for value in values.values()]}
