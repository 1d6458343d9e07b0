"""What BMCs say of the power of their machines: read every few minutes, of nodes on which provisioner-bmc is ACTIVE.

Many are read at once, so that one BMC that is slow does not hold up all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, insert, or_, select

from crowbar_core import CrowbarError, cluster
from crowbar_core.tables import node_roles, nodes, roles
from crowbar_provisioner import at_once
from crowbar_provisioner.bmc import BMC_ROLE
from crowbar_provisioner.tables import powers
from crowbar_provisioner.under_way import ACTIVE

EVERY = timedelta(minutes=5)
AT_ONCE = 16
MOST = 128
"""Nodes of which it is read in one minute."""


@dataclass(frozen=True, kw_only=True)
class Read:
    node_id: int
    state: str = ""
    problem: str = ""


def read_due() -> None:
    """Called once a minute."""
    with cluster().change() as change:
        due = _due(change.session, change.now)
    if not due:
        return
    found = at_once.asked(_read, due, most=AT_ONCE, name="power")
    with cluster().change() as change:
        still = set(change.session.scalars(select(nodes.c.id).where(nodes.c.id.in_([one.node_id for one in found]))))
        change.session.execute(delete(powers).where(powers.c.node_id.in_(still)))
        rows = [
            {"node_id": one.node_id, "state": one.state, "problem": one.problem, "read_at": change.now}
            for one in found
            if one.node_id in still
        ]
        if rows:
            change.session.execute(insert(powers), rows)


def _due(session: Any, now: datetime) -> Sequence[tuple[int, str]]:
    """Ids and names, those that were never read first."""
    asked = (
        select(nodes.c.id, nodes.c.name)
        .join(node_roles, node_roles.c.node_id == nodes.c.id)
        .join(roles, and_(roles.c.id == node_roles.c.role_id, roles.c.name == BMC_ROLE))
        .outerjoin(powers, powers.c.node_id == nodes.c.id)
        .where(
            node_roles.c.state == ACTIVE, or_(powers.c.read_at.is_(None), powers.c.read_at <= now - EVERY)
        )
        .order_by(powers.c.read_at.is_not(None), powers.c.read_at, nodes.c.id)
        .limit(MOST)
    )  # fmt: skip
    return [(one.id, one.name) for one in session.execute(asked).all()]


def _read(node_id: int, node: str) -> Read:
    try:
        return Read(node_id=node_id, state=cluster().power(node, "status")[:8])
    except CrowbarError as problem:
        return Read(node_id=node_id, problem=problem.detail[:500])


def of_node(session: Any, node_id: int) -> Any:
    """(state, problem, read_at), or None."""
    asked = select(powers.c.state, powers.c.problem, powers.c.read_at).where(powers.c.node_id == node_id)
    return session.execute(asked).first()
