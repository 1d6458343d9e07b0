"""What the author of a barclamp sees: the words of the plugin contract, as frozen data and a few small protocols.

Standard library and pluggy only, so that importing ``crowbar_core`` costs a barclamp's tests nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar, overload

import pluggy

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict of them."""

PROJECT = "crowbar"
hookspec = pluggy.HookspecMarker(PROJECT)
_mark = pluggy.HookimplMarker(PROJECT)
_F = TypeVar("_F", bound=Callable[..., Any])


@overload
def hookimpl(function: _F, *, roles: Sequence[str] = ()) -> _F: ...


@overload
def hookimpl(*, roles: Sequence[str] = ()) -> Callable[[_F], _F]: ...


def hookimpl(function: _F | None = None, *, roles: Sequence[str] = ()) -> _F | Callable[[_F], _F]:
    """Mark a function as the implementation of the hook of the same name.

    ``roles`` limits the hooks about noderoles (``on_active`` and its like, ``node_role_data``, ``plan_lines``) to the
    roles named.
    """

    def mark(inner: _F) -> _F:
        inner.crowbar_roles = frozenset(roles)  # type: ignore[attr-defined]
        return _mark(inner)

    return mark if function is None else mark(function)


# ---------------------------------------------------------------- what a barclamp declares


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """A named, typed piece of data.

    ``schema`` is a JSON Schema (2020-12) of the value. ``map`` is its place in the data tree, a slash path
    (``"dns/domain"``; the name when empty). An attribute of a role lives on the role's noderoles; one of a barclamp
    alone (no role) lives on nodes: its value is what the operator hinted, else what the node reported.
    ``secret`` values are encrypted at rest and masked wherever they are shown.
    """

    name: str
    schema: Mapping[str, Json] = field(default_factory=dict)
    description: str = ""
    map: str = ""
    default: Json = None
    writable: bool = True
    secret: bool = False
    order: int = 1000

    @property
    def path(self) -> tuple[str, ...]:
        return tuple((self.map or self.name).split("/"))


@dataclass(frozen=True, kw_only=True)
class Role:
    """A unit of configuration that can be bound to a node. The flags and relations are described in the reference.

    ``timeout`` is in seconds, from the start of a run to its kill; None: as the setting ``run_timeout`` says.
    ``max_attempts`` bounds how often a lost or temporarily failing run is tried. ``on_change`` says what happens to an
    ACTIVE noderole when a value it wants changes: ``"rerun"`` (back to TODO, its children wait) or ``"refresh"`` (it
    runs again, its children are undisturbed). ``run`` is the function of a role with the jig ``python``. ``template``
    is data below every other source. ``reboots``: a run may reboot the node or power it off, which a plan says.
    """

    name: str
    jig: str = "noop"
    description: str = ""
    requires: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    attaches: tuple[str, ...] = ()
    precedes: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    template: Mapping[str, Json] = field(default_factory=dict)
    timeout: float | None = None
    max_attempts: int = 3
    on_change: Literal["rerun", "refresh"] = "rerun"
    run: Callable[[Task], Outcome | None] | None = None
    discovery: bool = False
    bootstrap: bool = False
    implicit: bool = False
    cluster: bool = False
    destructive: bool = False
    abstract: bool = False
    service: bool = False
    milestone: bool = False
    powersave: bool = False
    library: bool = False
    reboots: bool = False


@dataclass(frozen=True, kw_only=True)
class Barclamp:
    """What ``register_barclamp`` returns: the roles and attributes that a package brings.

    ``requires`` names other barclamps whose hooks are called before this one's (and after it on deletes).
    """

    name: str
    help: str = ""
    requires: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    attributes: tuple[Attribute, ...] = ()


# ---------------------------------------------------------------- frozen views, which hooks and jigs are given


@dataclass(frozen=True, kw_only=True)
class NodeView:
    id: int
    name: str
    admin: bool = False
    system: bool = False
    alive: bool = False
    available: bool = False
    bootenv: str = "local"
    deployment: str = "system"
    addresses: tuple[str, ...] = ()
    """Addresses on the admin network, best first, without prefix length."""
    reported_addresses: tuple[str, ...] = ()
    """Those of ``addresses`` that only the node itself reported: an unknown host key is never taken there."""
    host_keys: tuple[str, ...] = ()
    """SSH host keys that are known for the node, as ``"ssh-ed25519 AAAA..."``."""
    discovery: Mapping[str, Json] = field(default_factory=dict)
    hint: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NodeRoleView:
    id: int
    node: NodeView
    role: str
    deployment: str
    state: str
    cohort: int = 0
    run_count: int = 0
    status: str = ""
    data: Mapping[str, Json] = field(default_factory=dict)
    """The role's own attributes as they stand, as a tree; secrets masked."""
    wall: Mapping[str, Json] = field(default_factory=dict)
    peers: tuple[NodeView, ...] = ()
    """For a ``cluster`` role: the nodes of all its committed noderoles in the deployment, this one's too, by name."""


