"""The schema: what migrations make is what the models say; upgrades that are repeated, raced, broken or too new."""

from __future__ import annotations

import re
import sqlite3
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, inspect, select, text
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Role, Schema
from crowbar_core.errors import BarclampError, ConfigError, NotFound, Refused
from crowbar_core.services.turns.parts import Parts
from crowbar_core.store import migrate
from crowbar_core.store.db import Store
from crowbar_core.store.models import CORE_TABLES, Base
from tests.integration.cluster import Plugin, deployment_rows, node_rows, open_parts

# SQLAlchemy cannot read indexes on expressions back from SQLite; ``_index_names`` looks for them itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Skipped unsupported reflection:sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index:UserWarning"),
]


def tables(store: Store) -> set[str]:
    with store.read() as session:
        return set(inspect(session.connection()).get_table_names())


def schema(store: Store) -> dict[str, Any]:
    """All tables with their columns, indexes and constraints, for comparing before with after."""
    with store.read() as session:
        look = inspect(session.connection())
        return {
            name: [
                [(column["name"], str(column["type"]), column["nullable"]) for column in look.get_columns(name)],
                sorted(str(index["name"]) for index in look.get_indexes(name)),
                sorted(str(check["name"]) for check in look.get_check_constraints(name)),
                sorted(str(key["name"]) for key in look.get_foreign_keys(name)),
            ]
            for name in sorted(look.get_table_names())
        }


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Parts]]:
    """Opens parts on a database, and closes them all at the end."""
    made: list[Parts] = []

    def make(url: str, *plugins: tuple[str, Any]) -> Parts:
        made.append(open_parts(tmp_path, url, plugins))
        return made[-1]

    yield make
    for parts in made:
        parts.close()


# ---------------------------------------------------------------- the core's own


