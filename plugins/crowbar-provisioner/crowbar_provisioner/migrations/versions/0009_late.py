"""Until when a boot that was ordered is waited for."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import UtcDateTime

revision, down_revision = "provisioner0009", "provisioner0008"


def upgrade() -> None:
    op.add_column("provisioner_machines", sa.Column("late_until", UtcDateTime))
