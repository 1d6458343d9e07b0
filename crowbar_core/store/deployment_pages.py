"""Deployments as the pages show them, read by the listing of the API: a constant number of statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowbar_core.domain.states import DeploymentState, State
from crowbar_core.store.listing import lines
from crowbar_core.store.listings.deployments import DEPLOYMENTS
from crowbar_core.store.models import Deployment, Node, NodeRole, table

_deployments = table(Deployment)


@dataclass(frozen=True, kw_only=True)
class DeploymentLine:
    id: int
    name: str
    description: str
    system: bool
    committed: bool
    parent_id: int | None
    state: DeploymentState
    nodes: int = 0
    states: Mapping[State, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DeploymentName:
    id: int
    name: str


def deployment_names(session: Session) -> list[DeploymentName]:
    """All deployments by name, to choose one of: nothing is counted."""
    return lines(session, DEPLOYMENTS, DeploymentName, order=(_deployments.c.name_key,))


def deployment_lines(session: Session) -> list[DeploymentLine]:
    """All deployments by name, with how many nodes live in each and its noderoles by state."""
    here = select(Node.deployment_id, func.count()).where(Node.system.is_(False)).group_by(Node.deployment_id)
    nodes = dict(session.execute(here).all())
    states: dict[int, dict[State, int]] = defaultdict(dict)
    for deployment_id, state, count in session.execute(
        select(NodeRole.deployment_id, NodeRole.state, func.count()).group_by(NodeRole.deployment_id, NodeRole.state)
    ):
        states[deployment_id][State(state)] = count
    return [
        replace(one, nodes=nodes.get(one.id, 0), states=states[one.id])
        for one in lines(session, DEPLOYMENTS, DeploymentLine, order=(_deployments.c.name_key,))
    ]
