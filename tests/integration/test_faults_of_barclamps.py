"""What barclamps' code does wrong in a request is called theirs, and by its name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crowbar_core.testing import Testbed

MIGRATION = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0001", None
def upgrade():
    op.create_table("racks_racks", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("units", sa.Integer()))
"""
BARCLAMP = """
from flask import Blueprint
from sqlalchemy import Column, Integer, String, insert, select
from crowbar_core import Barclamp, Schema, cluster, hookimpl, requires
from crowbar_core.tables import Database

db = Database()
racks = db.Table("racks_racks", Column("id", Integer, primary_key=True), Column("units", String),
                 Column("colour", String))
absent = db.Table("racks_absent", Column("id", Integer, primary_key=True))
pages = Blueprint("racks-pages", __name__, url_prefix="/racks")
rest = Blueprint("racks-rest", __name__, url_prefix="/api/v2/racks")

@hookimpl
def register_barclamp():
    return Barclamp(name="racks")

@hookimpl
def register_schema():
    return Schema(migrations="racks_faulty.migrations")

@hookimpl
def register_blueprints():
    return [pages, rest]

@pages.get("/raises")
@requires("viewer")
def raises():
    return {}["rack"]

@rest.get("/raises")
@requires("viewer")
def raises_too():
    return {}["rack"]

@pages.get("/colours")
@requires("viewer")
def colours():
    with cluster().read() as session:
        return str(session.execute(select(racks.c.colour)).all())

@rest.get("/colours")
@requires("viewer")
def colours_too():
    return str(db.session.execute(select(racks.c.colour)).all())

@rest.get("/absent")
@requires("viewer")
def none():
    with cluster().read() as session:
        return str(session.execute(select(absent.c.id)).all())

@rest.get("/painted")
@requires("viewer")
def painted():
    with cluster().change() as change:
        change.session.execute(insert(racks).values(id=1, colour="red"))
    return "painted"

@rest.get("/wrong")
@requires("viewer")
def wrong():
    with cluster().change() as change:
        change.session.execute(insert(racks).values(id=1, units="secret"))
    return "wrong"
"""


@pytest.fixture
def bed(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Testbed]:
    versions = tmp_path / "racks_faulty" / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "__init__.py").write_text("")
    (versions / "0001_first.py").write_text(MIGRATION)
    (tmp_path / "racks_faulty" / "__init__.py").write_text(BARCLAMP)
    monkeypatch.syspath_prepend(tmp_path)
    with Testbed(importlib.import_module("racks_faulty"), database_url=database_url) as bed:
        yield bed
    for name in [name for name in sys.modules if name.startswith("racks_faulty")]:
        del sys.modules[name]


def test_what_raises_in_a_page_or_the_api_of_a_barclamp_is_called_its_own(
    bed: Testbed, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in ("/racks/raises", "/api/v2/racks/raises"):
        answer = bed.web().get(path)
        said = answer.get_data(as_text=True)
        assert answer.status_code == 500
        assert "The code of barclamp racks made a mistake here." in said
        assert "report it to the author of barclamp racks" in said
        assert "Crowbar made a mistake" not in said
        logged = capfd.readouterr()
        assert "barclamp=racks" in logged.out + logged.err
        assert "KeyError" in logged.out + logged.err


def test_a_column_or_table_that_no_migration_made_is_no_database_that_does_not_answer(
    bed: Testbed, capfd: pytest.CaptureFixture[str]
) -> None:
    colour = "The database has no column colour in racks_racks (of barclamp racks)"
    table = "The database has no table racks_absent (of barclamp racks)"
    for path, expected in {
        "/racks/colours": colour,
        "/api/v2/racks/colours": colour,
        "/api/v2/racks/painted": colour,
        "/api/v2/racks/absent": table,
    }.items():
        answer = bed.web().get(path)
        said = answer.get_data(as_text=True)
        assert (path, answer.status_code) == (path, 500), said
        assert expected in said
        assert "Retry-After" not in answer.headers
        logged = capfd.readouterr()
        assert "Traceback" in logged.out + logged.err
    assert bed.web().get("/readyz").status_code == 200


def test_a_value_of_another_type_than_its_column_is_said_to_be_that(bed: Testbed) -> None:
    answer = bed.web().get("/api/v2/racks/wrong")
    if not bed.parts.store.postgresql:  # which takes any value for any column
        assert answer.status_code == 200
        return
    assert answer.status_code == 422
    assert answer.get_json()["detail"] == (
        "A value in the request is of the wrong type for its column in racks_racks (of barclamp racks), "
        "which takes integer."
    )
