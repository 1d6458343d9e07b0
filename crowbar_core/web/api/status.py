"""The state of the whole at a glance, for dashboards and scripts: nodes, deployments, queue, heartbeat, inventory."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from crowbar_core.domain.states import OPEN_RUN_STATES, NodeState
from crowbar_core.services.data.views import node_views
from crowbar_core.store import bindings, boards, deployment_pages, groups, leases
from crowbar_core.store.counts import at_work, backlog, by_name, oldest_queued
from crowbar_core.web.api.operation import api
from crowbar_core.web.api.routes import outside, v2
from crowbar_core.web.auth import parts

_NOT_A_WORD: Final = re.compile(r"[^a-z0-9_]", re.ASCII)


def _nodes() -> dict[str, Any]:
    with parts().store.read() as session:
        counts = boards.node_counts(session)
    return {
        "total": counts.total,
        "states": {state.name: counts.states.get(state, 0) for state in NodeState},
        "not_alive": counts.dead,
        "not_available": counts.unavailable,
    }


def _deployments() -> list[dict[str, Any]]:
    with parts().store.read() as session:
        lines = deployment_pages.deployment_lines(session)
    return [
        {
            "id": line.id,
            "name": line.name,
            "committed": line.committed,
            "nodes": line.nodes,
            "node_roles": by_name(line.states),
        }
        for line in lines
    ]


def _queue() -> dict[str, Any]:
    built = parts()
    with built.store.read() as session:
        waiting = backlog(session)
        oldest = oldest_queued(session)
        now = built.store.now(session)
    return {
        "kind": built.settings.queue,
        "problem": built.queue.problem(),
        **{str(state): waiting.runs.get(state, 0) for state in OPEN_RUN_STATES},
        "oldest_queued_seconds": (now - oldest).total_seconds() if oldest else None,
        "deliveries_waiting": waiting.deliveries_waiting,
        "deliveries_failed": waiting.deliveries_failed,
    }


def _heartbeat() -> dict[str, Any]:
    built = parts()
    with built.store.read() as session:
        now = built.store.now(session)
        held, workers = leases.held(session), at_work(session)
    return {
        "now": now,
        "leases": [
            {"name": row.name, "holder": row.holder, "until": row.until, "holds": row.until > now} for row in held
        ],
        "workers": [{"name": name, "runs": count, "lease_until": until} for name, count, until in workers],
    }


def _word(kind: str, name: str) -> str:
    """A group's name as Ansible takes it: a word."""
    return f"{kind}_{_NOT_A_WORD.sub('_', name.lower())}"


def _unsafe(text: str) -> dict[str, str]:
    """A text that Ansible takes as it is: unmarked, it would run what stands in braces in it as a template."""
    return {"__ansible_unsafe": text}


def _inventory() -> dict[str, Any]:
    built = parts()
    with built.store.read() as session:
        views = node_views(built.registry, session, built.store)
        by_role, by_group = bindings.by_role(session), groups.by_group(session)
    hosts = {key: view for key, view in views.items() if not view.system}
    found: dict[str, list[str]] = defaultdict(list)
    for view in hosts.values():
        found[_word("deployment", view.deployment)].append(view.name)
    for kind, pairs in (("role", by_role), ("group", by_group)):
        for name, key in pairs:
            if key in hosts:
                found[_word(kind, name)].append(hosts[key].name)
    hostvars = {}
    for view in hosts.values():
        variables: dict[str, Any] = {
            "crowbar_id": view.id,
            "crowbar_alive": view.alive,
            "crowbar_available": view.available,
            "crowbar_deployment": _unsafe(view.deployment),
            "ansible_user": "root",
        }
        if view.addresses:
            variables["ansible_host"] = _unsafe(view.addresses[0])
        hostvars[view.name] = variables
    return {
        "_meta": {"hostvars": hostvars},
        "all": {"hosts": sorted(hostvars), "children": sorted(found)},
        **{name: {"hosts": sorted(set(names))} for name, names in sorted(found.items())},
    }


def _add(name: str, summary: str, view: Callable[[], Any]) -> None:
    """The same question below /api/status, as the ancestor had it, and below /api/v2."""
    called = api(permission="viewer", summary=summary)(view)
    v2.add_url_rule(f"/status/{name}", f"status_{name}", called, methods=["GET"])
    outside.add_url_rule(f"/api/status/{name}", f"status_{name}", called, methods=["GET"])


_add("nodes", "How many nodes are in which state", _nodes)
_add("deployments", "The deployments with their noderoles by state", _deployments)
_add("queue", "What waits to be run, and what waits to be told to plugins", _queue)
_add("heartbeat", "Who holds which lease, and which workers are at work", _heartbeat)
_add("inventory", "The nodes as an Ansible dynamic inventory", _inventory)
