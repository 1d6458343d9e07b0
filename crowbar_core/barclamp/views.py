"""Frozen views, which hooks and jigs are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict of them."""


@dataclass(frozen=True, kw_only=True)
class NodeView:
    id: int
    name: str
    admin: bool = False
    system: bool = False
    alive: bool = False
    available: bool = False
    bootenv: str = "local"
    """What it should boot."""
    served_bootenv: str = ""
    """What the services that boot it say now, as they stated it (``ServedBootEnv``)."""
    deployment: str = "system"
    roles: tuple[str, ...] = ()
    """In ``check_binding``: the roles that are bound to it, and those that the same binding is about to bind, by name.
    """
    addresses: tuple[str, ...] = ()
    """Addresses on the admin network, best first, without prefix length."""
    reported_addresses: tuple[str, ...] = ()
    """Those of ``addresses`` that only the node itself reported: an unknown host key is never taken there."""
    host_keys: tuple[str, ...] = ()
    """SSH host keys that are known for the node, as ``"ssh-ed25519 AAAA..."``."""
    discovery: Mapping[str, Json] = field(default_factory=dict)
    hint: Mapping[str, Json] = field(default_factory=dict)
    """What operators set, each attribute at its map: with ``map="racks/rack"`` it is ``hint["racks"]["rack"]``."""


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
    teardown: bool = False
    exit_reason: str = ""


def utc_iso(moment: datetime | None) -> str | None:
    """ISO 8601 with the offset, as the API prints times."""
    return moment.isoformat() if moment else None
