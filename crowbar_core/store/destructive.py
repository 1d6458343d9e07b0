"""Destructive work, as it is kept: done, or halfway, and when a mark of its success is to be looked for."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from crowbar_core.domain.states import ERROR, RunState
from crowbar_core.store.db import Store
from crowbar_core.store.models import Deployment, Node, NodeRole, RoleRow, Run, table
from crowbar_core.store.transitions import new_token

node_roles, nodes, roles, runs = table(NodeRole), table(Node), table(RoleRow), table(Run)
deployments = table(Deployment)


def under_way(session: Session, node_id: int) -> list[int]:
    """The destructive noderoles that a worker may be at work on, on this node."""
    return list(
        session.scalars(
            select(runs.c.node_role_id)
            .join(node_roles, node_roles.c.id == runs.c.node_role_id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(
                runs.c.node_id == node_id,
                runs.c.state.in_((str(RunState.RUNNING), str(RunState.CANCELLING))),
                ~runs.c.refresh,
                roles.c.destructive,
            )
        )
    )


def token_in_doubt(session: Session, node_role_id: int, run_id: int) -> str:
    """The binding's token, if this is the last run of destructive work whose fate is unknown; else empty."""
    last = select(func.max(runs.c.id)).where(runs.c.node_role_id == node_role_id).scalar_subquery()
    found = session.scalar(
        select(node_roles.c.once)
        .join(runs, runs.c.node_role_id == node_roles.c.id)
        .where(
            node_roles.c.id == node_role_id, node_roles.c.halfway, ~node_roles.c.done, runs.c.id == run_id,
            runs.c.id == last, runs.c.finished_at.is_not(None),
        )
    )  # fmt: skip
    return found or ""


def mark_halfway(session: Session, store: Store, now: datetime, ids: Collection[int]) -> set[int]:
    """Mark those of these that are not known to have ended well. Returns them."""
    marked = (
        update(node_roles)
        .where(store.ids(node_roles.c.id, ids), ~node_roles.c.done)
        .values(halfway=True, look_at=now)
        .returning(node_roles.c.id)
    )
    return set(session.scalars(marked))


def not_done(session: Session, store: Store, ids: Collection[int]) -> list[int]:
    """Those of these that are not known to have ended well."""
    return list(session.scalars(select(node_roles.c.id).where(store.ids(node_roles.c.id, ids), ~node_roles.c.done)))


def in_doubt(session: Session, store: Store, ids: Collection[int]) -> list[int]:
    """Those of these that are in ERROR because their fate is unknown."""
    doubtful = node_roles.c.state == int(ERROR), node_roles.c.halfway
    return list(session.scalars(select(node_roles.c.id).where(store.ids(node_roles.c.id, ids), *doubtful)))


def forget(session: Session, ids: Collection[int]) -> None:
    """What these did is to be done anew: none of their marks counts any more."""
    if ids:
        session.connection().execute(
            update(node_roles)
            .where(node_roles.c.id == bindparam("ref"))
            .values(done=False, halfway=False, look_at=None, once=bindparam("token")),
            [{"ref": ref, "token": new_token()} for ref in ids],
        )


def late_successes(session: Session, store: Store, run_ids: Collection[int], tokens: Collection[str]) -> list[Any]:
    """Those of these runs that have ended, of bindings with these tokens that are not known to have ended well:
    (id, node_role_id).
    """
    return list(
        session.execute(
            select(runs.c.id, runs.c.node_role_id)
            .join(node_roles, node_roles.c.id == runs.c.node_role_id)
            .where(
                store.ids(runs.c.id, run_ids), runs.c.finished_at.is_not(None), ~runs.c.refresh,
                node_roles.c.once.in_(tokens), ~node_roles.c.done,
            )
        ).all()
    )  # fmt: skip


# ---------------------------------------------------------------- looking for marks


def look_on(session: Session, now: datetime, node_id: int) -> None:
    """Marks of what is halfway on this node can be looked for."""
    session.execute(
        update(node_roles)
        .where(node_roles.c.node_id == node_id, node_roles.c.halfway, ~node_roles.c.done)
        .values(look_at=now)
    )


def due(session: Session, now: datetime, *, most: int) -> list[Any]:
    """For whose marks it is time, on nodes that live: (id, node_id, once, role, jig_name, timeout, deployment, run_id),
    of which run_id is the last run.
    """
    last = select(func.max(runs.c.id)).where(runs.c.node_role_id == node_roles.c.id).scalar_subquery()
    at_work = select(runs.c.id).where(runs.c.node_role_id == node_roles.c.id, runs.c.finished_at.is_(None)).exists()
    return list(
        session.execute(
            select(
                node_roles.c.id, node_roles.c.node_id, node_roles.c.once, roles.c.name.label("role"), roles.c.jig_name,
                roles.c.timeout, deployments.c.name.label("deployment"), func.coalesce(last, 0).label("run_id"),
            )
            .join(nodes, nodes.c.id == node_roles.c.node_id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .join(deployments, deployments.c.id == node_roles.c.deployment_id)
            .where(
                node_roles.c.look_at <= now, node_roles.c.halfway, ~node_roles.c.done, nodes.c.alive, nodes.c.available,
                roles.c.ready, ~at_work,
            )
            .order_by(node_roles.c.look_at)
            .limit(most)
        ).all()
    )  # fmt: skip


def is_wanted(session: Session, node_role_id: int, token: str) -> bool:
    """Whether the mark under this token still matters: nobody has retried or redeployed meanwhile."""
    same = node_roles.c.id == node_role_id, node_roles.c.once == token, node_roles.c.halfway, ~node_roles.c.done
    return session.scalar(select(node_roles.c.id).where(*same)) is not None


def look_again(session: Session, node_role_id: int, at: datetime) -> None:
    """Put it off, if it is to be looked for at all."""
    session.execute(
        update(node_roles)
        .where(node_roles.c.id == node_role_id, node_roles.c.look_at.is_not(None))
        .values(look_at=at)
    )  # fmt: skip
