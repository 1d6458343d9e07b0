"""Intents: what each kind of them does, inside a turn. Doing it twice does no more than doing it once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowbar_core.barclamp import (
    Bind,
    DefineRole,
    Intent,
    MarkAlive,
    Power,
    Refresh,
    RemoveRole,
    Rerun,
    SetAttribute,
    SetBootEnv,
    Unbind,
    Wake,
)
from crowbar_core.errors import NotFound
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.cluster import binding, definitions, nodes, steering
from crowbar_core.services.cluster.hammers import power
from crowbar_core.services.turns.parts import Actor, Parts, Turn
from crowbar_core.services.values import attributes
from crowbar_core.store.models import Deployment, Node, NodeRole, RoleRow, table

node_rows, node_roles, roles, deployments = table(Node), table(NodeRole), table(RoleRow), table(Deployment)


def apply_intents(parts: Parts, actor: Actor, intents: Sequence[Intent]) -> None:
    """Apply intents in one transaction: all or none. ``Power`` is performed first, outside of it."""
    perform_power(parts, actor, intents)
    with change(parts, actor) as turn:
        for intent in intents:
            apply_intent(turn, intent)


def perform_power(parts: Parts, actor: Actor, intents: Sequence[Intent]) -> None:
    """Perform the ``Power`` among these intents, through the nodes' best hammers. Outside any transaction."""
    for intent in intents:
        if isinstance(intent, Power):
            with parts.store.read() as session:
                node_id = node_id_of(session, intent.node)
            power(parts, actor, node_id, intent.action)


def apply_intent(turn: Turn, intent: Intent) -> None:
    """Apply one intent inside a turn."""
    APPLY[type(intent)](turn, intent)


# ---------------------------------------------------------------- one function for each kind


def _bind(turn: Turn, intent: Bind) -> None:
    deployment_id = _deployment_id(turn.session, intent.deployment) if intent.deployment else None
    node_id = node_id_of(turn.session, intent.node)
    binding.bind_in_turn(turn, node_id=node_id, role=intent.role, deployment_id=deployment_id)


def _unbind(turn: Turn, intent: Unbind) -> None:
    ref = _node_role_id(turn.session, node_id_of(turn.session, intent.node), intent.role)
    if ref is not None:
        binding.unbind_in_turn(turn, ref)


def _set_attribute(turn: Turn, intent: SetAttribute) -> None:
    node_id = node_id_of(turn.session, intent.node)
    attributes.set_in_turn(turn, attribute=intent.attribute, value=intent.value, node_id=node_id, role=intent.role)


def _set_bootenv(turn: Turn, intent: SetBootEnv) -> None:
    nodes.change_in_turn(turn, node_id_of(turn.session, intent.node), {"bootenv": intent.bootenv})


def _mark_alive(turn: Turn, intent: MarkAlive) -> None:
    nodes.change_in_turn(turn, node_id_of(turn.session, intent.node), {"alive": intent.alive})


def _rerun(turn: Turn, intent: Rerun) -> None:
    steering.rerun_in_turn(turn, _bound(turn.session, intent.node, intent.role))


def _refresh(turn: Turn, intent: Refresh) -> None:
    if intent.node is None:
        steering.refresh_role_in_turn(turn, intent.role)
    else:
        steering.refresh_in_turn(turn, _bound(turn.session, intent.node, intent.role), retry=True)


def _wake(turn: Turn, intent: Wake) -> None:
    ref = _node_role_id(turn.session, node_id_of(turn.session, intent.node), intent.role)
    if ref is not None:
        steering.wake_in_turn(turn, ref)


def _define_role(turn: Turn, intent: DefineRole) -> None:
    definitions.define_role(turn, intent.role)


def _remove_role(turn: Turn, intent: RemoveRole) -> None:
    definitions.remove_role(turn, intent.name)


def _power(turn: Turn, intent: Power) -> None:
    """Nothing inside the turn: see ``perform_power``."""


APPLY: Mapping[type[Intent], Callable[[Turn, Any], None]] = {
    Bind: _bind,
    Unbind: _unbind,
    SetAttribute: _set_attribute,
    SetBootEnv: _set_bootenv,
    MarkAlive: _mark_alive,
    Rerun: _rerun,
    Refresh: _refresh,
    Wake: _wake,
    Power: _power,
    DefineRole: _define_role,
    RemoveRole: _remove_role,
}
"""Each kind of intent, and what does it: the one place that knows."""


# ---------------------------------------------------------------- what intents name


def node_id_of(session: Session, name: str) -> int:
    found = session.scalar(select(node_rows.c.id).where(node_rows.c.name == name.lower()))
    if found is None:
        raise NotFound(f"There is no node {name!r}.")
    return int(found)


def _deployment_id(session: Session, name: str) -> int:
    found = session.scalar(select(deployments.c.id).where(deployments.c.name == name))
    if found is None:
        raise NotFound(f"There is no deployment {name!r}.")
    return int(found)


def _node_role_id(session: Session, node_id: int, role: str) -> int | None:
    return session.scalar(
        select(node_roles.c.id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(node_roles.c.node_id == node_id, roles.c.name == role)
    )


def _bound(session: Session, node: str, role: str) -> int:
    ref = _node_role_id(session, node_id_of(session, node), role)
    if ref is None:
        raise NotFound(f"Role {role} is not bound to {node}.")
    return ref
