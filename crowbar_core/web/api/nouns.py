"""What each noun of the API looks like: its fields, where they come from, what a list can be filtered and sorted by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, ColumnElement, case, exists, func, literal, select
from sqlalchemy.orm import Session

from crowbar_core.domain.attributes import masked
from crowbar_core.domain.states import DeploymentState, NodeState, State
from crowbar_core.services.drafts import Draft, Kind, drafts_in, drafts_of
from crowbar_core.services.processes import Process, judged
from crowbar_core.store.db import now_of
from crowbar_core.store.listing import Field, Later, Listing
from crowbar_core.store.models import (
    AttribRow,
    Audit,
    BarclampRow,
    Base,
    Delivery,
    Deployment,
    DeploymentRole,
    Event,
    Group,
    HammerRow,
    JigRow,
    Node,
    NodeGroup,
    NodeRole,
    PeriodicJob,
    ProcessRow,
    RoleRow,
    Run,
    RunLog,
    Token,
    User,
    UtcDateTime,
    table,
)
from crowbar_core.store.node_pages import RANKED, rank_of_node
from crowbar_core.store.processes import seen
from crowbar_core.web.auth import parts

RUNLOG_LINES: Final = 1000


def _type_of(column: ColumnElement[Any]) -> type:
    """The Python type of a column's values."""
    if isinstance(column.type, UtcDateTime):
        return datetime
    if isinstance(column.type, JSON):  # JSONB is one, too
        default = getattr(column, "server_default", None)
        return list if default is not None and "[" in str(default.arg) else dict
    return column.type.python_type


def _field(
    column: ColumnElement[Any],
    name: str = "",
    *,
    filter: bool = False,
    sort: bool = False,
    example: Any = None,
    help: str = "",
    only_on_request: bool = False,
    read: Callable[[str], Any] | None = None,
) -> Field:
    """A field that is a column of a table."""
    kind = _type_of(column)
    nullable = bool(getattr(column, "nullable", False))
    return Field(
        name=name or str(column.key),
        column=column,
        type=kind,
        show=masked if kind is dict else None,  # a tree of values may hold secrets
        read=read,
        filter=filter,
        sort=sort and not nullable,
        nullable=nullable,
        example=example,
        help=help,
        only_on_request=only_on_request,
    )


def _fields(model: type[Base], *names: str, filter: Sequence[str] = (), sort: Sequence[str] = ()) -> tuple[Field, ...]:
    columns = table(model).c
    return tuple(_field(columns[name], filter=name in filter, sort=name in sort) for name in names)


def _derived(
    name: str,
    column: ColumnElement[Any],
    type_: type,
    *,
    show: Callable[[Any], Any] | None = None,
    read: Callable[[str], Any] | None = None,
    filter: bool = False,
    nullable: bool = False,
    only_on_request: bool = False,
    example: Any = None,
    help: str = "",
) -> Field:
    return Field(
        name=name,
        column=column,
        type=type_,
        show=show,
        read=read,
        filter=filter,
        nullable=nullable,
        only_on_request=only_on_request,
        example=example,
        help=help,
    )


_nodes, _node_roles, _roles = table(Node), table(NodeRole), table(RoleRow)
_deployments, _deployment_roles = table(Deployment), table(DeploymentRole)
_runs, _run_logs = table(Run), table(RunLog)
_barclamps, _jigs, _attribs = table(BarclampRow), table(JigRow), table(AttribRow)
_processes = table(ProcessRow)
_groups, _node_groups, _hammers = table(Group), table(NodeGroup), table(HammerRow)
_jobs = table(PeriodicJob)
_users, _tokens, _audits, _events, _deliveries = table(User), table(Token), table(Audit), table(Event), table(Delivery)


# ---------------------------------------------------------------- drafts


