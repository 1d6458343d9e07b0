"""A migration is tried on rows that an earlier version left."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from crowbar_core import cluster
from crowbar_core.errors import BarclampError
from crowbar_core.testing import Testbed

PACKAGE = """
from crowbar_core import Barclamp, Schema, hookimpl

@hookimpl
def register_barclamp():
    return Barclamp(name="pegs")

@hookimpl
def register_schema():
    return Schema(migrations="crowbar_pegs.migrations")
"""
FIRST = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "pegs0001", None

def upgrade():
    op.create_table("pegs", sa.Column("id", sa.Integer, primary_key=True), sa.Column("units", sa.String(8)))
"""
SECOND = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "pegs0002", "pegs0001"

def upgrade():
    op.add_column("pegs", sa.Column("room", sa.String(9), nullable=False{default}))
    with op.batch_alter_table("pegs") as table:
        table.alter_column("room", server_default=None)
"""


@pytest.fixture
def pegs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    versions = tmp_path / "crowbar_pegs/migrations/versions"
    versions.mkdir(parents=True)
    (tmp_path / "crowbar_pegs/__init__.py").write_text(PACKAGE)
    (versions / "0001.py").write_text(FIRST)
    (versions / "0002.py").write_text(SECOND.format(default=request.param))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "crowbar_pegs", raising=False)
    return importlib.import_module("crowbar_pegs")


def older(pegs: Any, url: str, rows: int) -> Testbed:
    bed = Testbed(pegs, database_url=url, revisions={"pegs": "pegs0001"})
    for _ in range(rows):
        with bed.serving(), cluster().change() as change:
            change.session.execute(text("INSERT INTO pegs (units) VALUES ('4')"))
    return bed


@pytest.mark.parametrize("pegs", [', server_default="cellar"'], indirect=True)
def test_rows_that_an_earlier_version_left_are_there_after_the_next_migration(pegs: Any, database_url: str) -> None:
    with older(pegs, database_url, rows=2) as old:
        new = old.twin(revisions={})
        with new.serving(), cluster().read() as session:
            found = session.execute(text("SELECT units, room FROM pegs")).all()
            assert [tuple(row) for row in found] == [("4", "cellar")] * 2


@pytest.mark.parametrize("pegs", [""], indirect=True)
def test_a_column_that_must_be_filled_and_has_no_default_fails_where_rows_are(pegs: Any, database_url: str) -> None:
    with older(pegs, database_url, rows=1) as old:
        with pytest.raises(BarclampError, match=r"The tables of barclamp pegs cannot be upgraded from pegs0001"):
            old.twin(revisions={})
        with old.serving(), cluster().read() as session:
            assert session.scalar(text("SELECT count(*) FROM pegs")) == 1


@pytest.mark.parametrize("pegs", [""], indirect=True)
def test_the_same_works_where_there_are_none(pegs: Any, database_url: str) -> None:
    with older(pegs, database_url, rows=0) as old, old.twin(revisions={}).serving(), cluster().read() as session:
        assert session.scalar(text("SELECT count(*) FROM pegs WHERE room IS NULL")) == 0


@pytest.mark.parametrize("pegs", [""], indirect=True)
def test_a_revision_that_is_not_there_is_said(pegs: Any) -> None:
    with pytest.raises(BarclampError, match="pegs0009"):
        Testbed(pegs, revisions={"pegs": "pegs0009"})
