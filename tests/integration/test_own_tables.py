"""A barclamp's own tables are carried by Flask-SQLAlchemy, apart from the core's and from everybody else's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, String, insert, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crowbar_core.store import migrate
from crowbar_core.store.models import Base
from crowbar_core.tables import Database, nodes
from crowbar_core.testing import Testbed, check_barclamp

MIGRATION = """
import sqlalchemy as sa
from alembic import op
from crowbar_core.tables import JsonType, UtcDateTime
revision, down_revision = "0001", None
def upgrade():
    op.create_table("cellar_bottles", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("name", sa.String(20)),
                    sa.Column("node_id", sa.Integer(), sa.ForeignKey("nodes.id", ondelete="CASCADE")))
    op.create_table("cellar_tastings", sa.Column("id", sa.Integer(), primary_key=True),
                    sa.Column("bottle_id", sa.Integer(), sa.ForeignKey("cellar_bottles.id"), nullable=False),
                    sa.Column("at", UtcDateTime(), nullable=False), sa.Column("notes", JsonType, nullable=False))
"""
BARCLAMP = """
from datetime import datetime
from typing import Any
from sqlalchemy import Column, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column, relationship
from crowbar_core import Barclamp, Schema, hookimpl
from crowbar_core.tables import Database

db = Database()
bottles = db.Table("cellar_bottles", Column("id", Integer, primary_key=True), Column("name", String(20)),
                   Column("node_id", Integer))

class Bottle(db.Model):
    __table__ = bottles
    tastings: Mapped[list["Tasting"]] = relationship(back_populates="bottle")

class Tasting(db.Model):
    __tablename__ = "cellar_tastings"
    id: Mapped[int] = mapped_column(primary_key=True)
    bottle_id: Mapped[int] = mapped_column(ForeignKey("cellar_bottles.id"))
    at: Mapped[datetime]
    notes: Mapped[dict[str, Any]]
    bottle: Mapped["Bottle"] = relationship(back_populates="tastings")

@hookimpl
def register_barclamp():
    return Barclamp(name="cellar")

@hookimpl
def register_schema():
    return Schema(migrations="crowbar_cellar.migrations")
"""


@pytest.fixture
def cellar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of a barclamp that has two tables, written down with public names alone."""
    package = tmp_path / "packages" / "crowbar_cellar"
    (package / "migrations" / "versions").mkdir(parents=True)
    (package / "migrations" / "__init__.py").touch()
    (package / "migrations" / "versions" / "0001_bottles.py").write_text(MIGRATION)
    (package / "__init__.py").write_text(BARCLAMP)
    monkeypatch.syspath_prepend(str(package.parent))
    yield imported()
    forget()


def imported() -> ModuleType:
    import crowbar_cellar  # type: ignore[import-not-found]  # noqa: PLC0415

    module: ModuleType = crowbar_cellar
    return module


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "crowbar_cellar"]:
        del sys.modules[name]


def test_own_tables_are_migrated_written_read_and_purged_and_so_once_more_in_the_same_process(
    cellar: Any, ready_database: str
) -> None:
    east = timezone(timedelta(hours=3))
    for turn in range(2):
        with Testbed(cellar, database_url=ready_database) as bed:
            web = bed.add_node(f"web{turn}")
            with bed.change() as change:
                ref = change.session.scalar(select(nodes.c.id).where(nodes.c.name == web.name))
                change.session.execute(insert(cellar.bottles).values(name="port", node_id=ref))
                bottle = cellar.db.session.scalars(select(cellar.Bottle)).one()
                assert cellar.db.session() is change.session
                tasted = datetime(2031, 5, 1, 15, tzinfo=east)
                cellar.db.session.add(cellar.Tasting(bottle=bottle, at=tasted, notes={"of": ["plums"]}))
            with bed.read() as session:
                tasting = session.scalars(select(cellar.Tasting)).one()
                assert (tasting.bottle.name, tasting.notes) == ("port", {"of": ["plums"]})
                assert tasting.at == tasted
                assert tasting.at.tzinfo is UTC
                on = select(nodes.c.name).join(cellar.bottles, cellar.bottles.c.node_id == nodes.c.id)
                assert cellar.db.session.scalars(on).all() == [web.name]
                assert cellar.Bottle.query.filter_by(name="port").count() == 1
            store = bed.parts.store
            purged = migrate.purge(store, "cellar")
            assert purged == ["alembic_version_cellar", "cellar_bottles", "cellar_tastings"], turn
            assert [one.up_to_date for one in migrate.check(store, [])] == [True]


def test_in_a_request_outside_of_a_transaction_the_session_reads_and_says_how_to_write(
    cellar: Any, ready_database: str
) -> None:
    with Testbed(cellar, database_url=ready_database) as bed, bed.parts.store.app.app_context():
        assert cellar.db.session.scalars(select(cellar.bottles.c.name)).all() == []
        assert cellar.db.engine.url == bed.parts.store.engine.url
        cellar.db.session.add(cellar.Bottle(name="port"))
        with pytest.raises(InvalidRequestError, match=r"write inside `with cluster\(\)\.change\(\)"):
            cellar.db.session.commit()
        cellar.db.session.expunge_all()


def test_the_core_and_other_barclamps_are_not_touched_by_what_one_declares(cellar: Any, ready_database: str) -> None:
    before = set(Base.metadata.tables)
    one, another = Database(), Database()
    first = one.Table("cellar_bottles", Column("id", Integer, primary_key=True), Column("label", String(9)))
    of_core = another.Table("nodes", Column("id", Integer, primary_key=True), Column("mine", String(9)))
    assert set(Base.metadata.tables) == before
    assert "mine" not in Base.metadata.tables["nodes"].c
    assert first.metadata is not of_core.metadata
    assert "label" not in cellar.bottles.c

    class Broken(one.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "cellar_broken"
        id: Mapped[int] = mapped_column(primary_key=True)
        other: Mapped[int] = mapped_column(ForeignKey("cellar_nothing.id"))
        others: Mapped[list[Nobody]] = relationship()  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidRequestError, match="Nobody"):
        Broken()
    with Testbed(cellar, database_url=ready_database) as bed:  # the core's and the other's models are as they were
        bed.add_node("web")
        with bed.read() as session:
            assert session.scalars(select(cellar.Bottle)).all() == []


def test_a_module_that_is_imported_anew_declares_its_tables_once_more(cellar: Any, ready_database: str) -> None:
    forget()
    again: Any = imported()
    assert again is not cellar
    with Testbed(again, database_url=ready_database) as bed, bed.read() as session:
        assert session.scalars(select(again.Bottle)).all() == []


def test_tables_are_made_by_migrations_alone() -> None:
    db = Database()
    for does in (db.create_all, db.drop_all):
        with pytest.raises(InvalidRequestError, match=rf"migrations .*crowbar db purge`, not by db\.{does.__name__}\("):
            does()


def test_a_check_finds_a_table_that_is_declared_and_that_no_migration_makes(cellar: Any) -> None:
    assert [one.detail for one in check_barclamp(cellar) if "cellar_" in one.detail] == []
    cellar.db.Table("cellar_wines", Column("id", Integer, primary_key=True))  # in no variable of the module
    said = [one.detail for one in check_barclamp(cellar) if "cellar_" in one.detail]
    assert len(said) == 1
    assert "describes the table cellar_wines, which no migration makes" in said[0]
