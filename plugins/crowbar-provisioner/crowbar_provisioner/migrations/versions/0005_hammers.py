"""Where a machine said that its BMC is, and whether it was given that as a hammer."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "provisioner0005", "provisioner0004"


def upgrade() -> None:
    op.add_column("provisioner_machines", sa.Column("bmc_address", sa.String(500), nullable=False, server_default=""))
    op.add_column("provisioner_machines", sa.Column("bmc_given", sa.Boolean, nullable=False, server_default=sa.false()))
