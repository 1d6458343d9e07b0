"""Nodes: what one looks like, and its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, case, func, literal_column, select, type_coerce
from sqlalchemy.orm import Session

from crowbar_core.domain.states import RANKED, SHOWN_AS, NodeState
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
from crowbar_core.store.quoted import Word

_nodes, _node_groups, _groups, _deployments = table(Node), table(NodeGroup), table(Group), table(Deployment)


def rank() -> ColumnElement[int]:
    """Of a node and the noderoles that are grouped with it: the place of its state in ``RANKED``."""
    said = {_number(state): _place(shown) for state, shown in SHOWN_AS.items()}
    most = func.max(case(said, value=NodeRole.state))
    off = _place(NodeState.OFF)
    return case(
        (Node.alive, func.coalesce(most, _place(NodeState.IDLE))),
        (Node.switched_off, case((most > off, most), else_=off)),
        (most > _place(NodeState.ACTIVE), most),
        (Node.alive_at.is_(None), _place(NodeState.NEW)),
        else_=_place(NodeState.DEAD),
    )


def _place(state: NodeState) -> ColumnElement[int]:
    return _number(RANKED.index(state))


def _number(value: int) -> ColumnElement[int]:
    """No parameter: so SQLite sees that a maximum named several times is one, and works it out once."""
    return literal_column(str(int(value)), Integer)


def rank_of_node() -> ColumnElement[int]:
    """The same in a statement that has no noderoles."""
    return select(rank()).where(NodeRole.node_id == Node.id).correlate(Node).scalar_subquery()


_node_rank = rank_of_node()
_deployment = select(_deployments.c.name).where(_deployments.c.id == _nodes.c.deployment_id).scalar_subquery()
_node_life = type_coerce(
    case((_nodes.c.alive, "alive"), (_nodes.c.switched_off, "off"), (_nodes.c.alive_at.is_(None), "new"), else_="dead"),
    Word(),
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
