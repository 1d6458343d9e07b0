"""Tables, constraints and indexes. No behaviour, no ORM events: what a row may be is said here, in the schema."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry
from sqlalchemy.types import TypeDecorator

from crowbar_core.domain.states import NEEDS_PARENTS_ACTIVE, OPEN_RUN_STATES, RunState, State


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment in UTC, also on SQLite, which knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return value.astimezone(UTC) if dialect.name == "postgresql" else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Data = JSON().with_variant(JSONB(), "postgresql")


class Base(DeclarativeBase):
    registry = registry(
        metadata=MetaData(
            naming_convention={
                "ix": "ix_%(table_name)s_%(column_0_N_name)s",
                "uq": "uq_%(table_name)s_%(column_0_N_name)s",
                "ck": "ck_%(table_name)s_%(constraint_name)s",
                "fk": "fk_%(table_name)s_%(column_0_name)s",
                "pk": "pk_%(table_name)s",
            }
        ),
        type_annotation_map={
            datetime: UtcDateTime(),
            dict[str, Any]: Data,
            list[str]: Data,
            str: Text(),
            bool: Boolean(),
            float: Double(),
        },
    )


db = SQLAlchemy(model_class=Base, disable_autonaming=True)


def _now() -> Any:
    return mapped_column(server_default=func.current_timestamp())


def _data() -> Any:
    return mapped_column(server_default=text("'{}'"))


def _list() -> Any:
    return mapped_column(server_default=text("'[]'"))


def _text() -> Any:
    return mapped_column(server_default=text("''"))


def _flag(value: bool = False) -> Any:
    return mapped_column(server_default=true() if value else false())


def _number(value: int = 0) -> Any:
    return mapped_column(Integer, server_default=text(str(value)))


def _ref(target: str, ondelete: str, *, primary_key: bool = False, index: bool = True) -> Any:
    return mapped_column(Integer, ForeignKey(target, ondelete=ondelete), primary_key=primary_key, index=index)


def _one_of(column: str, values: Any) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


NEVER_REUSE_IDS = {"sqlite_autoincrement": True}  # an id in a message or a log must not come to mean another row


class Meta(Base):
    """Single facts about this installation (its id, when the roles were last synchronised)."""

    __tablename__ = "meta"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str]


class Lease(Base):
    """Who may do a thing that only one process at a time may do."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str]
    until: Mapped[datetime]


class ProcessRow(Base):
    """A process of this installation. It renews ``alive_until`` as long as it lives, and takes its row away when it
    stops.
    """

    __tablename__ = "processes"
    __table_args__ = (NEVER_REUSE_IDS,)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    """The name by which it holds runs and leases."""
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    kinds: Mapped[list[str]] = _list()
    concurrency: Mapped[int] = _number()
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]
    alive_until: Mapped[datetime]


