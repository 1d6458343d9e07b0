"""When a machine came later than expected, and was taken for itself: not only in its timeline."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import UtcDateTime

revision, down_revision = "provisioner0014", "provisioner0013"


def upgrade() -> None:
    op.add_column("provisioner_machines", sa.Column("came_late_at", UtcDateTime))
    # The end of that line is what said it before.
    op.execute(
        "UPDATE provisioner_machines SET came_late_at = (SELECT max(at) FROM provisioner_happenings WHERE machine_id = "
        "provisioner_machines.id AND what = 'boots' AND detail LIKE '%; later than expected')"
    )
