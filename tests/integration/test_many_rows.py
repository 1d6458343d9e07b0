"""Thousands of rows of a barclamp's own, inserted by ``insert_many``: what is read is what was written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    event,
    insert,
    select,
)
from sqlalchemy.exc import DataError

from crowbar_core import Barclamp, Refused, Schema, cluster, hookimpl
from crowbar_core.tables import JsonType, UtcDateTime, insert_many
from crowbar_core.testing import Testbed

MIGRATION = """
import sqlalchemy as sa
from alembic import op
from crowbar_core.tables import JsonType, UtcDateTime
revision, down_revision = "0001", None
def upgrade():
    op.create_table("counter_things", sa.Column("id", sa.Integer(), primary_key=True),
                    sa.Column("order", sa.Integer(), unique=True), sa.Column("name", sa.String(8), nullable=False),
                    sa.Column("words", sa.Text()), sa.Column("share", sa.Float()), sa.Column("price", sa.Numeric(8, 2)),
                    sa.Column("true", sa.Boolean(), nullable=False), sa.Column("at", UtcDateTime()),
                    sa.Column("tree", JsonType), sa.Column("left", sa.Integer(), server_default="7"))
"""
things = Table(
    "counter_things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("order", Integer),
    Column("name", String(8), nullable=False),
    Column("words", Text),
    Column("share", Float),
    Column("price", Numeric(8, 2)),
    Column("true", Boolean, nullable=False),
    Column("at", UtcDateTime),
    Column("tree", JsonType),
    Column("left", Integer),
)
ODD = ("", "null", "'; DROP TABLE nodes; --", 'a "b" \\ c', "%s %(a)s :b ?", "[1]", "zwölf 😀\n\t", " x ")


class Counter:
    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="counter")

    @hookimpl
    def register_schema(self) -> Schema:
        return Schema(migrations="counting_migrations")


@pytest.fixture
def bed(ready_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Testbed]:
    package = tmp_path / "packages" / "counting_migrations"
    (package / "versions").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "versions" / "0001.py").write_text(MIGRATION)
    monkeypatch.syspath_prepend(str(package.parent))
    with Testbed(Counter(), database_url=ready_database) as made:
        yield made
    sys.modules.pop("counting_migrations", None)


def row(number: int, **values: Any) -> dict[str, Any]:
    return {"true": True, "order": number, "name": f"n{number}", **values}


def read(bed: Testbed) -> list[dict[str, Any]]:
    with bed.read() as session:
        found = session.execute(select(things).order_by(things.c.order)).all()
    return [{name: value for name, value in one._mapping.items() if name != "id"} for one in found]


def test_what_is_read_is_what_an_insert_of_sqlalchemy_writes(bed: Testbed) -> None:
    moment = datetime(2026, 3, 29, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    rows = [
        row(
            at, words=None if at == 3 else ODD[at % len(ODD)], share=None if at == 4 else at / 3, price=at, at=moment,
            true=at % 2 == 0, tree={"a": [at, None, {"ä": "'"}]} if at % 3 else None,
        )
        for at in range(12)
    ]  # fmt: skip
    with bed.change() as change:
        change.session.execute(insert(things), rows)
    one_by_one = read(bed)
    with bed.change() as change:
        change.session.execute(things.delete())
        insert_many(change.session, things, [dict(reversed(one.items())) for one in rows])
    assert read(bed) == one_by_one
    assert [one["words"] for one in one_by_one[5:8]] == list(ODD[5:8])
    assert {one["at"] for one in one_by_one} == {moment.astimezone(UTC)}
    assert {one["left"] for one in one_by_one} == {7}


def test_many_need_few_statements(bed: Testbed) -> None:
    said: list[str] = []

    def note(_: Any, __: Any, statement: str, *more: Any) -> None:
        said.append(statement)

    event.listen(bed.parts.store.engine, "before_cursor_execute", note)
    with bed.change() as change:
        before = len(said)
        insert_many(change.session, things, [row(at) for at in range(12_001)])
        assert [one.split("(")[0].strip() for one in said[before:]] == ["INSERT INTO counter_things"] * 3
        insert_many(change.session, things, [])
        assert len(said) == before + 3
    assert [one["order"] for one in read(bed)] == list(range(12_001))


def test_a_rule_that_is_broken_undoes_all_of_it(bed: Testbed) -> None:
    several = [*(row(at) for at in range(6000)), row(17)], [row(1), row(2, name=None)]
    for rows, said in zip(several, ('the same "?order', "name"), strict=True):
        with pytest.raises(Refused, match=said), bed.change() as change:
            insert_many(change.session, things, rows)
        assert read(bed) == []


def test_nothing_is_cut_to_the_length_of_its_column(bed: Testbed) -> None:
    """SQLite knows no lengths."""
    long = row(1, name="n" * 9)
    if bed.parts.store.postgresql:
        with pytest.raises(DataError), bed.change() as change:
            insert_many(change.session, things, [long])
        assert read(bed) == []
    else:
        with bed.change() as change:
            insert_many(change.session, things, [long])
        assert [one["name"] for one in read(bed)] == [long["name"]]


def test_a_column_of_bytes_is_refused_on_either_database(bed: Testbed) -> None:
    seals = Table("seals", MetaData(), Column("seal", LargeBinary))
    with bed.change() as change, pytest.raises(TypeError, match="writes no bytes, as seal has"):
        insert_many(change.session, seals, [{"seal": b"1"}])


def test_it_can_be_done_wherever_there_is_a_change(bed: Testbed) -> None:
    with bed.serving(), cluster().change() as change:
        insert_many(change.session, things, [row(1), row(2)])
        assert change.session.scalars(select(things.c.order)).all() == [1, 2]
