"""Intents: what each kind of them does, inside a turn. Doing it twice does no more than doing it once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crowbar_core.barclamp import (
    Bind,
    ChangeNode,
    CommitNode,
    CreateNode,
    DefineRole,
    Intent,
    MarkAlive,
    Power,
    Refresh,
    RemoveRole,
    Rerun,
    ServedBootEnv,
    SetAttribute,
    SetBootEnv,
    SetHammer,
    Unbind,
    Wake,
)
from crowbar_core.errors import NotFound
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.cluster import binding, definitions, nodes, steering
from crowbar_core.services.cluster.commits import commit_hooks, commit_in_turn
from crowbar_core.services.cluster.hammers import set_hammer
from crowbar_core.services.cluster.powering import order_power
from crowbar_core.services.cluster.registering import NewNode, register_in_turn
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor, Turn
from crowbar_core.services.values import attributes
from crowbar_core.services.values.nodes import write_nodes
from crowbar_core.store import named, node_fields


def apply_intents(parts: Parts, actor: Actor, intents: Sequence[Intent]) -> None:
    """Apply intents in one transaction: all or none."""
    with change(parts, actor) as turn:
        for intent in intents:
            apply_intent(turn, intent)


def apply_intent(turn: Turn, intent: Intent) -> None:
    """Apply one intent inside a turn."""
    APPLY[type(intent)](turn, intent)


# ---------------------------------------------------------------- one function for each kind


def _bind(turn: Turn, intent: Bind) -> None:
    deployment_id = named.deployment_id(turn.session, intent.deployment) if intent.deployment else None
    node_id = named.node_id(turn.session, intent.node)
    bound = binding.bind_in_turn(turn, node_id=node_id, role=intent.role, deployment_id=deployment_id)
    if intent.commit:
        committed = commit_in_turn(turn, {bound.node_role_id, *bound.created})
        commit_hooks(turn, committed)


def _unbind(turn: Turn, intent: Unbind) -> None:
    ref = named.bound(turn.session, intent.node, intent.role)
    if ref is not None:
        binding.unbind_in_turn(turn, ref, force=intent.force)


def _create_node(turn: Turn, intent: CreateNode) -> None:
    if node_fields.who_is_called(turn.session, intent.name) is None:
        values = {key: getattr(intent, key) for key in intent.__dataclass_fields__ if key != "deployment"}
        home = named.deployment_id(turn.session, intent.deployment) if intent.deployment else None
        register_in_turn(turn, NewNode(deployment_id=home, **values))


def _change_node(turn: Turn, intent: ChangeNode) -> None:
    values = {key: getattr(intent, key) for key in intent.__dataclass_fields__ if key != "node"}
    given = {key: value for key, value in values.items() if value is not None}
    nodes.change_in_turn(turn, named.node_id(turn.session, intent.node), given)


def _commit_node(turn: Turn, intent: CommitNode) -> None:
    nodes.commit_nodes_in_turn(turn, [named.node_id(turn.session, intent.node)])


def _set_hammer(turn: Turn, intent: SetHammer) -> None:
    node_id = named.node_id(turn.session, intent.node)
    set_hammer(turn, node_id, intent.name, intent.priority, intent.config)


def _set_attribute(turn: Turn, intent: SetAttribute) -> None:
    node_id = named.node_id(turn.session, intent.node)
    attributes.set_in_turn(turn, attribute=intent.attribute, value=intent.value, node_id=node_id, role=intent.role)


def _set_bootenv(turn: Turn, intent: SetBootEnv) -> None:
    nodes.change_in_turn(turn, named.node_id(turn.session, intent.node), {"bootenv": intent.bootenv})


def _served_bootenv(turn: Turn, intent: ServedBootEnv) -> None:
    write_nodes(turn, {named.node_id(turn.session, intent.node): {"served_bootenv": intent.bootenv}})


def _mark_alive(turn: Turn, intent: MarkAlive) -> None:
    nodes.change_in_turn(turn, named.node_id(turn.session, intent.node), {"alive": intent.alive})


def _rerun(turn: Turn, intent: Rerun) -> None:
    steering.rerun_in_turn(turn, _bound(turn, intent.node, intent.role))


def _refresh(turn: Turn, intent: Refresh) -> None:
    node_id = named.node_id(turn.session, intent.node) if intent.node is not None else None
    steering.refresh_role_in_turn(turn, intent.role, node_id)


def _wake(turn: Turn, intent: Wake) -> None:
    ref = named.bound(turn.session, intent.node, intent.role)
    if ref is not None:
        steering.wake_in_turn(turn, ref)


def _define_role(turn: Turn, intent: DefineRole) -> None:
    definitions.define_role(turn, intent.role)


def _remove_role(turn: Turn, intent: RemoveRole) -> None:
    definitions.remove_role(turn, intent.name)


def _power(turn: Turn, intent: Power) -> None:
    order_power(turn, named.node_id(turn.session, intent.node), intent.action)


APPLY: Mapping[type[Intent], Callable[[Turn, Any], None]] = {
    Bind: _bind,
    Unbind: _unbind,
    CreateNode: _create_node,
    ChangeNode: _change_node,
    CommitNode: _commit_node,
    SetHammer: _set_hammer,
    SetAttribute: _set_attribute,
    SetBootEnv: _set_bootenv,
    ServedBootEnv: _served_bootenv,
    MarkAlive: _mark_alive,
    Rerun: _rerun,
    Refresh: _refresh,
    Wake: _wake,
    Power: _power,
    DefineRole: _define_role,
    RemoveRole: _remove_role,
}
"""Each kind of intent, and what does it: the one place that knows."""


def _bound(turn: Turn, node: str, role: str) -> int:
    ref = named.bound(turn.session, node, role)
    if ref is None:
        raise NotFound(f"Role {role} is not bound to {node}.")
    return ref