def core_tables(one: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
    """Models of barclamps, which other tests may have loaded, are in the same metadata."""
    return kind != "table" or name in CORE_TABLES or str(name).startswith("alembic_version_")


def test_the_migrations_make_what_the_models_say(database_url: str, opened: Callable[..., Parts]) -> None:
    parts = opened(database_url)
    with parts.store.read() as session:
        context = MigrationContext.configure(
            session.connection(), opts={"compare_type": True, "include_object": core_tables}
        )
        differences = compare_metadata(context, Base.metadata)
    own = [one for one in differences if not (one[0] == "remove_table" and one[1].name.startswith("alembic_version_"))]
    assert own == []


def test_the_migrations_make_the_same_constraints_and_defaults_as_the_models(
    database_url: str, opened: Callable[..., Parts], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What autogenerate does not compare: check constraints, partial indexes, defaults."""
    migrated = opened(database_url)
    if migrated.store.postgresql:
        server = request.getfixturevalue("postgres_server")
        other = server.create_database()
    else:
        other = f"sqlite:///{tmp_path}/models.db"
    store = Store(other)
    try:
        with store.write() as session:
            Base.metadata.create_all(session.connection(), tables=list(CORE_TABLES.values()))
        assert {k: v for k, v in _details(migrated.store).items() if not k.startswith("alembic_version_")} == _details(
            store
        )
    finally:
        store.close()
        if migrated.store.postgresql:
            server.drop_database(other)


def _details(store: Store) -> dict[str, Any]:
    with store.read() as session:
        look = inspect(session.connection())
        return {
            name: {
                "columns": {
                    one["name"]: (str(one["type"]), one["nullable"], _default(one["default"]))
                    for one in look.get_columns(name)
                },
                "checks": {one["name"]: _squeezed(one["sqltext"]) for one in look.get_check_constraints(name)},
                "indexes": {
                    one["name"]: (
                        one["unique"],
                        one["column_names"],
                        {key: _squeezed(str(said)) for key, said in one.get("dialect_options", {}).items()},
                    )
                    for one in look.get_indexes(name)
                },
                "uniques": {one["name"]: one["column_names"] for one in look.get_unique_constraints(name)},
                "foreign": {
                    one["name"]: (one["constrained_columns"], one["referred_table"], one["options"])
                    for one in look.get_foreign_keys(name)
                },
                "primary": look.get_pk_constraint(name)["constrained_columns"],
            }
            for name in look.get_table_names()
        } | {"by name": _index_names(session, store)}


def _index_names(session: Session, store: Store) -> set[str]:
    """The names of all indexes: SQLAlchemy's reflection passes over those on expressions in SQLite."""
    of_sqlite = "SELECT name FROM sqlite_master WHERE type = 'index' AND name NOT LIKE 'sqlite_%'"
    of_postgresql = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'"
    found = session.scalars(text(of_postgresql if store.postgresql else of_sqlite)).all()
    return {name for name in found if not name.startswith("alembic_version_")}


def _squeezed(sql: str) -> str:
    return " ".join(sql.split())


def _default(value: str | None) -> str | None:
    return value.strip("()") if value else value


def test_every_foreign_key_is_indexed(database_url: str, opened: Callable[..., Parts]) -> None:
    """Otherwise deleting a parent reads the whole child table."""
    store = opened(database_url).store
    with store.read() as session:
        look = inspect(session.connection())
        for name in CORE_TABLES:
            leading = [index["column_names"][0] for index in look.get_indexes(name) if index["column_names"]]
            leading += [unique["column_names"][0] for unique in look.get_unique_constraints(name)]
            leading += look.get_pk_constraint(name)["constrained_columns"][:1]
            for key in look.get_foreign_keys(name):
                assert key["constrained_columns"][0] in leading, f"{name}.{key['constrained_columns'][0]}"
                assert key["options"].get("ondelete"), f"{name}.{key['constrained_columns'][0]} has no ON DELETE"


def test_upgrading_twice_does_nothing_the_second_time(database_url: str, opened: Callable[..., Parts]) -> None:
    parts = opened(database_url)
    before = schema(parts.store)
    assert migrate.upgrade(parts.store, []) == []
    again = opened(database_url)
    assert schema(again.store) == before
    with again.store.read() as session:
        assert session.scalar(select(func.count()).select_from(deployment_rows)) == 1
        assert session.scalar(select(func.count()).select_from(node_rows)) == 1


def test_processes_that_start_at_once_upgrade_once(database_url: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_parts(tmp_path, database_url), range(4)))
    try:
        with opened[0].store.read() as session:
            assert session.scalar(select(func.count()).select_from(deployment_rows)) == 1
            version = migrate.version_table(migrate.CORE)
            assert session.scalar(text(f"SELECT count(*) FROM {version}")) == 1
    finally:
        for parts in opened:
            parts.close()


def test_a_schema_newer_than_the_program_is_refused_and_left_alone(
    database_url: str, opened: Callable[..., Parts]
) -> None:
    parts = opened(database_url)
    with parts.store.write() as session:
        session.execute(text(f"UPDATE {migrate.version_table(migrate.CORE)} SET version_num = '9999'"))
    before = schema(parts.store)
    with pytest.raises(ConfigError, match="9999"):
        migrate.upgrade(parts.store, [])
    assert schema(parts.store) == before


# ---------------------------------------------------------------- barclamps' own


FIRST = """
    revision = "1"
    down_revision = None

    def upgrade():
        op.create_table("addr_leases", sa.Column("id", sa.Integer, primary_key=True), sa.Column("address", sa.Text))
"""
SECOND = """
    revision = "2"
    down_revision = "1"

    def upgrade():
        op.add_column("addr_leases", sa.Column("until", sa.Text))
"""


class Packages:
    """Importable packages of migrations, written on the spot."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0

    def write(self, *versions: str) -> str:
        self._count += 1
        name = f"migrations_written_here_{self._count}"
        home = self._directory / name / "versions"
        home.mkdir(parents=True)
        (self._directory / name / "__init__.py").write_text('"""Migrations."""\n')
        for number, body in enumerate(versions, start=1):
            head = "import sqlalchemy as sa\nfrom alembic import op\n"
            (home / f"{number:04}.py").write_text(head + textwrap.dedent(body))
        return name


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    home = tmp_path / "packages"
    home.mkdir()
    monkeypatch.syspath_prepend(str(home))
    yield Packages(home)
    for name in [name for name in sys.modules if name.startswith("migrations_written_here")]:
        del sys.modules[name]


def addr(package: str) -> tuple[str, Plugin]:
    """The barclamp ``addr`` with tables of its own."""
    hooks = {"register_schema": lambda: Schema(migrations=package)}
    return "addr", Plugin([Role(name="addr-server")], name="addr", hooks=hooks)


def current(store: Store, name: str) -> str | None:
    with store.read() as session:
        found = session.execute(text(f"SELECT version_num FROM {migrate.version_table(name)}")).all()
        return str(found[0][0]) if found else None


def test_a_barclamp_has_its_own_tables_and_its_own_version(
    database_url: str, opened: Callable[..., Parts], packages: Packages
) -> None:
    parts = opened(database_url, addr(packages.write(FIRST)))
    assert {"addr_leases", "alembic_version_addr", "alembic_version_crowbar"} <= tables(parts.store)
    assert current(parts.store, "addr") == "1"
    core = current(parts.store, "crowbar")
    with parts.store.write() as session:
        session.execute(text("INSERT INTO addr_leases (id, address) VALUES (1, '10.0.0.1')"))
    later = opened(database_url, addr(packages.write(FIRST, SECOND)))
    assert current(later.store, "addr") == "2"
    assert current(later.store, "crowbar") == core
    with later.store.read() as session:
        assert session.execute(text("SELECT address, until FROM addr_leases")).all() == [("10.0.0.1", None)]


def test_without_the_barclamp_its_tables_stay_and_the_core_upgrades(
    database_url: str, opened: Callable[..., Parts], packages: Packages
) -> None:
    opened(database_url, addr(packages.write(FIRST)))
    parts = opened(database_url)
    assert "addr_leases" in tables(parts.store)
    assert migrate.upgrade(parts.store, []) == []


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(
            """
    revision = "2"
    down_revision = "1"

    def upgrade():
        op.add_column("addr_leases", sa.Column("until", sa.Text))
        op.create_table("addr_more", sa.Column("id", sa.Integer, primary_key=True))
        op.execute("UPDATE no_such_table SET x = 1")
""",
            id="a statement that fails",
        ),
        pytest.param(
            """
    revision = "2"
    down_revision = "1"

    def upgrade():
        op.add_column("addr_leases", sa.Column("until", sa.Text))
        raise KeyError("a bug in the migration")
""",
            id="a bug in the migration",
        ),
        pytest.param(
            """
    revision = "2"
    down_revision = "no such revision"

    def upgrade():
        pass
""",
            id="a broken chain",
        ),
        pytest.param("this is no Python", id="no Python"),
    ],
)
def test_a_failing_migration_of_a_barclamp_leaves_everything_as_it_was(
    database_url: str, opened: Callable[..., Parts], packages: Packages, broken: str
) -> None:
    parts = opened(database_url, addr(packages.write(FIRST)))
    with parts.store.write() as session:
        session.execute(text("INSERT INTO addr_leases (id, address) VALUES (1, '10.0.0.1')"))
    before = schema(parts.store)
    with pytest.raises(BarclampError, match="addr") as caught:
        migrate.upgrade(parts.store, [("addr", packages.write(FIRST, broken))])
    assert "\n" not in caught.value.detail
    assert schema(parts.store) == before
    assert current(parts.store, "addr") == "1"
    with parts.store.read() as session:
        assert session.scalar(text("SELECT count(*) FROM addr_leases")) == 1
    assert migrate.upgrade(parts.store, [("addr", packages.write(FIRST, SECOND))]) == ["addr"]


def test_migrations_that_are_no_package_are_refused_by_the_barclamps_name(
    database_url: str, opened: Callable[..., Parts]
) -> None:
    parts = opened(database_url)
    with pytest.raises(BarclampError, match=r"addr .* no_such_package"):
        migrate.upgrade(parts.store, [("addr", "no_such_package")])


def test_two_last_migrations_are_named_by_their_files(
    database_url: str, opened: Callable[..., Parts], packages: Packages
) -> None:
    parts = opened(database_url, addr(packages.write(FIRST)))
    astray = SECOND.replace('down_revision = "1"', "down_revision = None")
    assert astray != SECOND
    with pytest.raises(BarclampError) as caught:
        migrate.upgrade(parts.store, [("addr", packages.write(FIRST, astray))])
    said = caught.value.detail
    assert re.search(r"more than one is the last: \S+\.py \(1\), \S+\.py \(2\); each but the first names", said), said
    assert "alembic" not in said
    assert ".." not in said


def test_a_migration_that_fails_is_named_with_its_file_and_line(
    database_url: str, opened: Callable[..., Parts], packages: Packages
) -> None:
    parts = opened(database_url, addr(packages.write(FIRST)))
    twice = SECOND.replace("def upgrade():", "def upgrade():\n        op.create_table('addr_leases')")
    with pytest.raises(BarclampError, match=r"cannot be upgraded from 1, in \S*2\S*\.py, line \d+: .*already exists"):
        migrate.upgrade(parts.store, [("addr", packages.write(FIRST, twice))])


def test_purging_a_barclamp_drops_its_tables_and_nothing_else(
    database_url: str, opened: Callable[..., Parts], packages: Packages
) -> None:
    parts = opened(database_url, addr(packages.write(FIRST)))
    before = tables(parts.store)
    assert migrate.purge(parts.store, "addr") == ["addr_leases", "alembic_version_addr"]
    assert before - tables(parts.store) == {"addr_leases", "alembic_version_addr"}
    with pytest.raises(NotFound):
        migrate.purge(parts.store, "addr")
    # A barclamp that happens to be called like the beginning of the core's tables takes none of them along.
    for name in ("node", "run", "deployment"):
        with pytest.raises(NotFound):
            migrate.purge(parts.store, name)
    assert migrate.upgrade(parts.store, [("addr", packages.write(FIRST))]) == ["addr"]


# ---------------------------------------------------------------- the copy


def test_on_sqlite_the_database_is_copied_before_its_schema_changes(
    sqlite_url: str, opened: Callable[..., Parts], packages: Packages, tmp_path: Path
) -> None:
    copy = tmp_path / "crowbar.db.before-upgrade"
    opened(sqlite_url)
    assert not copy.exists(), "there was nothing to copy"
    opened(sqlite_url)
    assert not copy.exists(), "nothing changed"
    opened(sqlite_url, addr(packages.write(FIRST)))
    with closing(sqlite3.connect(copy)) as kept:
        names = {row[0] for row in kept.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert kept.execute("SELECT count(*) FROM deployments").fetchone() == (1,)
    assert "nodes" in names
    assert "addr_leases" not in names


PARENTS = """
    revision = "1"
    down_revision = None

    def upgrade():
        op.create_table("addr_nets", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))
        op.create_table(
            "addr_leases",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("net", sa.Integer, sa.ForeignKey("addr_nets.id", ondelete="CASCADE"), nullable=False),
        )
        op.create_table(
            "addr_uses",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("lease", sa.Integer, sa.ForeignKey("addr_leases.id", ondelete="SET NULL")),
        )
