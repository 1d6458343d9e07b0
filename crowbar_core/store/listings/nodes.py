"""Nodes: what one looks like, and its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from crowbar_core.domain.states import ACTIVE, BLOCKED, RANKED, SHOWN_AS, TODO, NodeState
from crowbar_core.store.listing import Later, Listing
from crowbar_core.store.listings.fields import derived, field, fields, of_node
from crowbar_core.store.models import (
    Deployment,
    Group,
    Node,
    NodeGroup,
    NodeRole,
    table,
)

_nodes, _node_groups, _groups, _deployments = table(Node), table(NodeGroup), table(Group), table(Deployment)


def rank() -> ColumnElement[int]:
    """Of a node and the noderoles that are grouped with it: the place of its state in ``RANKED``."""
    idle, new, dead, off = (
        RANKED.index(state) for state in (NodeState.IDLE, NodeState.NEW, NodeState.DEAD, NodeState.OFF)
    )
    life = case((Node.alive, idle), (Node.switched_off, off), (Node.alive_at.is_(None), new), else_=dead)
    said: dict[int, Any] = {int(state): RANKED.index(shown) for state, shown in SHOWN_AS.items()}
    active = case((Node.alive, said.pop(int(ACTIVE))), else_=life)
    for state in (TODO, BLOCKED):
        said[state] = case((Node.switched_off & ~Node.alive, off), else_=said[state])
    work = case(said, value=NodeRole.state, else_=case((NodeRole.state == int(ACTIVE), active), else_=life))
    return func.coalesce(func.max(work), life)


def rank_of_node() -> ColumnElement[int]:
    """The same in a statement that has no noderoles."""
    return select(rank()).where(NodeRole.node_id == Node.id).correlate(Node).scalar_subquery()


_node_rank = rank_of_node()
_deployment = select(_deployments.c.name).where(_deployments.c.id == _nodes.c.deployment_id).scalar_subquery()
_node_life = case(
    (_nodes.c.alive, "alive"), (_nodes.c.switched_off, "off"), (_nodes.c.alive_at.is_(None), "new"), else_="dead"
)


def _groups_of(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    found: dict[int, list[str]] = {}
    rows = session.execute(
        select(_node_groups.c.node_id, _groups.c.name)
        .join(_groups, _groups.c.id == _node_groups.c.group_id)
        .where(_node_groups.c.node_id.in_(ids))
        .order_by(_groups.c.name_key)
    )
    for node_id, name in rows:
        found.setdefault(node_id, []).append(name)
    return found


NODES: Final = Listing(
    noun="node",
    plural="nodes",
    source=_nodes,
    key=_nodes.c.id,
    name=_nodes.c.name,
    choices=of_node(_nodes.c.id, _nodes.c.name),
    unless_asked={"system": "false"},
    fields=(
        field(_nodes.c.id, example=3),
        field(_nodes.c.name, filter=True, sort=True, example="web1.rack2.example.com"),
        *fields(
            Node,
            "description",
            "admin",
            "system",
            "alive",
            "switched_off",
            "available",
            "allocated",
            "bootenv",
            "served_bootenv",
            "order",
            "deployment_id",
            "target_role_id",
            filter=(
                "admin",
                "system",
                "alive",
                "switched_off",
                "available",
                "allocated",
                "bootenv",
                "served_bootenv",
                "deployment_id",
                "target_role_id",
            ),
            sort=("order",),
        ),
        derived("deployment", _deployment, str, only_on_request=True, example="web", help="By its name."),
        derived(
            "state",
            _node_rank,
            str,
            words={place: state.name for place, state in enumerate(RANKED)},
            read=lambda text: RANKED.index(NodeState(text.upper())),
            filter=True,
            example="ACTIVE",
            help="TRANSITION, ERROR, PROPOSED, TODO or ACTIVE: the most telling of its noderoles' states. IDLE: it has "
            "none. NEW or DEAD: nothing is to be done on it, and it was never alive, or is not now. OFF: it was "
            "powered off by order; what is to be done on it waits.",
        ),
        derived(
            "life",
            _node_life,
            str,
            filter=True,
            example="alive",
            help="new (it was never alive), alive, dead, or off (powered off by order).",
        ),
        *fields(
            Node,
            "status",
            "discovery",
            "hint",
            "host_keys",
            "probed_at",
            "alive_at",
            "created_at",
            "updated_at",
            sort=("created_at", "updated_at"),
        ),
    ),
    later=(
        Later(name="groups", type=list, fetch=_groups_of, missing=[], example=["rack-2"], help="Names of its groups."),
    ),
)
