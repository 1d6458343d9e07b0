"""What a server has is written down twice, before it is told and after: on PostgreSQL there is room beside each row, so
that the second time no index is written.
"""

from alembic import op

revision, down_revision = "dns0004", "dns0003"


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE dns_served SET (fillfactor = 45)")


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE dns_served RESET (fillfactor)")