"""
REBUILT = """
    revision = "2"
    down_revision = "1"

    def upgrade():
        with op.batch_alter_table("addr_nets", recreate="auto") as batch:
            batch.alter_column("name", existing_type=sa.Text(), nullable=False)
        with op.batch_alter_table("addr_leases", recreate="auto") as batch:
            batch.create_check_constraint("one_net", "net > 0")
"""
ORPHANS = """
    revision = "2"
    down_revision = "1"

    def upgrade():
        op.execute("DELETE FROM addr_nets")
"""


def filled(parts: Parts) -> None:
    with parts.store.write() as session:
        for statement in (
            "INSERT INTO addr_nets (id, name) VALUES (1, 'admin')",
            "INSERT INTO addr_leases (id, net) VALUES (1, 1), (2, 1)",
            "INSERT INTO addr_uses (id, lease) VALUES (1, 1), (2, 2)",
        ):
            session.execute(text(statement))


def held(store: Store) -> list[tuple[int, int]]:
    with store.read() as session:
        found = session.execute(text("SELECT u.id, l.net FROM addr_uses u JOIN addr_leases l ON l.id = u.lease"))
        return sorted((row[0], row[1]) for row in found)


def test_a_table_that_is_made_anew_keeps_what_refers_to_it(
    database_url: str, opened: Callable[..., Parts], packages: Packages
) -> None:
    filled(opened(database_url, addr(packages.write(PARENTS))))
    later = opened(database_url, addr(packages.write(PARENTS, REBUILT)))
    assert current(later.store, "addr") == "2"
    assert held(later.store) == [(1, 1), (2, 1)]
    with later.store.write() as session:  # and what refers to it still goes with it
        session.execute(text("DELETE FROM addr_nets"))
        assert session.execute(text("SELECT count(*) FROM addr_leases")).scalar() == 0
        assert session.execute(text("SELECT count(*) FROM addr_uses WHERE lease IS NULL")).scalar() == 2


def test_a_migration_that_would_leave_rows_without_their_parents_is_refused(
    sqlite_url: str, opened: Callable[..., Parts], packages: Packages
) -> None:
    parts = opened(sqlite_url, addr(packages.write(PARENTS)))
    filled(parts)
    with pytest.raises(BarclampError, match="2 rows of addr_leases that refer to rows of addr_nets which are gone"):
        migrate.upgrade(parts.store, [("addr", packages.write(PARENTS, ORPHANS))])
    assert current(parts.store, "addr") == "1"
    assert held(parts.store) == [(1, 1), (2, 1)]


def one_table(name: str, refers: str = "") -> str:
    column = f", sa.Column('other', sa.Integer, sa.ForeignKey('{refers}.id', ondelete='CASCADE'))" if refers else ""
    return f"""
    revision = "1"
    down_revision = None

    def upgrade():
        op.create_table("{name}", sa.Column("id", sa.Integer, primary_key=True){column})
