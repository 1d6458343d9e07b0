"""What it answers when it is asked: addresses and data of many at once, and a run that touches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from crowbar_core import Done, Json, NodeRoleView, NodeView, Outcome, Task, cluster, hookimpl
from crowbar_core.tables import nodes as node_rows
from crowbar_example_addresses.pool import ADDRESS, HOSTS, Settings, held


@hookimpl
def addresses_of(nodes: Sequence[NodeView], session: Any) -> Mapping[int, Iterable[str]]:
    """An address counts when the node has it: when its role is done."""
    if not cluster().settings(Settings).network:
        return {}
    wanted = (held.c.node_id.in_([node.id for node in nodes]), held.c.use == "in use")
    return {row.node_id: [row.address] for row in session.execute(select(held).where(*wanted))}


@hookimpl(roles=(ADDRESS, HOSTS))
def data_of(node_roles: Sequence[NodeRoleView], session: Any) -> Mapping[int, Mapping[str, Json]]:
    names = select(held, node_rows.c.name).join(node_rows, node_rows.c.id == held.c.node_id).order_by(node_rows.c.name)
    rows = session.execute(names).all()
    own = {row.node_id: row.address for row in rows}
    listed = "".join(f"{row.address} {row.name}\n" for row in rows if row.use == "in use")
    return {
        one.id: {"example-addresses": {"all": listed} if one.role == HOSTS else {"own": own.get(one.node.id, "")}}
        for one in node_roles
    }


@hookimpl(roles=(ADDRESS, HOSTS))
def jig_run(task: Task) -> Outcome | None:
    """None: the role's jig shall do it."""
    if not cluster().settings(Settings).dry:
        return None
    task.log(f"dry: {task.role.name} would be set up on {task.node.name} with {dict(task.data)}")
    return Done()


def held_by(node: NodeView) -> Mapping[str, Json] | None:
    """What the node's page tells of its address."""
    with cluster().read() as session:
        found = session.execute(select(held).where(held.c.node_id == node.id)).one_or_none()
    if found is None:
        return None
    since = found.since.isoformat(timespec="minutes") if found.since else "not committed yet"
    told: dict[str, Json] = {"Address": found.address, "Use": found.use, "Held since": since}
    return told | ({"Problem": found.problem} if found.problem else {})
