"""Fixtures for a barclamp's tests: ``crowbar`` (a Testbed with its own barclamp), ``fake_jig``, ``fake_clock``,
``crowbar_database`` (SQLite, or PostgreSQL where a test asks for it).

Loaded by every pytest where crowbar-core is installed: so it imports next to nothing until a test asks for a fixture.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from crowbar_core.testing import FakeClock, FakeJig, PostgresServer, Testbed

TESTING = "crowbar_core.testing"


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that stands still; the one of ``crowbar``."""
    clock: FakeClock = importlib.import_module(TESTING).FakeClock()
    return clock


@pytest.fixture
def fake_jig() -> FakeJig:
    """Stands in for every jig that touches nodes, in ``crowbar``: say what it does, and see what it was asked."""
    jig: FakeJig = importlib.import_module(TESTING).FakeJig()
    return jig


@pytest.fixture
def crowbar_barclamps(request: pytest.FixtureRequest) -> Sequence[Any]:
    """The barclamps in ``crowbar``: those of the package that the test belongs to. Override it for others."""
    project = next((folder for folder in request.path.parents if (folder / "pyproject.toml").is_file()), None)
    found = _entry_points(project / "pyproject.toml") if project else {}
    if not found:
        pytest.fail(
            'No pyproject.toml above this test has [project.entry-points."crowbar.barclamps"]: '
            "define a fixture crowbar_barclamps that returns the modules of your barclamps."
        )
    return [_loaded(target) for target in found.values()]


@pytest.fixture(scope="session")
def crowbar_postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests of this process, private and short-lived; it must be installed. Debian's will do."""
    with importlib.import_module(TESTING).PostgresServer() as server:
        yield server


@pytest.fixture
def crowbar_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database, the one of ``crowbar``: SQLite, or in PostgreSQL for a test that has
    ``@pytest.mark.parametrize("crowbar_database", ["sqlite", "postgresql"], indirect=True)``.
    """
    kind = getattr(request, "param", "sqlite")
    if kind == "sqlite":
        yield f"sqlite:///{request.getfixturevalue('tmp_path')}/crowbar.db"
    elif kind == "postgresql":
        server: PostgresServer = request.getfixturevalue("crowbar_postgres")
        url = server.create_database()
        yield url
        server.drop_database(url)
    else:
        pytest.fail(f"crowbar_database can be 'sqlite' or 'postgresql', not {kind!r}.")


@pytest.fixture
def crowbar(
    crowbar_barclamps: Sequence[Any], crowbar_database: str, fake_jig: FakeJig, fake_clock: FakeClock
) -> Iterator[Testbed]:
    """A whole core with the barclamp of this package, on which nothing happens until ``anneal_until_quiet()``."""
    made = importlib.import_module(TESTING).Testbed(
        *crowbar_barclamps, jig=fake_jig, clock=fake_clock, database_url=crowbar_database
    )
    with made as testbed:
        yield testbed


def _loaded(target: str) -> Any:
    """What an entry point names: a module, or something in it."""
    module, _, names = target.partition(":")
    found: Any = importlib.import_module(module)
    for name in filter(None, names.split(".")):
        found = getattr(found, name)
    return found


def _entry_points(project: Path) -> dict[str, str]:
    groups = tomllib.loads(project.read_text()).get("project", {}).get("entry-points", {})
    found: dict[str, str] = groups.get("crowbar.barclamps", {})
    return found
