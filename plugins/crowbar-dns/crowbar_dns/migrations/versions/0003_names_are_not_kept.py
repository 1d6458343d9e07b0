"""Names that have changed are told in the run that finds them, which ``sending`` guards: they need no table."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "dns0003", "dns0002"


def upgrade() -> None:
    op.drop_table("dns_changed_names")


def downgrade() -> None:
    op.create_table(
        "dns_changed_names",
        sa.Column("service_id", sa.Integer, sa.ForeignKey("dns_services.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
    )
