"""Machines and their cards, their boots, what happened to them, rules of acceptance, installations, boot servers."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType, UtcDateTime

revision, down_revision = "provisioner0001", None


def upgrade() -> None:
    op.create_table(
        "provisioner_machines",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="CASCADE"), nullable=False, unique=True),
        # '' where the firmware says none, or one that many have.
        sa.Column("uuid", sa.String(36), nullable=False, server_default=""),
        sa.Column("serial", sa.String(255), nullable=False, server_default=""),
        sa.Column("state", sa.String(16), nullable=False),
        # By whom it was accepted or refused.
        sa.Column("decided_by", sa.String(255), nullable=False, server_default=""),
        sa.Column("firmware", sa.String(8), nullable=False, server_default=""),
        sa.Column("source", sa.String(45), nullable=False, server_default=""),
        # Until when a boot of it is taken for its own.
        sa.Column("expected_until", UtcDateTime),
        # The boot that says to be this machine, and that nobody expected.
        sa.Column("claim_id", sa.Integer),
        sa.Column("problem", sa.Text, nullable=False, server_default=""),
        sa.Column("first_seen", UtcDateTime, nullable=False),
        sa.Column("last_seen", UtcDateTime, nullable=False),
        sa.CheckConstraint("state IN ('quarantined', 'accepted', 'refused')", name="ck_provisioner_machines_state"),
    )
    for column in ("uuid", "serial"):
        there = sa.text(f"{column} <> ''")
        op.create_index(
            f"uq_provisioner_machines_{column}", "provisioner_machines", [column], unique=True,
            sqlite_where=there, postgresql_where=there,
        )  # fmt: skip
    machine = sa.ForeignKey("provisioner_machines.id", ondelete="CASCADE")
    op.create_table(
        "provisioner_macs",
        sa.Column("mac", sa.String(17), primary_key=True),
        sa.Column("machine_id", sa.Integer, machine, nullable=False, index=True),
    )
    op.create_table(
        "provisioner_boots",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("machine_id", sa.Integer, sa.ForeignKey("provisioner_machines.id", ondelete="CASCADE"), index=True),
        sa.Column("mac", sa.String(17), nullable=False, index=True),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("serial", sa.String(255), nullable=False),
        sa.Column("firmware", sa.String(8), nullable=False),
        sa.Column("env", sa.String(64), nullable=False),
        sa.Column("source", sa.String(45), nullable=False),
        sa.Column("begun_at", UtcDateTime, nullable=False, index=True),
        sa.Column("ends_at", UtcDateTime, nullable=False),
        sa.Column("registered_at", UtcDateTime),
        # Whether what it reports is taken for the machine's own.
        sa.Column("trusted", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("revoked", sa.Boolean, nullable=False, server_default=sa.false()),
        # What an unexpected boot reported, until somebody accepts it.
        sa.Column("report", JsonType, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "provisioner_happenings",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "machine_id", sa.Integer, sa.ForeignKey("provisioner_machines.id", ondelete="CASCADE"), nullable=False,
            index=True,
        ),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("what", sa.String(64), nullable=False),
        sa.Column("detail", sa.String(500), nullable=False, server_default=""),
    )  # fmt: skip
    op.create_table(
        "provisioner_rules",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("subnet", sa.String(43), nullable=False, server_default=""),
        sa.Column("mac_prefix", sa.String(17), nullable=False, server_default=""),
        sa.Column("serials", JsonType, nullable=False),
    )
    op.create_table(
        "provisioner_installs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("run_id", sa.Integer, nullable=False, unique=True),
        # By which the installer knows it.
        sa.Column("work", sa.String(43), nullable=False, unique=True),
        sa.Column("os", sa.String(64), nullable=False),
        sa.Column("disk", JsonType, nullable=False),
        sa.Column("image", JsonType, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("step", sa.String(32), nullable=False, server_default=""),
        sa.Column("percent", sa.Integer, nullable=False, server_default="0"),
        sa.Column("detail", sa.String(500), nullable=False, server_default=""),
        sa.Column("host_keys", JsonType, nullable=False),
        # The last boot before its own.
        sa.Column("after_boot", sa.Integer, nullable=False, server_default="0"),
        sa.Column("begun_at", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime),
    )
    op.create_table(
        "provisioner_servers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "node_role_id", sa.Integer, sa.ForeignKey("node_roles.id", ondelete="CASCADE"), nullable=False, unique=True
        ),
        sa.Column("addresses", JsonType, nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
    )
