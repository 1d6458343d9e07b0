"""What a barclamp asks the core to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from crowbar_core.barclamp.declared import Role
from crowbar_core.barclamp.views import Json


@dataclass(frozen=True, kw_only=True)
class Bind:
    node: str
    role: str
    deployment: str | None = None
    """The node's own deployment when None."""
    commit: bool = False
    """Commit it at once, with what it requires on that node and was bound for it."""


@dataclass(frozen=True, kw_only=True)
class Unbind:
    """Take the role off the node. What it made there is torn down before, unless ``force``."""

    node: str
    role: str
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class SetAttribute:
    """Set an attribute of a node (its hint), or of the noderole of ``role`` on that node."""

    node: str
    attribute: str
    value: Json
    role: str | None = None


@dataclass(frozen=True, kw_only=True)
class CreateNode:
    """Register a machine. Where there is a node of that name, it does nothing."""

    name: str
    description: str = ""
    admin: bool = False
    deployment: str | None = None
    """``system`` when None."""
    hint: Mapping[str, Json] = field(default_factory=dict)
    discovery: Mapping[str, Json] = field(default_factory=dict)
    host_keys: Sequence[str] = ()
    bootenv: str = "local"
    alive: bool = False
    available: bool = False
    """Whether it is accepted at once; else its roles wait for ``CommitNode``."""


@dataclass(frozen=True, kw_only=True)
class ChangeNode:
    """Change fields of a node; those that are None stay."""

    node: str
    name: str | None = None
    description: str | None = None
    discovery: Mapping[str, Json] | None = None
    """Merged into what is known."""
    host_keys: Sequence[str] | None = None
    available: bool | None = None


@dataclass(frozen=True, kw_only=True)
class CommitNode:
    """Accept a node: its proposed noderoles and its drafts are committed, and it becomes available."""

    node: str


@dataclass(frozen=True, kw_only=True)
class SetHammer:
    """Give a node the hammer of that name, or give the one that it has this priority and configuration."""

    node: str
    name: str
    config: Mapping[str, Json] = field(default_factory=dict)
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class SetBootEnv:
    """What the node should boot."""

    node: str
    bootenv: str


@dataclass(frozen=True, kw_only=True)
class ServedBootEnv:
    """What the services that boot the node say now: stated by the barclamp that runs them."""

    node: str
    bootenv: str


@dataclass(frozen=True, kw_only=True)
class Rerun:
    node: str
    role: str


@dataclass(frozen=True, kw_only=True)
class Refresh:
    """Run the role once more while it stays ACTIVE: on that node, or wherever it is bound. One whose last run failed is
    tried again. Where it is not bound, or proposed and not committed yet, there is nothing to refresh, and nothing
    happens: its first run reads what is there then. Refused is a role, or a node, that there is not.
    """

    role: str
    node: str | None = None


@dataclass(frozen=True, kw_only=True)
class Wake:
    """What the role's run on this node waits for may have happened: the run is called again, if it is in steps.

    Without need, twice, or when there is no such run, it does no harm; one that comes while the run executes is
    remembered.
    """

    node: str
    role: str


@dataclass(frozen=True, kw_only=True)
class MarkAlive:
    node: str
    alive: bool


@dataclass(frozen=True, kw_only=True)
class Power:
    """Perform an action through the node's best hammer, after the commit, at most once.

    It is refused at once if no hammer of the node can. Nobody waits for it; a failure is shown as a problem, and so is
    one that nobody began within five minutes, which is then left undone. Those of one node are performed in order.
    """

    node: str
    action: str


@dataclass(frozen=True, kw_only=True)
class DefineRole:
    """Bring a role into being, at run time. ``role.like`` names a declared role, whose barclamp may define such names
    (``Barclamp.defines``). Its jig, function and scripts are that one's, and so is whatever is left at its default; but
    the new role is not ``abstract``, and has the attributes of its own alone. Once more: it is changed.
    """

    role: Role


@dataclass(frozen=True, kw_only=True)
class RemoveRole:
    """Take a role back that was defined at run time, with its values in deployments. Refused while it is bound."""

    name: str


Intent = (
    Bind
    | Unbind
    | CreateNode
    | ChangeNode
    | CommitNode
    | SetHammer
    | SetAttribute
    | SetBootEnv
    | ServedBootEnv
    | Rerun
    | Refresh
    | Wake
    | MarkAlive
    | Power
    | DefineRole
    | RemoveRole
)
