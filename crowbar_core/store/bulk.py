"""Writing very many rows in few statements, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    types = {name: into.c[name].type.dialect_impl(dialect) for name in rows[0]}
    if bytes_in := [name for name, kind in types.items() if isinstance(kind, LargeBinary)]:
        raise TypeError(f"insert_many writes no bytes, as {bytes_in[0]} has: use session.execute(insert(table), rows).")
    plain = insert(into).inline().compile(dialect=dialect, column_keys=list(types))
    names = plain.positiontup or list(types)
    for some in portions(rows):
        columns = [_written([row[name] for row in some], types[name].bind_processor(dialect)) for name in names]
        several = list(zip(*columns, strict=True))
        if dialect.name == "postgresql":
            # One text is read by the server sooner than as many parameters as there are values.
            text = orjson.dumps(several, default=str).decode()
            connection.execute(_from_text(into, names, types), {"several": text})
        else:
            connection.exec_driver_sql(str(plain), several)


def _written(values: list[Any], write: Callable[[Any], Any] | None) -> list[Any]:
    return values if write is None else [write(value) for value in values]


def _from_text(into: Table, names: Sequence[str], types: Mapping[str, Any]) -> Any:
    """Texts are not cast, but written as they are: a cast would cut what is too long for its column."""
    each = func.json_array_elements(cast(bindparam("several", type_=Text), JSON)).column_valued("each")
    found: list[Any] = []
    for at, name in enumerate(names):
        value = each.op("->>")(literal_column(str(at)))
        kind = types[name]
        plain = kind.impl_instance if isinstance(kind, TypeDecorator) else kind
        found.append(value if isinstance(plain, String) else cast(value, plain))
    return insert(into).from_select(list(names), select(*found), include_defaults=False)


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
