"""Who claims which address: what operators hinted and nodes reported so far are the first claims."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from crowbar_core.barclamp import Hint
from crowbar_core.domain.addresses import Hints, reported
from crowbar_core.store.models import Data, UtcDateTime

revision = "0004"
down_revision = "0003"

HINTS = Hints(Hint(name=f"hint-*-v{version}addr", of="ipv4", network="*") for version in (4, 6))


def upgrade() -> None:
    op.create_table(
        "address_claims",
        sa.Column("node_id", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("source IN ('hint', 'report')", name=op.f("ck_address_claims_source")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_address_claims_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("node_id", "address", name=op.f("pk_address_claims")),
    )
    op.create_index("ix_address_claims_first", "address_claims", ["address", "source", "since", "node_id"])
    nodes = sa.table("nodes", sa.column("id"), sa.column("hint", Data), sa.column("discovery", Data))
    names = ("node_id", "address", "source")
    claims = sa.table("address_claims", *(sa.column(name) for name in names), sa.column("since", UtcDateTime()))
    now = datetime.now(UTC)
    rows = [
        dict(zip(names, (row.id, address, source), strict=True)) | {"since": now}
        for row in op.get_bind().execute(sa.select(nodes))
        for address, source in (
            dict.fromkeys(reported(row.discovery), "report") | dict.fromkeys(HINTS.addresses(row.hint), "hint")
        ).items()
    ]
    if rows:
        op.bulk_insert(claims, rows)