class BarclampRow(Base):
    """A package that was found at least once. ``state``: loaded, failed, disabled, missing."""

    __tablename__ = "barclamps"
    __table_args__ = (CheckConstraint(_one_of("state", ("loaded", "failed", "disabled", "missing")), name="state"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = _text()
    distribution: Mapped[str] = _text()
    version: Mapped[str] = _text()
    package: Mapped[str] = _text()
    enabled: Mapped[bool] = _flag(True)
    state: Mapped[str] = mapped_column(String(16), server_default="loaded")
    error: Mapped[str] = _text()
    quarantine: Mapped[str] = _text()
    """Why its hooks are not called any more, until an operator lets them be tried again."""
    left_behind: Mapped[int] = _number()
    """Threads that are still in calls which took too long."""
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class JigRow(Base):
    __tablename__ = "jigs"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = _text()
    distribution: Mapped[str] = _text()
    installed: Mapped[bool] = _flag(True)


class RoleRow(Base):
    """A role as its barclamp last declared it. ``ready``: the barclamp is loaded and the jig installed."""

    __tablename__ = "roles"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    barclamp_id: Mapped[int] = _ref("barclamps.id", "RESTRICT")
    description: Mapped[str] = _text()
    jig_name: Mapped[str]
    ready: Mapped[bool] = _flag(True)
    discovery: Mapped[bool] = _flag()
    bootstrap: Mapped[bool] = _flag()
    implicit: Mapped[bool] = _flag()
    cluster: Mapped[bool] = _flag()
    destructive: Mapped[bool] = _flag()
    abstract: Mapped[bool] = _flag()
    service: Mapped[bool] = _flag()
    milestone: Mapped[bool] = _flag()
    powersave: Mapped[bool] = _flag()
    library: Mapped[bool] = _flag()
    reboots: Mapped[bool] = _flag()
    requires: Mapped[list[str]] = _list()
    wants: Mapped[list[str]] = _list()
    provides: Mapped[list[str]] = _list()
    conflicts: Mapped[list[str]] = _list()
    attaches: Mapped[list[str]] = _list()
    precedes: Mapped[list[str]] = _list()
    template: Mapped[dict[str, Any]] = _data()
    on_change: Mapped[str] = mapped_column(String(8), server_default="rerun")
    timeout: Mapped[float] = mapped_column(server_default=text("600"))
    max_attempts: Mapped[int] = _number(3)
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class AttribRow(Base):
    """An attribute as its barclamp last declared it; with a role it lives on noderoles, without on nodes."""

    __tablename__ = "attribs"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    barclamp_id: Mapped[int] = _ref("barclamps.id", "RESTRICT")
    role_id: Mapped[int | None] = _ref("roles.id", "CASCADE")
    description: Mapped[str] = _text()
    map: Mapped[str]
    schema: Mapped[dict[str, Any]] = _data()
    default: Mapped[dict[str, Any]] = mapped_column("default", Data, server_default=text("'null'"))
    writable: Mapped[bool] = _flag(True)
    secret: Mapped[bool] = _flag()
    order: Mapped[int] = mapped_column("order", Integer, server_default=text("1000"))


class Deployment(Base):
    __tablename__ = "deployments"
    __table_args__ = (
        Index("uq_deployments_lower_name", func.lower(text("name")), unique=True),
        Index(
            "uq_deployments_one_system",
            "system",
            unique=True,
            sqlite_where=text("system"),
            postgresql_where=text("system"),
        ),
        CheckConstraint("system = (parent_id IS NULL)", name="only_system_is_root"),
        CheckConstraint("committed OR NOT system", name="system_is_committed"),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str] = _text()
    system: Mapped[bool] = _flag()
    committed: Mapped[bool] = _flag()
    parent_id: Mapped[int | None] = _ref("deployments.id", "RESTRICT")
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class Node(Base):
    __tablename__ = "nodes"
    __table_args__ = (
        Index("uq_nodes_lower_name", func.lower(text("name")), unique=True),
        CheckConstraint("alive OR NOT system", name="system_is_alive"),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str] = _text()
    admin: Mapped[bool] = _flag()
    system: Mapped[bool] = _flag()
    alive: Mapped[bool] = _flag()
    available: Mapped[bool] = _flag()
    allocated: Mapped[bool] = _flag()
    bootenv: Mapped[str] = mapped_column(server_default="local")
    order: Mapped[int] = mapped_column("order", Integer, server_default=text("1000"))
    deployment_id: Mapped[int] = _ref("deployments.id", "RESTRICT")
    target_role_id: Mapped[int | None] = _ref("roles.id", "SET NULL")
    discovery: Mapped[dict[str, Any]] = _data()
    hint: Mapped[dict[str, Any]] = _data()
    proposed_hint: Mapped[dict[str, Any]] = _data()
    """The hint with its drafts: what ``hint`` becomes when they are committed."""
    host_keys: Mapped[list[str]] = _list()
    status: Mapped[str] = _text()
    """Why the node is not alive, as the last probe or the node itself said."""
    probed_at: Mapped[datetime | None]
    alive_at: Mapped[datetime | None]
    """When ``alive`` last changed; None: it was never alive."""
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class AddressClaim(Base):
    """An address that an operator gave a node (``hint``) or that the node reported (``report``), in canonical text.

    Several nodes may claim one address. It is the first one's, by source (``hint`` sorts before ``report``), age, node.
    """

    __tablename__ = "address_claims"
    __table_args__ = (
        CheckConstraint(_one_of("source", ("hint", "report")), name="source"),
        Index("ix_address_claims_first", "address", "source", "since", "node_id"),
    )
    node_id: Mapped[int] = _ref("nodes.id", "CASCADE", primary_key=True, index=False)
    address: Mapped[str] = mapped_column(String(45), primary_key=True)
    source: Mapped[str] = mapped_column(String(8))
    since: Mapped[datetime]


class Group(Base):
    __tablename__ = "groups"
    __table_args__ = (
        UniqueConstraint("category", "name"),
        CheckConstraint(_one_of("category", ("class", "rack", "tag", "ui")), name="category"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    category: Mapped[str] = mapped_column(String(16), server_default="tag")
    description: Mapped[str] = _text()


class NodeGroup(Base):
    __tablename__ = "node_groups"
    node_id: Mapped[int] = _ref("nodes.id", "CASCADE", primary_key=True, index=False)
    group_id: Mapped[int] = _ref("groups.id", "CASCADE", primary_key=True)


class HammerRow(Base):
    """A way to act on one node. ``config`` is encrypted as a whole, as it holds credentials."""

    __tablename__ = "hammers"
    __table_args__ = (UniqueConstraint("node_id", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    node_id: Mapped[int] = _ref("nodes.id", "CASCADE", index=False)
    name: Mapped[str]
    priority: Mapped[int] = _number()
    config: Mapped[str] = _text()


class DeploymentRole(Base):
    __tablename__ = "deployment_roles"
    __table_args__ = (UniqueConstraint("deployment_id", "role_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    deployment_id: Mapped[int] = _ref("deployments.id", "CASCADE", index=False)
    role_id: Mapped[int] = _ref("roles.id", "RESTRICT")
    proposed_data: Mapped[dict[str, Any]] = _data()
    committed_data: Mapped[dict[str, Any]] = _data()
    wall: Mapped[dict[str, Any]] = _data()
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


_READY = ", ".join(str(int(state)) for state in NEEDS_PARENTS_ACTIVE)
_TODO, _ACTIVE, _BLOCKED = int(State.TODO), int(State.ACTIVE), int(State.BLOCKED)
RUNNABLE_INDEX = f"state = {_TODO} OR (state = {_ACTIVE} AND rerun)"


class NodeRole(Base):
    """A role bound to a node. ``state`` and ``blockers`` are written by ``store/transitions.py`` and nobody else.

    ``committed``: it was committed at least once. ``blockers`` counts the parents that are not ACTIVE and whose edges
    count. ``goes_back`` marks one whose run is under way and that goes back to work when that has ended: a parent of it
    left ACTIVE, or came to be, meanwhile. ``rerun`` marks an ACTIVE noderole that wants a refresh, or one
    in TRANSITION whose input has changed since its run was made. ``done`` marks a destructive role that has succeeded.
    ``attempts`` counts runs since the last success or retry; ``not_before`` delays the next one.

    ``once`` is the random token of this binding, under which a jig marks on the node that destructive work has ended
    well; redeploying makes a new one. ``halfway``: destructive work began and was not seen to end well, so that it is
    not begun again without an operator's word; together with ``done``, its success was found out later and is yet to be
    told. ``look_at``: when to look for its mark next.
    """

    __tablename__ = "node_roles"
    __table_args__ = (
        UniqueConstraint("node_id", "role_id"),
        CheckConstraint(f"state BETWEEN {min(State).value} AND {max(State).value}", name="state"),
        CheckConstraint("blockers >= 0", name="blockers"),
        CheckConstraint(f"blockers = 0 OR state NOT IN ({_READY})", name="ready_means_parents_active"),
        CheckConstraint(f"blockers > 0 OR state <> {_BLOCKED}", name="blocked_means_blockers"),
        CheckConstraint("cohort >= 1", name="cohort"),
        Index("ix_node_roles_node_state", "node_id", "state", "cohort", "id"),
        Index("ix_node_roles_deployment_state", "deployment_id", "state"),
        Index(
            "ix_node_roles_runnable",
            "node_id",
            "cohort",
            "id",
            sqlite_where=text(RUNNABLE_INDEX),
            postgresql_where=text(RUNNABLE_INDEX),
        ),
        Index(
            "ix_node_roles_look_at",
            "look_at",
            sqlite_where=text("look_at IS NOT NULL"),
            postgresql_where=text("look_at IS NOT NULL"),
        ),
        Index("ix_node_roles_goes_back", "id", sqlite_where=text("goes_back"), postgresql_where=text("goes_back")),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    node_id: Mapped[int] = _ref("nodes.id", "CASCADE", index=False)
    role_id: Mapped[int] = _ref("roles.id", "RESTRICT")
    deployment_id: Mapped[int] = _ref("deployments.id", "RESTRICT", index=False)
    state: Mapped[int] = mapped_column(SmallInteger)
    committed: Mapped[bool] = _flag()
    blockers: Mapped[int] = _number()
    goes_back: Mapped[bool] = _flag()
    cohort: Mapped[int] = _number(1)
    available: Mapped[bool] = _flag(True)
    rerun: Mapped[bool] = _flag()
    done: Mapped[bool] = _flag()
    once: Mapped[str] = _text()
    halfway: Mapped[bool] = _flag()
    look_at: Mapped[datetime | None]
    attempts: Mapped[int] = _number()
    not_before: Mapped[datetime | None]
    run_count: Mapped[int] = _number()
    order: Mapped[int] = mapped_column("order", Integer, server_default=text("1000"))
    status: Mapped[str] = _text()
    held_by: Mapped[str] = _text()
    held_reason: Mapped[str] = _text()
    held_at: Mapped[datetime | None]
    proposed_data: Mapped[dict[str, Any]] = _data()
    committed_data: Mapped[dict[str, Any]] = _data()
    sysdata: Mapped[dict[str, Any]] = _data()
    wall: Mapped[dict[str, Any]] = _data()
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class Edge(Base):
    """The child may run only when the parent is ACTIVE. ``data`` edges also let the child want the
    parent's attributes.

    ``counts`` is false while the parent was never committed, and while a run of the child is under way that began when
    all its parents were ACTIVE.
    """

    __tablename__ = "edges"
    __table_args__ = (
        CheckConstraint("parent_id <> child_id", name="not_itself"),
        CheckConstraint(_one_of("kind", ("data", "order")), name="kind"),
    )
    parent_id: Mapped[int] = _ref("node_roles.id", "CASCADE", primary_key=True, index=False)
    child_id: Mapped[int] = _ref("node_roles.id", "CASCADE", primary_key=True)
    kind: Mapped[str] = mapped_column(String(8), server_default="data")
    counts: Mapped[bool] = _flag(True)


_OPEN = text(_one_of("state", OPEN_RUN_STATES))


class Run(Base):
    """One execution of a noderole by its jig. ``attempt`` counts the tries since the last success or retry.

    Outcomes are accepted only while the run is open and held by ``worker``: that fences off late writers.
    """

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint(_one_of("state", RunState), name="state"),
        CheckConstraint(f"({_one_of('state', OPEN_RUN_STATES)}) = (finished_at IS NULL)", name="finished_means_a_time"),
        Index("uq_runs_one_open_per_node", "node_id", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("ix_runs_open", "state", "id", sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("ix_runs_node_role", "node_role_id", "id"),
        Index("ix_runs_node", "node_id", "id"),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    node_role_id: Mapped[int] = _ref("node_roles.id", "CASCADE", index=False)
    node_id: Mapped[int] = _ref("nodes.id", "CASCADE", index=False)
    state: Mapped[str] = mapped_column(String(16))
    refresh: Mapped[bool] = _flag()
    pending: Mapped[bool] = _flag()
    attempt: Mapped[int] = _number(1)
    input: Mapped[dict[str, Any]] = _data()
    exit_reason: Mapped[str] = _text()
    worker: Mapped[str] = _text()
    queued_at: Mapped[datetime]
    rung_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    deadline: Mapped[datetime | None]
    log_lines: Mapped[int] = _number()


class RunTotal(Base):
    """How many runs of a role ended so, since the role is known here; it outlives the runs themselves.

    ``seconds`` were spent running, ``waited`` in the queue; both are sums.
    """

    __tablename__ = "run_totals"
    role_id: Mapped[int] = _ref("roles.id", "CASCADE", primary_key=True, index=False)
    outcome: Mapped[str] = mapped_column(String(16), primary_key=True)
    runs: Mapped[int] = _number()
    seconds: Mapped[float] = mapped_column(server_default=text("0"))
    waited: Mapped[float] = mapped_column(server_default=text("0"))


class RunLog(Base):
    __tablename__ = "run_logs"
    run_id: Mapped[int] = _ref("runs.id", "CASCADE", primary_key=True, index=False)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    stream: Mapped[str] = mapped_column(String(8))
    line: Mapped[str]


class Provenance(Base):
    """Who last set the value at ``path`` in one layer of one object's data, and when."""

    __tablename__ = "provenance"
    subject: Mapped[str] = mapped_column(String(16), primary_key=True)
    subject_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    layer: Mapped[str] = mapped_column(String(16), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    run_id: Mapped[int | None] = mapped_column(Integer)


class Event(Base):
    """Something plugins may react to, written in the same transaction as the change it tells of."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_subject", "subject", "id"),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    hook: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(64))
    payload: Mapped[dict[str, Any]] = _data()
    created_at: Mapped[datetime] = _now()


class Delivery(Base):
    """One event on its way to one plugin. ``position`` is the plugin's place in the dependency order."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "plugin"),
        CheckConstraint(_one_of("state", ("waiting", "done", "failed")), name="state"),
        Index(
            "ix_deliveries_waiting",
            "event_id",
            "position",
            sqlite_where=text("state = 'waiting'"),
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("ix_deliveries_state_plugin", "state", "plugin"),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[int] = _ref("events.id", "CASCADE", index=False)
    plugin: Mapped[str] = mapped_column(String(128))
    position: Mapped[int] = _number()
    state: Mapped[str] = mapped_column(String(8), server_default="waiting")
    attempts: Mapped[int] = _number()
    next_try_at: Mapped[datetime | None]
    error: Mapped[str] = _text()
    traceback: Mapped[str] = _text()
    settled_at: Mapped[datetime | None]


class HookError(Base):
    """A plugin that could not answer a question: the last time, and how often since the processes were started."""

    __tablename__ = "hook_errors"
    plugin: Mapped[str] = mapped_column(String(128), primary_key=True)
    hook: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str]
    error: Mapped[str]
    traceback: Mapped[str]
    count: Mapped[int] = _number(1)
    at: Mapped[datetime]


class PeriodicJob(Base):
    """A job that a barclamp wants done now and then, and how its last run ended. ``failures`` are those in a row."""

    __tablename__ = "periodic_jobs"
    __table_args__ = (UniqueConstraint("barclamp", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    barclamp: Mapped[str]
    name: Mapped[str]
    seconds: Mapped[float]
    last_run_at: Mapped[datetime | None]
    took: Mapped[float | None]
    failures: Mapped[int] = _number()
    error: Mapped[str] = _text()
    traceback: Mapped[str] = _text()


class User(Base):
    __tablename__ = "users"
    __table_args__ = (
        Index("uq_users_lower_name", func.lower(text("name")), unique=True),
        CheckConstraint(_one_of("role", ("admin", "operator", "viewer")), name="role"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    password_hash: Mapped[str] = _text()
    role: Mapped[str] = mapped_column(String(16), server_default="viewer")
    locked: Mapped[bool] = _flag()
    epoch: Mapped[int] = _number()
    """Raised when the password changes: sessions of an older epoch are dead."""
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class Token(Base):
    """A bearer token of a user, or of a node (which then reaches only its own node's endpoints)."""

    __tablename__ = "tokens"
    __table_args__ = (
        CheckConstraint("(user_id IS NULL) <> (node_id IS NULL)", name="user_or_node"),
        CheckConstraint(_one_of("role", ("admin", "operator", "viewer", "node")), name="role"),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = _ref("users.id", "CASCADE")
    node_id: Mapped[int | None] = _ref("nodes.id", "CASCADE")
    name: Mapped[str] = _text()
    role: Mapped[str] = mapped_column(String(16))
    secret_hash: Mapped[str]
    created_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class BrowserSession(Base):
    """A log-in of a browser. It lasts while it is here and its epoch is that of its user."""

    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(primary_key=True)
    """SHA-256 of the key in the cookie."""
    user_id: Mapped[int] = _ref("users.id", "CASCADE")
    epoch: Mapped[int]
    created_at: Mapped[datetime] = _now()
    ends_at: Mapped[datetime] = mapped_column(index=True)


class Audit(Base):
    """Who did what, from where. Only ever appended to."""

    __tablename__ = "audits"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = _now()
    actor: Mapped[str]
    remote: Mapped[str] = _text()
    action: Mapped[str]
    subject: Mapped[str] = _text()
    detail: Mapped[dict[str, Any]] = _data()


class IdempotencyKey(Base):
    """The answer that a POST with this key got, so that asking twice does it once."""

    __tablename__ = "idempotency_keys"
    actor: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    """SHA-256 of method, path and body: the same key for another request is refused."""
    status: Mapped[int]
    body: Mapped[str]
    created_at: Mapped[datetime] = _now()


def table(model: type[Base]) -> Table:
    """The Core table behind a model, for statements that never build objects."""
    found = model.__table__
    assert isinstance(found, Table)
    return found
