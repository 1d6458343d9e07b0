"""Is this process alive, is it ready, and its numbers: for load balancers, supervisors and Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from crowbar_core.domain.states import OPEN_RUN_STATES, NodeState, State
from crowbar_core.services.health import CHECKS, gather
from crowbar_core.services.parts import Parts
from crowbar_core.store import boards
from crowbar_core.store.counts import backlog
from crowbar_core.web.api.operation import Answer, api
from crowbar_core.web.api.routes import outside, v2
from crowbar_core.web.auth import parts


@outside.get("/healthz")
@api(permission="public", summary="200 while this process lives")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@outside.get("/readyz")
@api(permission="public", summary="200 when this process can do its work (perhaps degraded), else 503", statuses=(503,))
def readyz() -> Answer:
    """Says what is wrong without telling strangers more than that: names, addresses and paths are for viewers."""
    found = gather(parts())
    said = [one for one in found.findings if one.grade != "warning"]
    value: dict[str, Any] = {
        "status": found.status,
        "detail": "; ".join(one.detail for one in said) or "all is well",
        "checks": {check: found.of(check) for check in CHECKS},
        "warnings": [one.detail for one in found.findings if one.grade == "warning"],
    }
    fatal = found.grade == "fatal"
    return Answer(value=value, status=503 if fatal else 200, headers={"Retry-After": "5"} if fatal else {})


@v2.get("/health")
@api(permission="viewer", summary="How well the whole is: everything that is looked at, and what is wrong with it")
def health() -> dict[str, Any]:
    found = gather(parts())
    return {
        "status": found.status,
        "checks": {check: found.grade_of(check) for check in CHECKS},
        "findings": [
            {"check": one.check, "grade": one.grade, "detail": one.detail, "names": list(one.names)}
            for one in found.findings
        ],
    }


class Numbers:
    """The cluster's numbers, read from the database when Prometheus asks."""

    def __init__(self, built: Parts) -> None:
        self._parts = built

    def collect(self) -> Iterator[Metric]:
        with self._parts.store.read() as session:
            nodes = boards.node_counts(session)
            node_roles = boards.node_role_counts(session)
            waiting = backlog(session)
        gauge = GaugeMetricFamily("crowbar_nodes", "Nodes by state.", labels=["state"])
        for node_state in NodeState:
            gauge.add_metric([node_state.name], nodes.states.get(node_state, 0))
        yield gauge
        yield GaugeMetricFamily("crowbar_nodes_not_alive", "Nodes that do not answer.", value=nodes.dead)
        gauge = GaugeMetricFamily("crowbar_node_roles", "Noderoles by state.", labels=["state"])
        for state in State:
            gauge.add_metric([state.name], node_roles.get(state, 0))
        yield gauge
        gauge = GaugeMetricFamily("crowbar_runs_open", "Runs that have not ended, by state.", labels=["state"])
        for run_state in OPEN_RUN_STATES:
            gauge.add_metric([run_state], waiting.runs.get(run_state, 0))
        yield gauge
        gauge = GaugeMetricFamily("crowbar_deliveries", "Events on their way to plugins.", labels=["state"])
        gauge.add_metric(["waiting"], waiting.deliveries_waiting)
        gauge.add_metric(["failed"], waiting.deliveries_failed)
        yield gauge
        problem = self._parts.queue.problem()
        yield GaugeMetricFamily("crowbar_queue_up", "Whether the queue answers.", value=0 if problem else 1)


@outside.get("/metrics")
@api(permission="viewer", summary="Numbers for Prometheus")
def metrics() -> Response:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Numbers(parts()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
