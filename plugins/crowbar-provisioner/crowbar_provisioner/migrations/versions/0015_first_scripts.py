"""Which scripts a server gives by TFTP: none, until its role has run again."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType

revision, down_revision = "provisioner0015", "provisioner0014"


def upgrade() -> None:
    op.add_column("provisioner_servers", sa.Column("scripts", JsonType, nullable=False, server_default="[]"))
