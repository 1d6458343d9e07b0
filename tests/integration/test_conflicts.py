"""A rule of a table that is broken is told in plain words: whose table, which rule, who still refers to what."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from crowbar_core import Barclamp, NodeRoleView, Role, Schema, hookimpl
from crowbar_core.errors import BarclampError, Refused
from crowbar_core.services.cluster import binding, nodes
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import SYSTEM
from tests.integration.cluster import open_parts

MIGRATION = """
    import sqlalchemy as sa
    from alembic import op

    revision = "1"
    down_revision = None

    def upgrade():
        op.create_table(
            "addr_leases",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("address", sa.Text, nullable=False),
            sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="RESTRICT")),
            sa.CheckConstraint("address <> 'bad'", name="good_address"),
            sa.UniqueConstraint("address", name="one_lease"),
        )
"""


class Addr:
    """A barclamp that writes into a table of its own whatever ``statement`` says, when a role is bound."""

    statement = ""

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="addr", roles=(Role(name="addr-server"),))

    @hookimpl
    def register_schema(self) -> Schema:
        return Schema(migrations="migrations_of_addr_here")

    @hookimpl
    def on_node_bind(self, node_role: NodeRoleView, session: Any) -> None:
        session.execute(text(self.statement), {"node": node_role.node.id})


@pytest.fixture
def addr() -> Addr:
    return Addr()


@pytest.fixture
def parts(ready_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, addr: Addr) -> Iterator[Parts]:
    home = tmp_path / "packages" / "migrations_of_addr_here" / "versions"
    home.mkdir(parents=True)
    (home.parent / "__init__.py").write_text('"""Migrations."""\n')
    (home / "0001.py").write_text(textwrap.dedent(MIGRATION))
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    made = open_parts(tmp_path, ready_database, [("addr", addr)])
    with made.store.write() as session:
        session.execute(text("INSERT INTO addr_leases (address) VALUES ('10.0.0.1')"))
    yield made
    made.close()


def bind(parts: Parts, name: str) -> int:
    node_id = nodes.create_node(parts, SYSTEM, name=name)
    with parts.store.read() as session:
        role = session.execute(text("SELECT id FROM roles WHERE name = 'addr-server'")).scalar_one()
    binding.bind(parts, SYSTEM, node_id=node_id, role_id=role)
    return node_id


Attempt = Callable[[], Any]


def said(attempt: Attempt, kind: type[Exception] = Refused) -> str:
    with pytest.raises(kind) as caught:
        attempt()
    detail: str = caught.value.detail  # type: ignore[attr-defined]
    for sql in ("INSERT", "DELETE", "SELECT", "psycopg2", "sqlite3", "10.0.0.1", "\n", "sqlalche"):
        assert sql not in detail, detail
    return detail


@pytest.mark.parametrize(
    "statement, says",
    [
        (
            "INSERT INTO addr_leases (address) VALUES ('10.0.0.1')",
            "There is a row of addr_leases (of barclamp addr) with the same address already.",
        ),
        (
            "INSERT INTO addr_leases (node_id) VALUES (:node)",
            "A row of addr_leases (of barclamp addr) needs its address.",
        ),
        (
            "INSERT INTO addr_leases (address) VALUES ('bad')",
            "addr_leases (of barclamp addr) does not allow it, by its rule good_address.",
        ),
        (
            "INSERT INTO addr_leases (address, node_id) VALUES ('10.0.0.9', 999)",
            "addr_leases (of barclamp addr) would refer to something in ",
        ),
    ],
    ids=("unique", "needed", "rule", "absent"),
)  # fmt: skip
def test_what_a_barclamps_own_table_does_not_allow_is_said_in_plain_words(
    parts: Parts, addr: Addr, statement: str, says: str
) -> None:
    addr.statement = statement
    detail = said(lambda: bind(parts, "web1.rack.example.com"))
    assert detail.startswith(f"Barclamp addr, in on_node_bind: {says}"), detail
    assert detail.endswith(" Nothing was changed.")


def test_what_a_barclamp_still_refers_to_is_not_destroyed_and_who_refers_is_said(parts: Parts, addr: Addr) -> None:
    addr.statement = "INSERT INTO addr_leases (address, node_id) VALUES ('10.0.0.5', :node)"
    node_id = bind(parts, "web1.rack.example.com")
    free = nodes.create_node(parts, SYSTEM, name="web2.rack.example.com")
    detail = said(lambda: nodes.delete_node(parts, SYSTEM, node_id))
    assert detail == "addr_leases (of barclamp addr) still refers to it. Remove that first. Nothing was changed."
    nodes.delete_node(parts, SYSTEM, free)


def test_another_error_of_the_database_shows_no_statement_either(parts: Parts, addr: Addr) -> None:
    addr.statement = "INSERT INTO addr_no_such_table (address) VALUES ('10.0.0.1')"
    detail = said(lambda: bind(parts, "web1.rack.example.com"), BarclampError)
    assert "Barclamp addr failed in on_node_bind" in detail
    assert "addr_no_such_table" in detail