@dataclass(frozen=True, kw_only=True)
class DeploymentView:
    id: int
    name: str
    parent: str | None = None
    system: bool = False
    committed: bool = False
    node_roles: tuple[NodeRoleView, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeploymentRoleView:
    id: int
    deployment: str
    role: str
    data: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunView:
    id: int
    node_role_id: int
    node: str
    role: str
    state: str
    attempt: int
    refresh: bool = False
    exit_reason: str = ""


# ---------------------------------------------------------------- jigs


class LogWriter(Protocol):
    def __call__(self, line: str, /, *, stream: Literal["stdout", "stderr", "crowbar"] = "crowbar") -> None: ...


class CancelFlag(Protocol):
    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


def _begin_at_once() -> None:
    """A task that was made by hand belongs to nobody else."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that a jig may know of a run."""

    run_id: int
    node_role_id: int
    attempt: int
    node: NodeView
    address: str | None
    """The admin address on which the node was just found alive; None for jigs that do not touch the node."""
    role: Role
    barclamp: str
    package: str
    """The importable package of the barclamp, in which ``scripts/<role>/`` is looked up."""
    deployment: str
    data: Mapping[str, Json]
    """The declared input as one tree: own attributes, wanted attributes, hints."""
    timeout: float
    """Seconds from the start of the run until it must have ended."""
    refresh: bool
    log: LogWriter
    cancelled: CancelFlag
    once: str = ""
    """For a destructive role: the token of this binding, under which the jig keeps a mark on the node when the role has
    ended well, and looks for it before it starts. A new one when the node is redeployed. Empty for all other roles.
    """
    installation: str = ""
    """Which Crowbar this is: run numbers of another one say nothing about this one's."""
    begin: Callable[[], None] = _begin_at_once
    """To be called right before the first thing that touches anything: looks once more whether the run still belongs to
    this worker. Raises ``RunCancelled`` when it does not. The core calls it for jigs whose ``begins`` is false.
    """


@dataclass(frozen=True, kw_only=True)
class Done:
    """The run succeeded. ``wall`` is what it reports, a tree merged into the noderole's wall."""

    wall: Mapping[str, Json] = field(default_factory=dict)
    before: bool = False
    """It had ended well before, as its mark on the node tells, and nothing was done now."""


@dataclass(frozen=True, kw_only=True)
class Pending:
    """The run goes on elsewhere and is ended through the API. ``deadline`` is in seconds from now."""

    deadline: float
    reason: str = ""


Outcome = Done | Pending


class Jig(ABC):
    """How a role is carried out. One instance per process; ``run`` is called from many threads.

    ``config`` is the settings' table ``[plugins.<barclamp>]`` of the barclamp that the same package brings.
    """

    touches_node: bool = False
    """Whether the node is probed (ping and SSH) before each run."""
    does_nothing: bool = False
    """Whether a run succeeds by itself: ``run`` is then called only where a barclamp implements ``jig_run``."""
    begins: bool = False
    """Whether ``run`` calls ``task.begin()`` itself. Until then nothing has been touched, and a run that is cut off may
    be tried again even where its role is destructive.
    """

    def __init__(self, config: Mapping[str, Json]) -> None:
        self.config = config

    @abstractmethod
    def run(self, task: Task) -> Outcome:
        """Carry out the role. Raises ``TemporaryError``, ``NodeUnreachable``, ``Interrupted``, ``PermanentError``,
        ``RunTimeout``, ``RunCancelled``.
        """

    def look(self, task: Task) -> Done | None:
        """Whether the destructive role of an earlier run (``task.run_id``) ended well, by its mark on the node.

        Asked when its fate is unknown and the node is alive. It only looks, and carries out nothing. None: there is no
        mark. Raises ``TemporaryError`` when that cannot be told yet. A jig that keeps no marks never finds one.
        """
        return None

    def close(self) -> None:  # noqa: B027  a jig that keeps nothing has nothing to give back
        """Give back what is kept between runs (connections). Called at shutdown."""


class Hammer(ABC):
    """A way to act on a node outside its roles: power, boot device. Found through the entry points
    ``crowbar.hammers``.
    """

    def __init__(self, config: Mapping[str, Json]) -> None:
        """``config`` belongs to one node (address of its BMC, user name, ...)."""
        self.config = config

    @abstractmethod
    def actions(self) -> tuple[str, ...]:
        """What can be performed: ``on``, ``off``, ``reset``, ``status``, ..."""

    @abstractmethod
    def perform(self, action: str) -> str:
        """Do it; returns one line for a person (``status``: ``on`` or ``off``). Raises ``CrowbarError``."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The answer of ``probe_node``. ``reason`` says why a node is not alive; ``host_keys`` are those it showed."""

    alive: bool
    address: str | None = None
    reason: str = ""
    host_keys: tuple[str, ...] = ()


# ---------------------------------------------------------------- problems and intents


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An objection (``check_…``) or something an operator should see (``status_checks``)."""

    detail: str
    severity: Literal["warning", "error"] = "error"


@dataclass(frozen=True, kw_only=True)
class Bind:
    node: str
    role: str
    deployment: str | None = None
    """The node's own deployment when None."""


@dataclass(frozen=True, kw_only=True)
class Unbind:
    node: str
    role: str


@dataclass(frozen=True, kw_only=True)
class SetAttribute:
    """Set an attribute of a node (its hint), or of the noderole of ``role`` on that node."""

    node: str
    attribute: str
    value: Json
    role: str | None = None


@dataclass(frozen=True, kw_only=True)
class SetBootEnv:
    node: str
    bootenv: str


@dataclass(frozen=True, kw_only=True)
class Rerun:
    node: str
    role: str


@dataclass(frozen=True, kw_only=True)
class Refresh:
    node: str
    role: str


@dataclass(frozen=True, kw_only=True)
class MarkAlive:
    node: str
    alive: bool


@dataclass(frozen=True, kw_only=True)
class Power:
    """Perform an action through the node's best hammer, after the commit."""

    node: str
    action: str


Intent = Bind | Unbind | SetAttribute | SetBootEnv | Rerun | Refresh | MarkAlive | Power


# ---------------------------------------------------------------- pages, routes, tables, periodic jobs

Permission = Literal["public", "viewer", "operator", "admin", "node"]


def requires(permission: Permission) -> Callable[[_F], _F]:
    """Declare who may call a route of a barclamp's blueprint. The routes of a blueprint with one
    that does not are left out, and that is shown."""

    def mark(view: _F) -> _F:
        view.crowbar_permission = permission  # type: ignore[attr-defined]
        return view

    return mark


@dataclass(frozen=True, kw_only=True)
class NavItem:
    label: str
    url: str
    order: int = 1000


@dataclass(frozen=True, kw_only=True)
class Schema:
    """A barclamp's own tables: ``migrations`` is an importable package of Alembic versions. Version table:
    ``alembic_version_<name>``.
    """

    migrations: str


@dataclass(frozen=True, kw_only=True)
class Periodic:
    """A job that the one sweeping process calls every ``seconds``."""

    name: str
    seconds: float
    run: Callable[[], None]


class Cluster(Protocol):
    """Reading the cluster from a barclamp's own pages and jobs: frozen views, never tables."""

    def nodes(self) -> tuple[NodeView, ...]: ...

    def node(self, name: str) -> NodeView: ...

    def node_roles(self, *, role: str | None = None, node: str | None = None) -> tuple[NodeRoleView, ...]: ...

    def apply(self, intents: Sequence[Intent]) -> None: ...


_cluster: ContextVar[Cluster] = ContextVar("crowbar_cluster")


def cluster() -> Cluster:
    """The cluster that the current request or job belongs to. Raises ``LookupError`` outside of one."""
    return _cluster.get()


@contextmanager
def serving(current: Cluster) -> Iterator[Cluster]:
    """Make ``current`` what ``cluster()`` answers inside the block (the core does this around requests and jobs)."""
    token = _cluster.set(current)
    try:
        yield current
    finally:
        _cluster.reset(token)


def utc_iso(moment: datetime | None) -> str | None:
    """ISO 8601 with the offset, as the API prints times."""
    return moment.isoformat() if moment else None
