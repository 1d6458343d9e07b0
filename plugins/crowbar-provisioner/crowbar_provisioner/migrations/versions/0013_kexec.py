"""Installations that go on by kexec, and machines that their firmware has not started from their disk since."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import UtcDateTime

revision, down_revision = "provisioner0013", "provisioner0012"


def upgrade() -> None:
    op.add_column("provisioner_installs", sa.Column("kexec", sa.String(8), nullable=False, server_default=""))
    # The boot id of the discovery image that was left.
    op.add_column("provisioner_installs", sa.Column("left_boot", sa.String(36), nullable=False, server_default=""))
    op.add_column("provisioner_machines", sa.Column("kexec_since", UtcDateTime))
    op.add_column("provisioner_machines", sa.Column("kexec_boot", sa.String(36), nullable=False, server_default=""))