def _drafts_of(kind: Kind) -> Later:
    def fetch(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
        found = drafts_of(parts(), session, kind, ids)
        return {ref: [_draft(one) for one in drafts] for ref, drafts in found.items()}

    return Later(
        name="drafts", type=list, fetch=fetch, missing=[], only_on_request=False,
        example=[{"attribute": "ntp-servers", "path": "ntp/servers", "old": None, "new": ["10.0.0.1"]}],
        help="Values that were set and are not committed yet, old and new.",
    )  # fmt: skip


def _drafts_in(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    found = drafts_in(parts(), session, ids)
    return {ref: [{"on": one.name, **_draft(one)} for one in drafts] for ref, drafts in found.items()}


def _draft(one: Draft) -> dict[str, Any]:
    return {"attribute": one.attribute, "path": one.path, "old": one.old, "new": one.new}


# ---------------------------------------------------------------- nodes

_node_rank = rank_of_node()
_inner = _node_roles.alias("inner")
_node_life = case((_nodes.c.alive, "alive"), (_nodes.c.alive_at.is_(None), "new"), else_="dead")


def _groups_of(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    found: dict[int, list[str]] = {}
    rows = session.execute(
        select(_node_groups.c.node_id, _groups.c.name)
        .join(_groups, _groups.c.id == _node_groups.c.group_id)
        .where(_node_groups.c.node_id.in_(ids))
        .order_by(_groups.c.name)
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
    fields=(
        _field(_nodes.c.id, example=3),
        _field(_nodes.c.name, filter=True, sort=True, example="web1.rack2.example.com"),
        *_fields(
            Node,
            "description",
            "admin",
            "system",
            "alive",
            "available",
            "allocated",
            "bootenv",
            "order",
            "deployment_id",
            "target_role_id",
            filter=("admin", "system", "alive", "available", "allocated", "bootenv", "deployment_id", "target_role_id"),
            sort=("order",),
        ),
        _derived(
            "state",
            _node_rank,
            str,
            show=lambda value: RANKED[value].name,
            read=lambda text: RANKED.index(NodeState(text.upper())),
            filter=True,
            example="ACTIVE",
            help="TRANSITION, ERROR, PROPOSED, TODO or ACTIVE: the most telling of its noderoles' states. IDLE: it has "
            "none. NEW or DEAD: nothing is to be done on it, and it was never alive, or is not now.",
        ),
        _derived(
            "life",
            _node_life,
            str,
            filter=True,
            example="alive",
            help="new (it was never alive), alive or dead.",
        ),
        *_fields(
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
        _drafts_of("node"),
    ),
)


# ---------------------------------------------------------------- deployments

_of_deployment = _node_roles.alias("of_deployment")


def _any_state(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists(
        select(literal(1))
        .select_from(_of_deployment)
        .where(_of_deployment.c.deployment_id == _deployments.c.id, condition)
    )


_deployment_state = case(
    (_deployments.c.committed.is_(False), int(DeploymentState.PROPOSED)),
    (_any_state(_of_deployment.c.state < 0), int(DeploymentState.ERROR)),
    (_any_state(_of_deployment.c.state > 0), int(DeploymentState.COMMITTED)),
    else_=int(DeploymentState.ACTIVE),
)

DEPLOYMENTS: Final = Listing(
    noun="deployment",
    plural="deployments",
    source=_deployments,
    key=_deployments.c.id,
    name=_deployments.c.name,
    fields=(
        _field(_deployments.c.id, example=2),
        _field(_deployments.c.name, filter=True, sort=True, example="web"),
        *_fields(
            Deployment, "description", "system", "committed", "parent_id", filter=("system", "committed", "parent_id")
        ),
        _derived(
            "state", _deployment_state, int, filter=True, example=2, help="ERROR -1, PROPOSED 0, COMMITTED 1, ACTIVE 2."
        ),
        _derived(
            "state_name", _deployment_state, str, show=lambda value: DeploymentState(value).name, example="ACTIVE"
        ),
        *_fields(Deployment, "created_at", "updated_at", sort=("created_at", "updated_at")),
    ),
    later=(
        Later(
            name="drafts", type=list, fetch=_drafts_in, missing=[],
            example=[{"on": "ntp in web", "attribute": "ntp-servers", "path": "ntp/servers", "old": None, "new": []}],
            help="All drafts in it: of its nodes, noderoles and roles.",
        ),
    ),
)  # fmt: skip

DEPLOYMENT_ROLES: Final = Listing(
    noun="deployment role",
    plural="deployment_roles",
    source=_deployment_roles.join(_deployments, _deployments.c.id == _deployment_roles.c.deployment_id).join(
        _roles, _roles.c.id == _deployment_roles.c.role_id
    ),
    key=_deployment_roles.c.id,
    fields=(
        *_fields(DeploymentRole, "id", "deployment_id", "role_id", filter=("deployment_id", "role_id")),
        _field(_deployments.c.name, "deployment", filter=True, example="web"),
        _field(_roles.c.name, "role", filter=True, example="web-server"),
        *_fields(DeploymentRole, "proposed_data", "committed_data", "wall", "created_at", "updated_at"),
    ),
    later=(_drafts_of("deployment_role"),),
)


# ---------------------------------------------------------------- noderoles

_sibling = _node_roles.alias("sibling")
_node_error = exists(
    select(literal(1))
    .select_from(_sibling)
    .where(_sibling.c.node_id == _node_roles.c.node_id, _sibling.c.state == State.ERROR)
)


_own = _runs.alias("own")
_run_state = (
    select(func.max(_own.c.state))
    .where(_own.c.node_role_id == _node_roles.c.id, _own.c.finished_at.is_(None))
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
    fields=(
        *_fields(NodeRole, "id", "node_id", "role_id", "deployment_id", filter=("node_id", "role_id", "deployment_id")),
        _field(_nodes.c.name, "node", filter=True, example="web1.rack2.example.com"),
        _field(_roles.c.name, "role", filter=True, example="web-server"),
        _field(_deployments.c.name, "deployment", filter=True, example="web"),
        _field(
            _node_roles.c.state,
            filter=True,
            read=_state,
            help="ERROR -1, ACTIVE 0, TODO 1, TRANSITION 2, BLOCKED 3, PROPOSED 4.",
        ),
        _derived(
            "state_name",
            _node_roles.c.state,
            str,
            show=lambda value: State(value).name,
            read=_state,
            filter=True,
            example="ACTIVE",
        ),
        *_fields(
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
            "done",
            filter=("cohort", "available"),
            sort=("cohort", "order", "run_count"),
        ),
        _derived(
            "run_state",
            _run_state,
            str,
            nullable=True,
            example="running",
            help="Of its open run: queued, running or cancelling.",
        ),
        _derived("node_error", _node_error, bool, show=bool, help="Whether any noderole of its node is in ERROR."),
        *_fields(NodeRole, "created_at", "updated_at", sort=("created_at", "updated_at")),
        _field(_node_roles.c.wall, only_on_request=True, help="What its runs reported."),
        _field(_node_roles.c.sysdata, only_on_request=True, help="What its barclamp knows of it."),
    ),
    later=(
        Later(name="runlog", type=str, fetch=_runlogs, missing="", help="The end of the log of its latest run."),
        _drafts_of("node_role"),
    ),
)


# ---------------------------------------------------------------- runs

RUNS: Final = Listing(
    noun="run",
    plural="runs",
    source=_runs.join(_node_roles, _node_roles.c.id == _runs.c.node_role_id)
    .join(_nodes, _nodes.c.id == _runs.c.node_id)
    .join(_roles, _roles.c.id == _node_roles.c.role_id),
    key=_runs.c.id,
    newest_first=True,
    fields=(
        *_fields(Run, "id", "node_role_id", "node_id", filter=("node_role_id", "node_id")),
        _field(_nodes.c.name, "node", filter=True, example="web1.rack2.example.com"),
        _field(_roles.c.name, "role", filter=True, example="web-server"),
        *_fields(
            Run,
            "state",
            "refresh",
            "pending",
            "attempt",
            "exit_reason",
            "worker",
            "queued_at",
            "started_at",
            "finished_at",
            "deadline",
            "log_lines",
            filter=("state", "refresh", "pending"),
            sort=("queued_at",),
        ),
    ),
)


# ---------------------------------------------------------------- what barclamps bring

_FLAGS: Final = (
    "discovery",
    "bootstrap",
    "implicit",
    "cluster",
    "destructive",
    "abstract",
    "service",
    "milestone",
    "powersave",
    "library",
)

BARCLAMPS: Final = Listing(
    noun="barclamp",
    plural="barclamps",
    source=_barclamps,
    key=_barclamps.c.id,
    name=_barclamps.c.name,
    fields=_fields(
        BarclampRow,
        "id",
        "name",
        "description",
        "distribution",
        "version",
        "package",
        "enabled",
        "state",
        "error",
        "quarantine",
        "left_behind",
        "created_at",
        "updated_at",
        filter=("name", "enabled", "state"),
        sort=("name",),
    ),
)

JIGS: Final = Listing(
    noun="jig",
    plural="jigs",
    source=_jigs,
    key=_jigs.c.id,
    name=_jigs.c.name,
    fields=_fields(
        JigRow, "id", "name", "description", "distribution", "installed", filter=("name", "installed"), sort=("name",)
    ),
)

ROLES: Final = Listing(
    noun="role",
    plural="roles",
    source=_roles.join(_barclamps, _barclamps.c.id == _roles.c.barclamp_id),
    key=_roles.c.id,
    name=_roles.c.name,
    fields=(
        *_fields(RoleRow, "id", "name", "description", "barclamp_id", filter=("name", "barclamp_id"), sort=("name",)),
        _field(_barclamps.c.name, "barclamp", filter=True),
        *_fields(RoleRow, "jig_name", "ready", *_FLAGS, filter=("jig_name", "ready", *_FLAGS)),
        *_fields(
            RoleRow,
            "requires",
            "wants",
            "provides",
            "conflicts",
            "attaches",
            "precedes",
            "template",
            "on_change",
            "timeout",
            "max_attempts",
            "created_at",
            "updated_at",
        ),
        _derived(
            "cohort",
            func.coalesce(
                select(func.max(_inner.c.cohort)).where(_inner.c.role_id == _roles.c.id).scalar_subquery(),
                1,
            ),
            int,
            help="The highest cohort of its noderoles: how late it comes.",
        ),
    ),
)

ATTRIBS: Final = Listing(
    noun="attribute",
    plural="attribs",
    source=_attribs.join(_barclamps, _barclamps.c.id == _attribs.c.barclamp_id).outerjoin(
        _roles, _roles.c.id == _attribs.c.role_id
    ),
    key=_attribs.c.id,
    name=_attribs.c.name,
    fields=(
        *_fields(
            AttribRow,
            "id",
            "name",
            "description",
            "barclamp_id",
            "role_id",
            filter=("name", "barclamp_id", "role_id"),
            sort=("name",),
        ),
        _field(_barclamps.c.name, "barclamp", filter=True),
        Field(name="role", column=_roles.c.name, type=str, nullable=True, filter=True),
        *_fields(AttribRow, "map", "schema", "writable", "secret", filter=("writable", "secret")),
        Field(
            name="default",
            column=case((_attribs.c.secret.is_(True), None), else_=_attribs.c.default),
            type=dict,
            nullable=True,
            help="Any JSON value; null for a secret.",
        ),
        *_fields(AttribRow, "order", sort=("order",)),
    ),
)


# ---------------------------------------------------------------- groups, hammers


def _members(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    rows = session.execute(
        select(_node_groups.c.group_id, func.count())
        .where(_node_groups.c.group_id.in_(ids))
        .group_by(_node_groups.c.group_id)
    )
    return dict(rows.all())


GROUPS: Final = Listing(
    noun="group",
    plural="groups",
    source=_groups,
    key=_groups.c.id,
    name=_groups.c.name,
    fields=_fields(
        Group, "id", "name", "category", "description", filter=("name", "category"), sort=("name", "category")
    ),
    later=(Later(name="node_count", type=int, fetch=_members, missing=0, only_on_request=False),),
)

HAMMERS: Final = Listing(
    noun="hammer",
    plural="hammers",
    source=_hammers.join(_nodes, _nodes.c.id == _hammers.c.node_id),
    key=_hammers.c.id,
    fields=(
        *_fields(HammerRow, "id", "node_id", filter=("node_id",)),
        _field(_nodes.c.name, "node", filter=True, example="web1.rack2.example.com"),
        *_fields(HammerRow, "name", "priority", filter=("name",), sort=("name", "priority")),
    ),
)


# ---------------------------------------------------------------- processes


def _of_processes(show: Callable[[Process], Any]) -> Callable[[Session, Sequence[int]], Mapping[int, Any]]:
    def fetch(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
        now = now_of(session)
        return {one.id: show(judged(one, now)) for one in seen(session, ids)}

    return fetch


PROCESSES: Final = Listing(
    noun="process",
    plural="processes",
    source=_processes,
    key=_processes.c.id,
    fields=(
        *_fields(ProcessRow, "id", "name", "host", "pid", "version", "kinds", filter=("host", "version")),
        *_fields(ProcessRow, "concurrency", "started_at", "beat_at"),
    ),
    later=(
        Later(
            name="state", type=str, fetch=_of_processes(lambda one: one.state), missing="dead", only_on_request=False,
            help="alive; or dead, for a day, when it is known to be gone or gives no sign of life.",
        ),
        Later(
            name="runs", type=int, fetch=_of_processes(lambda one: one.seen.runs), missing=0, only_on_request=False,
            help="How many runs it carries out now.",
        ),
        Later(
            name="leads", type=bool, fetch=_of_processes(lambda one: one.seen.leads), missing=False,
            only_on_request=False, help="Whether it is the one that sweeps, probes and delivers events.",
        ),
    ),
)  # fmt: skip


JOBS: Final = Listing(
    noun="periodic job",
    plural="periodic_jobs",
    source=_jobs,
    key=_jobs.c.id,
    fields=(
        *_fields(PeriodicJob, "id", "barclamp", "name", filter=("barclamp", "name")),
        *_fields(PeriodicJob, "seconds", "last_run_at", "took", "failures", "error", "traceback"),
    ),
)


# ---------------------------------------------------------------- people, tokens, history

USERS: Final = Listing(
    noun="user",
    plural="users",
    source=_users,
    key=_users.c.id,
    name=_users.c.name,
    fields=_fields(
        User,
        "id",
        "name",
        "role",
        "locked",
        "created_at",
        "updated_at",
        filter=("name", "role", "locked"),
        sort=("name",),
    ),
)

TOKENS: Final = Listing(
    noun="token",
    plural="tokens",
    source=_tokens.outerjoin(_users, _users.c.id == _tokens.c.user_id).outerjoin(
        _nodes, _nodes.c.id == _tokens.c.node_id
    ),
    key=_tokens.c.id,
    fields=(
        *_fields(Token, "id", "name", "role", "user_id", "node_id", filter=("role", "user_id", "node_id")),
        Field(name="user", column=_users.c.name, type=str, nullable=True, filter=True),
        Field(name="node", column=_nodes.c.name, type=str, nullable=True, filter=True),
        *_fields(Token, "created_at", "expires_at", "last_used_at"),
    ),
)


def _deliveries_of(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    found: dict[int, list[dict[str, Any]]] = {}
    columns = [item.column.label(item.name) for item in DELIVERIES.fields if item.name not in ("hook", "subject")]
    rows = session.execute(
        select(*columns).where(_deliveries.c.event_id.in_(ids)).order_by(_deliveries.c.event_id, _deliveries.c.position)
    )
    for row in rows.mappings():
        found.setdefault(row["event_id"], []).append(dict(row))
    return found


DELIVERIES: Final = Listing(
    noun="delivery",
    plural="events/deliveries",
    source=_deliveries.join(_events, _events.c.id == _deliveries.c.event_id),
    key=_deliveries.c.id,
    newest_first=True,
    fields=(
        *_fields(Delivery, "id", "event_id", "plugin", "position", "state", filter=("event_id", "plugin", "state")),
        _field(_events.c.hook, filter=True, example="on_active"),
        _field(_events.c.subject, filter=True, example="node 3"),
        *_fields(Delivery, "attempts", "next_try_at", "error", "traceback", "settled_at"),
    ),
)

EVENTS: Final = Listing(
    noun="event",
    plural="events",
    source=_events,
    key=_events.c.id,
    newest_first=True,
    fields=_fields(Event, "id", "hook", "subject", "payload", "created_at", filter=("hook", "subject")),
    later=(
        Later(
            name="deliveries",
            type=list,
            fetch=_deliveries_of,
            missing=[],
            only_on_request=False,
            help="To which plugins it goes, and what became of that.",
        ),
    ),
)

AUDITS: Final = Listing(
    noun="audit entry",
    plural="audits",
    source=_audits,
    key=_audits.c.id,
    newest_first=True,
    fields=_fields(
        Audit, "id", "at", "actor", "remote", "action", "subject", "detail", filter=("actor", "action", "subject")
    ),
)

ALL: Final = (
    NODES,
    ROLES,
    NODE_ROLES,
    DEPLOYMENTS,
    DEPLOYMENT_ROLES,
    RUNS,
    ATTRIBS,
    BARCLAMPS,
    JIGS,
    HAMMERS,
    GROUPS,
    PROCESSES,
    JOBS,
    USERS,
    TOKENS,
    EVENTS,
    DELIVERIES,
    AUDITS,
)
