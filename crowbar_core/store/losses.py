"""What hangs on an object, and would go or have to wait if it were acted upon."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from crowbar_core.domain.states import OPEN_RUN_STATES, PROPOSED
from crowbar_core.errors import or_missing
from crowbar_core.store.db import Store
from crowbar_core.store.models import (
    Deployment,
    DeploymentRole,
    Edge,
    Group,
    HammerRow,
    Node,
    NodeGroup,
    NodeRole,
    RoleRow,
    Run,
    Token,
    User,
    table,
)

nodes, node_roles, roles, edges, runs = table(Node), table(NodeRole), table(RoleRow), table(Edge), table(Run)
deployment_roles, members, tokens = table(DeploymentRole), table(NodeGroup), table(Token)

What = Literal["node", "deployment", "group", "user", "hammer"]
_TABLES: Final = {
    "node": nodes, "deployment": table(Deployment), "group": table(Group), "user": table(User),
    "hammer": table(HammerRow),
}  # fmt: skip


def row(session: Session, what: What, key: int) -> Any:
    """The whole row of one of these. Raises ``NotFound``."""
    source = _TABLES[what]
    return or_missing(session.execute(select(source).where(source.c.id == key)).one_or_none(), what, key)


def on_node(session: Session, node_id: int, *, committed: bool = False) -> list[int]:
    """The noderoles of a node; ``committed``: without those that are proposed."""
    where = (node_roles.c.state != int(PROPOSED),) if committed else ()
    return _ids(session, node_roles.c.node_id == node_id, *where)


def all_new(session: Session, store: Store, ids: Collection[int]) -> bool:
    """Whether all of these noderoles are proposed and have never run."""
    used = or_(node_roles.c.state != int(PROPOSED), node_roles.c.run_count > 0)
    return not _ids(session, store.ids(node_roles.c.id, ids), used)


def _ids(session: Session, *where: ColumnElement[bool]) -> list[int]:
    return list(session.scalars(select(node_roles.c.id).where(*where)).all())


def nodes_handed_on(session: Session, deployment_id: int) -> list[str]:
    """The machines that are in a deployment."""
    mine = select(nodes.c.name).where(nodes.c.deployment_id == deployment_id, ~nodes.c.system)
    return list(session.scalars(mine.order_by(nodes.c.name_key)))


def roles_with_values(session: Session, deployment_id: int) -> list[str]:
    """The roles that were added to a deployment."""
    return list(
        session.scalars(
            select(roles.c.name)
            .join(deployment_roles, deployment_roles.c.role_id == roles.c.id)
            .where(deployment_roles.c.deployment_id == deployment_id)
            .order_by(roles.c.name_key)
        )
    )


def members_of(session: Session, group_id: int) -> list[str]:
    """The nodes in a group."""
    return list(
        session.scalars(
            select(nodes.c.name)
            .join(members, members.c.node_id == nodes.c.id)
            .where(members.c.group_id == group_id)
            .order_by(nodes.c.name_key)
        )
    )


def tokens_of(session: Session, user_id: int) -> list[str]:
    """The names of a user's tokens; a name may be empty."""
    mine = select(tokens.c.name).where(tokens.c.user_id == user_id)
    return list(session.scalars(mine.order_by(tokens.c.name, tokens.c.id)))


def any_destructive_left(session: Session) -> bool:
    """Whether a noderole of a destructive role is still to succeed."""
    left = select(node_roles.c.id).join(roles, roles.c.id == node_roles.c.role_id)
    return session.scalar(left.where(roles.c.destructive, ~node_roles.c.done).limit(1)) is not None


def by_role(session: Session, store: Store, ids: Collection[int]) -> dict[str, list[str]]:
    """Role -> the nodes of these noderoles, in the order in which the roles come."""
    found: dict[str, list[str]] = {}
    if ids:
        rows = session.execute(
            select(roles.c.name.label("role"), nodes.c.name.label("node"))
            .select_from(node_roles)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .join(nodes, nodes.c.id == node_roles.c.node_id)
            .where(store.ids(node_roles.c.id, ids))
            .order_by(node_roles.c.cohort, roles.c.name_key, nodes.c.name_key)
        )
        for one in rows:
            found.setdefault(one.role, []).append(one.node)
    return found


def destructive(session: Session, store: Store, ids: Collection[int], *, done: bool = False) -> set[int]:
    """Those of destructive roles; ``done``: that have succeeded. These are passed over, and do not run again."""
    if not ids:
        return set()
    query = (
        select(node_roles.c.id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(store.ids(node_roles.c.id, ids), roles.c.destructive)
    )
    return set(session.scalars(query.where(node_roles.c.done) if done else query).all())


def below(session: Session, store: Store, ids: Collection[int]) -> set[int]:
    """All committed descendants, without ``ids`` themselves."""
    seen, frontier = set(ids), set(ids)
    while frontier:
        rows = session.scalars(
            select(edges.c.child_id)
            .join(node_roles, node_roles.c.id == edges.c.child_id)
            .where(
                store.ids(edges.c.parent_id, frontier),
                or_(node_roles.c.state != int(PROPOSED), node_roles.c.run_count > 0),
            )
        )
        frontier = set(rows) - seen
        seen |= frontier
    return seen - set(ids)


def open_runs(
    session: Session, store: Store, *, node_id: int | None = None, deployment_id: int | None = None,
    ids: Collection[int] = (),
) -> list[Any]:  # fmt: skip
    """(id, node, role) of open runs: of a node, of a deployment, or of these noderoles."""
    query = (
        select(runs.c.id, nodes.c.name.label("node"), roles.c.name.label("role"))
        .join(node_roles, node_roles.c.id == runs.c.node_role_id)
        .join(nodes, nodes.c.id == runs.c.node_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(runs.c.state.in_([str(state) for state in OPEN_RUN_STATES]))
        .order_by(runs.c.id)
    )
    if node_id is not None:
        query = query.where(runs.c.node_id == node_id)
    elif deployment_id is not None:
        query = query.where(node_roles.c.deployment_id == deployment_id)
    else:
        query = query.where(store.ids(node_roles.c.id, ids))
    return list(session.execute(query))
