"""What a barclamp asks the core to do."""

from __future__ import annotations

from dataclasses import dataclass

from crowbar_core.barclamp.declared import Role
from crowbar_core.barclamp.views import Json


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
    """Run the role once more while it stays ACTIVE: on that node, or wherever it is bound. One whose last run failed is
    tried again. A role on no node has nothing to refresh.
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
    """Perform an action through the node's best hammer, after the commit."""

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
    Bind | Unbind | SetAttribute | SetBootEnv | Rerun | Refresh | Wake | MarkAlive | Power | DefineRole | RemoveRole
)
