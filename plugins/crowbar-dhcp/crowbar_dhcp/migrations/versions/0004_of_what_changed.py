"""Of which nodes something changed, and what servers were told of each MAC."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType

revision, down_revision = "dhcp0004", "dhcp0003"


def upgrade() -> None:
    # The ids of these rows are never given twice: a run clears those that it has seen, and no newer ones.
    op.create_table(
        "dhcp_marks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("node_id", sa.Integer, nullable=False, unique=True),
        sqlite_autoincrement=True,
    )
    # Without foreign keys: of a node that is gone it is still to be told that it is.
    op.create_table(
        "dhcp_told",
        sa.Column("node_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("mac", sa.String(17), primary_key=True, index=True),
        sa.Column("boot", sa.String(10), nullable=False, index=True),
        # Of all that is reserved for it; '' when that is nothing.
        sa.Column("sum", sa.String(64), nullable=False),
    )
    op.create_table(
        "dhcp_state",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="dhcp_one_state"), primary_key=True),
        # Of what is the same for all nodes, as it was when their rows were written; '' when that is not known.
        sa.Column("base", sa.String(64), nullable=False),
        sa.Column("boots", JsonType, nullable=False),
    )
    op.execute("INSERT INTO dhcp_state (id, base, boots) VALUES (1, '', '{}')")
    op.add_column("dhcp_hosts", sa.Column("domain", sa.String(255), nullable=False, server_default=""))
    op.create_index("ix_dhcp_hosts_domain", "dhcp_hosts", ["domain"])
    # By which node's rows a fault was found; null for one of a network.
    op.add_column("dhcp_faults", sa.Column("node_id", sa.Integer, nullable=True))
    op.create_index("ix_dhcp_faults_node", "dhcp_faults", ["node_id"])


def downgrade() -> None:
    op.drop_index("ix_dhcp_faults_node", "dhcp_faults")
    op.drop_column("dhcp_faults", "node_id")
    op.drop_index("ix_dhcp_hosts_domain", "dhcp_hosts")
    op.drop_column("dhcp_hosts", "domain")
    for table in ("dhcp_state", "dhcp_told", "dhcp_marks"):
        op.drop_table(table)