"""


def test_a_purge_takes_the_tables_of_one_barclamp_and_not_of_one_whose_name_begins_with_the_same(
    database_url: str, opened: Callable[..., Parts], packages: Packages
) -> None:
    store = opened(database_url).store
    migrate.upgrade(
        store,
        [
            ("net", packages.write(one_table("net_hosts"))),
            ("net-extra", packages.write(one_table("net_extra_hosts"))),
            ("racks", packages.write(one_table("racks"))),
            ("other", packages.write(one_table("other_hosts", refers="net_extra_hosts"))),
        ],
    )
    assert migrate.purge(store, "net") == ["alembic_version_net", "net_hosts"]
    assert {"net_extra_hosts", "alembic_version_net_extra"} <= tables(store)
    for name in ("alembic", "alembic-version", "crowbar", "node", "net"):
        with pytest.raises(NotFound):
            migrate.purge(store, name)
    with pytest.raises(Refused, match="Table other_hosts refers to net_extra_hosts"):
        migrate.purge(store, "net-extra")
    assert migrate.purge(store, "other") == ["alembic_version_other", "other_hosts"]
    assert migrate.purge(store, "net-extra") == ["alembic_version_net_extra", "net_extra_hosts"]
    assert migrate.purge(store, "racks") == ["alembic_version_racks", "racks"]
    assert current(store, "crowbar")
