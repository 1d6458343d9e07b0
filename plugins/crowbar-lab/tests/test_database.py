"""A lab's server starts whatever its barclamps' tables are, as any server does."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from crowbar_lab import seat, server
from crowbar_lab.errors import LabError

BARCLAMP = """
from crowbar_core import Barclamp, Schema, hookimpl

@hookimpl
def register_barclamp():
    return Barclamp(name="racks")

@hookimpl
def register_schema():
    return Schema(migrations="racks_migrations")
"""
MIGRATION = "revision, down_revision = '1', None\ndef upgrade():\n    raise KeyError('a bug')\n"


def python_path(monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    kept = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *kept]))


def test_a_migration_that_fails_is_said_and_the_server_has_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site, directory = tmp_path / "site", tmp_path / "server"
    for folder in (site / "racks-1.0.dist-info", site / "racks_migrations" / "versions", directory):
        folder.mkdir(parents=True)
    (site / "racks.py").write_text(BARCLAMP)
    (site / "racks_migrations" / "__init__.py").touch()
    (site / "racks_migrations" / "versions" / "0001_first.py").write_text(MIGRATION)
    (site / "racks-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: racks\nVersion: 1.0\n")
    (site / "racks-1.0.dist-info" / "entry_points.txt").write_text("[crowbar.barclamps]\nracks = racks\n")
    python_path(monkeypatch, site)
    database = server.begin_database(directory)
    assert server.admin_password(database)
    assert database.returncode == 1
    said = capsys.readouterr().err
    assert "The tables of barclamp racks cannot be upgraded from nothing, in 0001_first.py, line 3: KeyError" in said
    assert "The server starts without that barclamp" in said


def test_a_database_that_cannot_be_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sqlalchemy.py").write_text("raise ImportError('no database today')\n")
    python_path(monkeypatch, tmp_path)
    with pytest.raises(LabError, match=r"`crowbar db upgrade` failed: .*no database today"):
        server.admin_password(server.begin_database(tmp_path))


def test_a_lab_that_is_left_without_a_server_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sqlalchemy.py").write_text("raise ImportError('no database today')\n")
    python_path(monkeypatch, tmp_path)
    monkeypatch.setenv("CROWBAR_CLI_CONFIG", str(tmp_path / "cli.toml"))
    lab: Any = SimpleNamespace(name="east", directory=tmp_path)
    with pytest.raises(LabError) as caught:
        seat.take_seat(lab, seat.Owner.asking(os.environ))
    assert "no database today" in caught.value.detail
    assert "The lab east has no server now; when that is mended: crowbar lab serve --name east." in caught.value.detail
