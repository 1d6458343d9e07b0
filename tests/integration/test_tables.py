"""The core's tables, as barclamps read them, and what their own tables may refer to in them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import ArgumentError

from crowbar_core import Barclamp, Role, Schema, hookimpl
from crowbar_core.tables import deployments, node_roles, nodes, roles
from crowbar_core.testing import Testbed, check_barclamp

MIGRATION = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0001", None
def upgrade():
    op.create_table("keeper_things", sa.Column("id", sa.Integer(), primary_key=True),
                    sa.Column("node_id", sa.Integer(), sa.ForeignKey("nodes.id"{ondelete})))
"""


class Plain:
    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="plain", roles=(Role(name="plain-role", jig="noop"),))


@pytest.fixture
def bed(ready_database: str) -> Iterator[Testbed]:
    with Testbed(Plain(), database_url=ready_database) as made:
        yield made


def test_the_cores_tables_are_read_and_joined(bed: Testbed) -> None:
    bed.add_node("n2", discovery={"serial": "S2"}, bootenv="debian-13")
    bed.add_node("n10", discovery={"serial": "S10"})
    bed.bind("plain-role", "n2")
    bound = (
        select(nodes.c.name, roles.c.name, deployments.c.name, nodes.c.bootenv)
        .select_from(node_roles)
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(deployments, deployments.c.id == node_roles.c.deployment_id)
    )
    with bed.read() as session:
        assert session.execute(bound).all() == [("n2.example.test", "plain-role", "system", "debian-13")]
        by_serial = select(nodes.c.name).where(nodes.c.discovery["serial"].as_string() == "S10")
        assert session.scalars(by_serial).all() == ["n10.example.test"]
        mine = select(nodes.c.name).where(~nodes.c.system).order_by(nodes.c.name_key)
        assert session.scalars(mine).all() == ["n2.example.test", "n10.example.test"]
        made: Any = session.scalar(select(nodes.c.created_at).limit(1))
        assert made.tzinfo is not None


def test_the_cores_tables_are_not_written_to() -> None:
    for statement in (update, insert, delete):
        with pytest.raises(ArgumentError):
            statement(nodes)  # type: ignore[arg-type]


@pytest.mark.parametrize("ondelete, allowed", [("CASCADE", True), ("SET NULL", True), ("RESTRICT", False), ("", False)])
def test_a_foreign_key_that_keeps_a_node_from_going_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ondelete: str, allowed: bool
) -> None:
    package = f"keeper_{ondelete.replace(' ', '_').lower() or 'plain'}"
    (tmp_path / package / "versions").mkdir(parents=True)
    (tmp_path / package / "__init__.py").touch()
    written = f', ondelete="{ondelete}"' if ondelete else ""
    (tmp_path / package / "versions" / "0001_things.py").write_text(MIGRATION.replace("{ondelete}", written))
    monkeypatch.syspath_prepend(str(tmp_path))

    class Keeper:
        @hookimpl
        def register_barclamp(self) -> Barclamp:
            return Barclamp(name="keeper")

        @hookimpl
        def register_schema(self) -> Schema:
            return Schema(migrations=package)

    said = [one.detail for one in check_barclamp(Keeper()) if "foreign key" in one.detail]
    assert said == ([] if allowed else [
        "Its foreign key keeper_things.node_id to nodes.id keeps what it refers to from being deleted: make it ON "
        "DELETE CASCADE or SET NULL."
    ])  # fmt: skip
    sys.modules.pop(package, None)
