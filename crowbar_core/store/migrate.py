"""Bringing the schema up to date: the core's migrations, then each barclamp's, each with a version table of its own.

One shared version table was discarded: uninstalling a barclamp would then break the core's next upgrade. Each package
is upgraded in one transaction under the write lock, so that processes starting at once do it once, and a failure
leaves what was there.
"""

from __future__ import annotations

import importlib.util
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from crowbar_core.errors import BarclampError, ConfigError, NotFound
from crowbar_core.store.db import Store
from crowbar_core.store.models import Base

CORE = "crowbar"
CORE_MIGRATIONS = "crowbar_core.store.migrations"

Packages = Sequence[tuple[str, str]]
"""(barclamp, importable package of its migrations) of the barclamps that have tables of their own."""


@dataclass(frozen=True, kw_only=True)
class SchemaState:
    """Where one package's tables stand: ``current`` is None before the first upgrade."""

    name: str
    version_table: str
    current: str | None
    head: str | None

    @property
    def up_to_date(self) -> bool:
        return self.current == self.head


def upgrade(store: Store, barclamps: Packages) -> list[str]:
    """Upgrade what is behind; returns the names of the packages whose schema changed. Running it again resumes or does
    nothing.

    Raises ``ConfigError`` when the core's schema is newer than this program, ``BarclampError`` when a barclamp's fails.
    """
    states = check(store, barclamps)
    if all(state.up_to_date for state in states):
        return []
    if states[0].current is not None:
        _keep_copy(store)
    changed: list[str] = []
    for name, package in [(CORE, CORE_MIGRATIONS), *barclamps]:
        script = _script(name, package)
        with store.write(patient=True) as session:
            connection = session.connection()
            before = _current(connection, version_table(name))
            if before == _head(name, script):
                continue
            try:
                _run(connection, script, version_table(name))
            except Exception as error:  # a barclamp's migration may raise whatever it likes
                raise _failure(name, f"from {before}", error) from error
            changed.append(name)
    return changed


def _failure(name: str, which: str, error: Exception) -> ConfigError:
    said = next(iter(str(error).strip().splitlines()), "")
    reason = said if isinstance(error, SQLAlchemyError | CommandError) else f"{type(error).__name__}: {said}"
    if name == CORE:
        return ConfigError(f"The database's schema cannot be upgraded {which}: {reason}.")
    return BarclampError(
        f"The tables of barclamp {name} cannot be upgraded {which}: {reason}. "
        f"They are as they were; disable the barclamp or install the version that made them."
    )


def _head(name: str, script: ScriptDirectory) -> str | None:
    try:
        return script.get_current_head()
    except Exception as error:  # reading the revisions runs a barclamp's code
        raise _failure(name, "as its migrations cannot be read", error) from error


def check(store: Store, barclamps: Packages) -> list[SchemaState]:
    """Where the schema of the core and of each barclamp with tables stands."""
    with store.read() as session:
        connection = session.connection()
        return [
            SchemaState(
                name=name, version_table=version_table(name), current=_current(connection, version_table(name)),
                head=_head(name, _script(name, package)),
            )
            for name, package in [(CORE, CORE_MIGRATIONS), *barclamps]
        ]  # fmt: skip


def purge(store: Store, barclamp: str) -> list[str]:
    """Drop the tables of a barclamp, named ``<barclamp>_…`` with ``_`` for ``-``, and its version table. Returns their
    names.
    """
    prefix = barclamp.replace("-", "_") + "_"
    with store.write(patient=True) as session:
        connection = session.connection()
        own = set(Base.metadata.tables)
        there = inspect(connection).get_table_names()
        gone = [
            name for name in there if (name.startswith(prefix) and name not in own) or name == version_table(barclamp)
        ]
        if not gone:
            raise NotFound(f"The database holds no tables of a barclamp {barclamp!r}.")
        quote = connection.dialect.identifier_preparer.quote
        for name in sorted(gone):
            cascade = " CASCADE" if store.postgresql else ""
            connection.execute(text(f"DROP TABLE {quote(name)}{cascade}"))
    return sorted(gone)


def version_table(name: str) -> str:
    return f"alembic_version_{name.replace('-', '_')}"


def _script(name: str, package: str) -> ScriptDirectory:
    spec = importlib.util.find_spec(package)
    places: Sequence[str] = (spec.submodule_search_locations or []) if spec else []
    if not places:
        raise BarclampError(f"Barclamp {name} says that its migrations are in {package}, which is no package.")
    config = Config()
    config.set_main_option("script_location", str(Path(places[0])).replace("%", "%%"))
    return ScriptDirectory.from_config(config)


def _current(connection: Connection, table: str) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": table}).get_current_revision()


def _run(connection: Connection, script: ScriptDirectory, table: str) -> None:
    def steps(revision: Any, _context: Any) -> Any:
        return script._upgrade_revs("head", revision)

    with EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(connection=connection, version_table=table, render_as_batch=True, transactional_ddl=False)
        environment.run_migrations()


def _keep_copy(store: Store) -> None:
    """On SQLite, copy the database beside itself before its schema is changed."""
    path = Path(store.url.removeprefix("sqlite:///"))
    if store.postgresql:
        return
    copy = path.with_name(f"{path.name}.before-upgrade")
    copy.touch(mode=0o600)  # it holds what the database holds
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
