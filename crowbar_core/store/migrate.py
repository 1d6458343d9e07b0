"""Bringing the schema up to date: the core's migrations, then each barclamp's, each with a version table of its own.

One shared version table was discarded: uninstalling a barclamp would then break the core's next upgrade. Each package
is upgraded in one transaction under the write lock, so that processes starting at once do it once, and a failure
leaves what was there.
"""

from __future__ import annotations

import importlib.util
import sqlite3
import traceback
from collections.abc import Mapping, Sequence
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

from crowbar_core.errors import BarclampError, ConfigError, NotFound, Refused
from crowbar_core.store.db import Store
from crowbar_core.store.models import CORE_TABLES

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


def upgrade(store: Store, barclamps: Packages, *, stops: Mapping[str, str] | None = None) -> list[str]:
    """Upgrade what is behind; returns the names of the packages whose schema changed. Running it again resumes or does
    nothing. ``stops``, for tests: barclamp -> the revision at which its tables stay.

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
        with store.rebuild() as session:
            connection = session.connection()
            before = _current(connection, version_table(name))
            to = (stops or {}).get(name) or _head(name, script)
            if before == to:
                continue
            dangled = store.dangling(session)
            try:
                _run(connection, script, version_table(name), to)
                _refuse_dangling(store.dangling(session) - dangled)
            except Exception as error:  # a barclamp's migration may raise whatever it likes
                which = f"from {before or 'nothing'}{_place(script, error)}"
                raise _failure(name, which, error) from error
            changed.append(name)
    return changed


def _refuse_dangling(left: Mapping[tuple[str, str], int]) -> None:
    for (table, parent), count in sorted(left.items()):
        raise ConfigError(f"it would leave {count} rows of {table} that refer to rows of {parent} which are gone")


def _place(script: ScriptDirectory, error: BaseException) -> str:
    """Which line of which migration raised it, if one did."""
    versions = str(Path(script.versions))
    frames = [one for one in traceback.extract_tb(error.__traceback__) if str(Path(one.filename).parent) == versions]
    return f", in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""


def _failure(name: str, which: str, error: Exception) -> ConfigError:
    said = next(iter(str(error).strip().splitlines()), "")
    reason = (
        said if isinstance(error, SQLAlchemyError | CommandError | ConfigError) else f"{type(error).__name__}: {said}"
    )
    if name == CORE:
        return ConfigError(f"The database's schema cannot be upgraded {which}: {reason.rstrip('.')}.")
    return BarclampError(
        f"The tables of barclamp {name} cannot be upgraded {which}: {reason.rstrip('.')}. "
        f"They are as they were; disable the barclamp or install the version that made them."
    )


def _head(name: str, script: ScriptDirectory) -> str | None:
    try:
        heads = script.get_heads()
        if len(heads) > 1:
            files = [f"{Path(script.get_revision(head).path).name} ({head})" for head in heads]
            raise ConfigError(
                f"more than one is the last: {', '.join(sorted(files))}; each but the first "
                "names the one before it as its down_revision"
            )
        return heads[0] if heads else None
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
    """Drop the tables of a barclamp, named ``<barclamp>_…`` or just so, with ``_`` for ``-``, and its version table.
    Returns their names.

    Raises ``NotFound`` when there are none, ``Refused`` when tables of others refer to them.
    """
    with store.rebuild() as session:
        connection = session.connection()
        looking = inspect(connection)
        there = looking.get_table_names()
        gone = tables_of(barclamp, there)
        if not gone:
            raise NotFound(f"The database holds no tables of a barclamp {barclamp!r}.")
        for name in sorted(set(there) - set(gone)):
            for key in looking.get_foreign_keys(name):
                if key["referred_table"] in gone:
                    raise Refused(
                        f"Table {name} refers to {key['referred_table']}, which belongs to barclamp {barclamp}. "
                        f"Purge the barclamp of {name} first."
                    )
        quote = connection.dialect.identifier_preparer.quote
        for name in sorted(gone):
            cascade = " CASCADE" if store.postgresql else ""
            connection.execute(text(f"DROP TABLE {quote(name)}{cascade}"))
    return sorted(gone)


def tables_of(barclamp: str, there: Sequence[str]) -> list[str]:
    """``net_extra_hosts`` is a table of ``net-extra`` where that has tables, and one of ``net`` where it has none."""
    versions = version_table("")
    prefixes = {name.removeprefix(versions) + "_" for name in there if name.startswith(versions)}
    mine = barclamp.replace("-", "_") + "_"
    core = set(CORE_TABLES)
    found = [
        name
        for name in there
        if name not in core
        and not name.startswith(versions)
        and max((one for one in prefixes | {mine} if f"{name}_".startswith(one)), key=len, default="") == mine
    ]
    return found + [name for name in there if name == version_table(barclamp) and barclamp != CORE]


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


def _run(connection: Connection, script: ScriptDirectory, table: str, to: str | None) -> None:
    def steps(revision: Any, _context: Any) -> Any:
        return script._upgrade_revs(to or "head", revision)

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
