"""Clusters for the tests of store and services, each on a fresh database: as SQLite file and in PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cluster import Cluster, open_parts
from tests.services import PostgresServer, database_name

NewCluster = Callable[..., Cluster]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the core's tables, to be copied: quicker than making them for each test."""
    directory = tmp_path_factory.mktemp("template")
    open_parts(directory, f"sqlite:///{directory}/crowbar.db").close()
    return directory / "crowbar.db"


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    url = postgres_server.create_database()
    open_parts(tmp_path_factory.mktemp("template"), url).close()
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def ready_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with the core's tables and nothing in them."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "crowbar.db")
        yield f"sqlite:///{tmp_path}/crowbar.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.create_database(template=database_name(request.getfixturevalue("postgres_template")))
    yield url
    server.drop_database(url)


@pytest.fixture
def new_cluster(ready_database: str, tmp_path: Path) -> Iterator[NewCluster]:
    """Makes the test's cluster: ``new_cluster(roles, attributes, hooks=...)``. A second call opens the same database
    again, as a restart with other packages installed does.
    """
    made: list[Cluster] = []

    def make(*roles: Any, **values: Any) -> Cluster:
        for one in made:
            one.close()
        made.append(Cluster(tmp_path, ready_database, roles, migrate=False, **values))
        return made[-1]

    yield make
    for one in made:
        one.close()
