"""Noderoles: a role on a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import exists, func, literal, select
from sqlalchemy.orm import Session

from crowbar_core.domain.states import State
from crowbar_core.store.listing import Later, Listing
from crowbar_core.store.listings.fields import derived, field, fields, of_node
from crowbar_core.store.models import (
    OPEN_RUNS,
    Deployment,
    Node,
    NodeRole,
    RoleRow,
    Run,
    RunLog,
    table,
)

RUNLOG_LINES: Final = 1000

_nodes, _node_roles, _roles, _deployments = table(Node), table(NodeRole), table(RoleRow), table(Deployment)
_runs, _run_logs = table(Run), table(RunLog)
_sibling = _node_roles.alias("sibling")
_node_error = exists(
    select(literal(1))
    .select_from(_sibling)
    .where(_sibling.c.node_id == _node_roles.c.node_id, _sibling.c.state == State.ERROR)
)


# By the index of open runs, of which a node has one at most: a noderole may have very many runs.
_run_state = (
    select(_runs.c.state)
    .where(_runs.c.node_id == _node_roles.c.node_id, OPEN_RUNS, _runs.c.node_role_id == _node_roles.c.id)
    .correlate(_node_roles)
    .scalar_subquery()
)


def _runlogs(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    """The last lines of the latest run of each noderole, as one text."""
    latest = (
        select(_runs.c.node_role_id, func.max(_runs.c.id).label("run_id"))
        .where(_runs.c.node_role_id.in_(ids))
        .group_by(_runs.c.node_role_id)
        .subquery()
    )
    ends = _run_logs.alias("ends")
    last = select(func.max(ends.c.seq)).where(ends.c.run_id == latest.c.run_id).scalar_subquery()
    rows = session.execute(
        select(latest.c.node_role_id, _run_logs.c.line)
        .join(latest, latest.c.run_id == _run_logs.c.run_id)
        .where(_run_logs.c.seq > last - RUNLOG_LINES)
        .order_by(latest.c.node_role_id, _run_logs.c.seq)
    )
    found: dict[int, list[str]] = {}
    for node_role_id, line in rows:
        found.setdefault(node_role_id, []).append(line)
    return {node_role_id: "\n".join(lines) for node_role_id, lines in found.items()}


def _state(text: str) -> int:
    """A state by its number or its name."""
    return int(State(int(text)) if text.lstrip("-").isdigit() else State[text.upper()])


NODE_ROLES: Final = Listing(
    noun="noderole",
    plural="node_roles",
    source=_node_roles.join(_nodes, _nodes.c.id == _node_roles.c.node_id)
    .join(_roles, _roles.c.id == _node_roles.c.role_id)
    .join(_deployments, _deployments.c.id == _node_roles.c.deployment_id),
    key=_node_roles.c.id,
    choices=of_node(_nodes.c.id, _nodes.c.name),
    fields=(
        *fields(NodeRole, "id", "node_id", "role_id", "deployment_id", filter=("node_id", "role_id", "deployment_id")),
        field(_nodes.c.name, "node", filter=True, example="web1.rack2.example.com"),
        field(_roles.c.name, "role", filter=True, example="web-server"),
        field(_roles.c.jig_name, "jig", filter=True, example="script"),
        field(_deployments.c.name, "deployment", filter=True, example="web"),
        field(
            _node_roles.c.state,
            filter=True,
            read=_state,
            help="ERROR -1, ACTIVE 0, TODO 1, TRANSITION 2, BLOCKED 3, PROPOSED 4.",
        ),
        derived(
            "state_name",
            _node_roles.c.state,
            str,
            words={int(state): state.name for state in State},
            read=_state,
            filter=True,
            example="ACTIVE",
        ),
        *fields(
            NodeRole,
            "cohort",
            "run_count",
            "available",
            "order",
            "status",
            "blockers",
            "attempts",
            "not_before",
            "held_by",
            "held_reason",
            "held_at",
            "rerun",
            "leaving",
            "done",
            filter=("cohort", "available"),
            sort=("cohort", "order", "run_count"),
        ),
        derived(
            "run_state",
            _run_state,
            str,
            nullable=True,
            example="running",
            help="Of its open run: queued, running or cancelling.",
        ),
        derived("node_error", _node_error, bool, help="Whether any noderole of its node is in ERROR."),
        *fields(NodeRole, "created_at", "updated_at", sort=("created_at", "updated_at")),
        field(_node_roles.c.proposed_data, only_on_request=True, help="What is set on it, drafts too."),
        field(_node_roles.c.committed_data, only_on_request=True, help="What is set on it and committed."),
        field(_node_roles.c.wall, only_on_request=True, help="What its runs reported."),
        field(_node_roles.c.sysdata, only_on_request=True, help="What its barclamp knows of it."),
    ),
    later=(Later(name="runlog", type=str, fetch=_runlogs, missing="", help="The end of the log of its latest run."),),
)
