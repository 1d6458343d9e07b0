"""What runs on machines have in common while they are under way: what is open of them, and what they wait for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table, and_, select, update

from crowbar_core import Change, CrowbarError, NodeView, Pending, PermanentError, Task, cluster
from crowbar_core.tables import node_roles, roles
from crowbar_provisioner import boots, powering
from crowbar_provisioner.choosing import DISCOVERY
from crowbar_provisioner.machines import Machine

ACTIVE, TRANSITION = 0, 2
"""States of noderoles."""
SERVE_SECONDS = 300.0


def open_on(session: Any, table: Table, states: Sequence[str], node_id: int, *, role: str) -> int | None:
    """The run of which something is open on the node, while the noderole of that role is in transition."""
    asked = (
        select(table.c.run_id)
        .join(node_roles, node_roles.c.node_id == table.c.node_id)
        .join(roles, and_(roles.c.id == node_roles.c.role_id, roles.c.name == role))
        .where(table.c.node_id == node_id, table.c.state.in_(states), node_roles.c.state == TRANSITION)
        .order_by(table.c.id.desc())
        .limit(1)
    )
    found: int | None = session.scalar(asked)
    return found


def give_up(change: Change, table: Table, states: Sequence[str], node_id: int, why: str, *, but: int = 0) -> None:
    """What is open on the node has failed, unless it is of the run ``but``."""
    left = (table.c.node_id == node_id, table.c.state.in_(states), table.c.run_id != but)
    change.session.execute(update(table).where(*left).values(state="failed", detail=why[:500], ended_at=change.now))


def is_in_image(node: NodeView, machine: Machine) -> bool:
    """Whether it runs the discovery image, in a boot that is its own."""
    with cluster().read() as session:
        last = boots.last_of(session, machine.id)
    return (
        last is not None and last.env == DISCOVERY == node.bootenv and node.alive
        and bool(last.trusted and not last.revoked and last.registered_at is not None)
    )  # fmt: skip


def restart(task: Task, step: str) -> None:
    """Into what it is to boot from the network, now. Raises ``PermanentError``."""
    try:
        task.log(powering.into_network(task.node.name, task.log))
    except CrowbarError as problem:
        raise PermanentError(f"In the step {step}: the node could not be reset: {problem.detail}") from None


def pending(task: Task, step: str, seconds: float | None, reason: str) -> Pending:
    """It waits in this step. In the step that it is in already, the deadline stays where it was."""
    known = task.step if isinstance(task.step, Mapping) and task.step.get("name") == step else {}
    return pending_until(float(known.get("until") or time.time() + (seconds or SERVE_SECONDS)), step, reason)


def pending_until(until: float, step: str, reason: str) -> Pending:
    left = max(1.0, until - time.time())
    return Pending(deadline=left, reason=reason, step={"name": step, "until": round(until, 3)})
