"""Machines that are being written an image, in the order in which they began: each may take it from an earlier one."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import UtcDateTime

revision, down_revision = "provisioner0012", "provisioner0011"


def upgrade() -> None:
    op.create_table(
        "provisioner_copies",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "install_id", sa.Integer, sa.ForeignKey("provisioner_installs.id", ondelete="CASCADE"), nullable=False,
            unique=True,
        ),
        # In another boot it begins anew, and at the end of the row.
        sa.Column("boot_id", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, index=True),
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("address", sa.String(45), nullable=False),
        # The copy that it is taken from: none, the boot service.
        sa.Column("from_id", sa.Integer),
        sa.Column("depth", sa.Integer, nullable=False, server_default="0"),
        sa.Column("heard_at", UtcDateTime, nullable=False),
        # From whom it came, as the machine says.
        sa.Column("came", sa.String(500), nullable=False, server_default=""),
        sqlite_autoincrement=True,
    )  # fmt: skip
