"""Noderoles: found with what they belong to, and what is noted of them beside their state."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import ClauseElement, Update, bindparam, case, exists, or_, select, update
from sqlalchemy.orm import Session

from crowbar_core.domain.states import ACTIVE, ERROR, TRANSITION
from crowbar_core.store.db import Store, ids_named
from crowbar_core.store.flags import flag
from crowbar_core.store.models import Node, NodeRole, RoleRow, table

node_roles, nodes, roles = table(NodeRole), table(Node), table(RoleRow)

NEXT_ATTEMPT: Final = node_roles.c.attempts + 1
ATTEMPT_BACK: Final = case((node_roles.c.attempts > 0, node_roles.c.attempts - 1), else_=0)
"""One that did not count."""
RUN_AGAIN: Final = node_roles.c.run_count + 1


def row_of(session: Session, node_role_id: int) -> Any:
    """(id, node_id, role_id, deployment_id, state, role, node), or None."""
    return session.execute(
        select(
            node_roles.c.id, node_roles.c.node_id, node_roles.c.role_id, node_roles.c.deployment_id,
            node_roles.c.state, roles.c.name.label("role"), nodes.c.name.label("node"),
        )
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .where(node_roles.c.id == node_role_id)
    ).one_or_none()  # fmt: skip


def values_of(session: Session, node_role_id: int) -> Any:
    """(role, node, state, proposed_data, committed_data), or None."""
    return session.execute(
        select(
            roles.c.name.label("role"), nodes.c.name.label("node"), node_roles.c.state, node_roles.c.proposed_data,
            node_roles.c.committed_data,
        )
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .where(node_roles.c.id == node_role_id)
    ).one_or_none()  # fmt: skip


def note(session: Session, node_role_id: int, **values: Any) -> None:
    """Write columns that are no part of its state: attempts, delay, whether it is to be run again."""
    session.execute(update(node_roles).where(node_roles.c.id == node_role_id).values(**values))


def note_many(session: Session, store: Store, ids: Collection[int], **values: Any) -> None:
    """The same of many."""
    session.execute(*writing(store, values, {"ids": store.id_values(ids)}))


def writing(
    store: Store, values: Mapping[str, Any], given: Mapping[str, Any], *, seen: bool = False
) -> tuple[Update, dict[str, Any]]:
    """The statement that writes these columns of the noderoles ``ids``, and its parameters, ``given`` among them.
    ``seen``: only of those in the state ``seen``. One for the same columns was built before: each run that begins or
    ends needs two of them.
    """
    plain = {name: value for name, value in values.items() if not isinstance(value, ClauseElement)}
    computed = tuple((name, value) for name, value in values.items() if name not in plain)
    statement = _writing(store.postgresql, tuple(plain), computed, seen)
    return statement, {**given, **{f"new_{name}": value for name, value in plain.items()}}


@lru_cache(maxsize=200)
def _writing(postgresql: bool, plain: tuple[str, ...], computed: tuple[tuple[str, Any], ...], seen: bool) -> Update:
    statement = update(node_roles).where(ids_named(node_roles.c.id, "ids", postgresql=postgresql))
    if seen:
        statement = statement.where(node_roles.c.state == bindparam("seen"))
    new = {name: bindparam(f"new_{name}", type_=node_roles.c[name].type) for name in plain}
    return statement.values({**new, **dict(computed)})


def any_unsettled(session: Session) -> bool:
    """Whether any noderole is on a node that its run has taken away, goes back when its run has ended, or leaves. Three
    looks, in one question, at indexes that are almost always empty.
    """
    return bool(session.scalar(_ANY_UNSETTLED))


_ANY_UNSETTLED = select(
    or_(*(exists().where(flag(one)) for one in (node_roles.c.away, node_roles.c.goes_back, node_roles.c.leaving)))
)


def lost_with_node(session: Session, node_id: int) -> list[int]:
    """Those on the node whose work means nothing any more when it dies. Destructive work whose fate is unknown stays in
    ERROR.
    """
    return list(
        session.scalars(
            select(node_roles.c.id).where(
                node_roles.c.node_id == node_id,
                node_roles.c.state.in_([int(s) for s in (ERROR, ACTIVE, TRANSITION)]),
                ~((node_roles.c.state == int(ERROR)) & node_roles.c.halfway),
            )
        )
    )


def wanting_work(session: Session, node_id: int, *, most: int) -> list[int]:
    """Those on the node that are not at rest, lowest cohort first."""
    return list(
        session.scalars(
            select(node_roles.c.id)
            .where(node_roles.c.node_id == node_id, or_(node_roles.c.state != int(ACTIVE), node_roles.c.rerun))
            .order_by(node_roles.c.cohort, node_roles.c.id)
            .limit(most)
        )
    )


def are_on(session: Session, node_id: int) -> bool:
    """Whether anything is bound to the node."""
    return session.scalar(select(node_roles.c.id).where(node_roles.c.node_id == node_id).limit(1)) is not None
