"""Hearing of changes: each only notes whose names are to be looked at again, and has dns-database run.

The hooks of networks belong to crowbar-network; where that is not installed, nobody calls them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from crowbar_core import Change, Cluster, Intent, NodeRoleView, NodeView, Refresh, cluster, hookimpl
from crowbar_dns import entries, services
from crowbar_dns.services import CLIENT, DATABASE, FOLLOW, SERVER, SERVICE
from crowbar_dns.tables import filters

_NO_MATTER = frozenset(
    ("alive", "available", "allocated", "bootenv", "served_bootenv", "status", "description", "host_keys", "admin")
)


def _note(*ids: int) -> tuple[Intent, ...]:
    with cluster().change() as change:
        entries.note(change, ids)
    return (FOLLOW,)


@hookimpl
def on_install(cluster: Cluster) -> Iterable[Intent]:
    with cluster.change() as change:
        entries.note(change, [entries.EVERYBODY])
    return [FOLLOW, Refresh(role=SERVER)]


@hookimpl
def on_node_create(node: NodeView) -> Iterable[Intent]:
    return [*_note(node.id), *_new_domain(node)]


@hookimpl
def on_node_change(node: NodeView, changed: frozenset[str]) -> Iterable[Intent]:
    return [] if changed <= _NO_MATTER else [*_note(node.id), *_new_domain(node)]


@hookimpl
def on_node_delete(node: NodeView) -> Iterable[Intent]:
    return _note(node.id)


def _new_domain(node: NodeView) -> Iterable[Intent]:
    """A server that serves the domains of nodes has one more."""
    domain = node.name.partition(".")[2]
    with cluster().read() as session:
        several = services.all_services(session)
    if several and not node.system and domain not in services.zones_of(several):
        yield Refresh(role=SERVER)


@hookimpl(optional=True)
def on_network_allocation_create(allocation: Any) -> Iterable[Intent]:
    return _note(allocation.node_id) if allocation.node_id is not None else ()


@hookimpl(optional=True)
def on_network_allocation_delete(allocation: Any) -> Iterable[Intent]:
    return _note(allocation.node_id) if allocation.node_id is not None else ()


@hookimpl(optional=True)
def on_network_create(network: Any) -> Iterable[Intent]:
    return [Refresh(role=SERVER)]


@hookimpl(optional=True)
def on_network_change(network: Any) -> Iterable[Intent]:
    """Its name, its category and those of its ranges may be what filters ask for."""
    return [*_note(entries.EVERYBODY), Refresh(role=SERVER)]


@hookimpl(optional=True)
def on_network_delete(network: Any) -> Iterable[Intent]:
    return [Refresh(role=SERVER)]


# ---------------------------------------------------------------- roles of nodes


@hookimpl
def on_node_bind(node_role: NodeRoleView, session: Any, change: Change) -> None:
    _note_role(change, node_role)


@hookimpl
def on_node_unbind(node_role: NodeRoleView, change: Change) -> None:
    _note_role(change, node_role)
    if node_role.role in (SERVER, SERVICE):
        services.forget(change, node_role.id)


def _note_role(change: Change, node_role: NodeRoleView) -> None:
    """Only where a filter asks for roles."""
    if node_role.role in (DATABASE, CLIENT, SERVER, SERVICE):
        return
    asks = select(filters.c.id).where(filters.c.matcher.contains("node.role")).limit(1)
    if change.session.scalar(asks) is not None:
        entries.note(change, [node_role.node.id])
        change.apply(FOLLOW)
