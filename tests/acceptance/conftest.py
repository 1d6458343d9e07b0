"""Installations of Crowbar for the fault tests: on SQLite, on PostgreSQL, with Redis, in a lab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.processes import Site, installed


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """On the embedded database, nothing started yet."""
    with installed(tmp_path / "crowbar") as one:
        yield one


@pytest.fixture
def postgres_site(tmp_path: Path, postgres_url: str) -> Iterator[Site]:
    with installed(tmp_path / "crowbar", database_url=postgres_url) as one:
        yield one
