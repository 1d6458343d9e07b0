"""Runs: what was executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy.orm import Session

from crowbar_core.domain.states import RunState
from crowbar_core.store.listing import Later, Listing
from crowbar_core.store.listings.fields import field, fields, of_node
from crowbar_core.store.models import (
    Node,
    NodeRole,
    RoleRow,
    Run,
    table,
)
from crowbar_core.store.steps import timelines

_nodes, _node_roles, _roles, _runs = table(Node), table(NodeRole), table(RoleRow), table(Run)


def _timelines(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    return {
        run_id: [
            {"name": one.name, "at": one.at, "ended_at": one.ended_at, "reason": one.reason, "until": one.until}
            for one in steps
        ]
        for run_id, steps in timelines(session, ids).items()
    }


RUNS: Final = Listing(
    noun="run",
    plural="runs",
    source=_runs.join(_node_roles, _node_roles.c.id == _runs.c.node_role_id)
    .join(_nodes, _nodes.c.id == _runs.c.node_id)
    .join(_roles, _roles.c.id == _node_roles.c.role_id),
    key=_runs.c.id,
    choices=of_node(_nodes.c.id, _nodes.c.name),
    newest_first=True,
    fields=(
        *fields(Run, "id", "node_role_id", "node_id", filter=("node_role_id", "node_id")),
        field(_nodes.c.name, "node", filter=True, example="web1.rack2.example.com"),
        field(_roles.c.name, "role", filter=True, example="web-server"),
        field(
            _runs.c.state,
            filter=True,
            read=lambda text: RunState(text.lower()).value,
            help=f"{', '.join(list(RunState)[:-1])} or {list(RunState)[-1]}.",
        ),
        *fields(
            Run,
            "refresh",
            "teardown",
            "pending",
            "attempt",
            "exit_reason",
            "worker",
            "queued_at",
            "started_at",
            "finished_at",
            "deadline",
            "log_lines",
            filter=("refresh", "teardown", "pending"),
            sort=("queued_at",),
        ),
    ),
    later=(
        Later(
            name="timeline",
            type=list,
            fetch=_timelines,
            missing=[],
            example=[
                {
                    "name": "copying",
                    "at": "2026-03-01T12:00:00+00:00",
                    "ended_at": None,
                    "reason": "for the installer's report",
                    "until": "2026-03-01T13:00:00+00:00",
                }
            ],
            help="The steps that it went through: since when, until when, what each waited for, and its deadline.",
        ),
    ),
)
