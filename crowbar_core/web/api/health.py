"""Is this process alive, is it ready, and its numbers: for load balancers, supervisors and Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.exc import SQLAlchemyError

from crowbar_core.domain.states import OPEN_RUN_STATES, NodeState, State
from crowbar_core.errors import CrowbarError
from crowbar_core.services.parts import Parts
from crowbar_core.store import boards, leases
from crowbar_core.store.counts import backlog
from crowbar_core.store.migrate import check
from crowbar_core.web.api.operation import Answer, api
from crowbar_core.web.api.routes import outside
from crowbar_core.web.auth import parts


@outside.get("/healthz")
@api(permission="public", summary="200 while this process lives")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@outside.get("/readyz")
@api(permission="public", summary="200 when this process can do its work (perhaps degraded), else 503", statuses=(503,))
def readyz() -> Answer:
    """Says what is wrong without telling strangers more than that: addresses and paths stay in the log."""
    built = parts()
    checks: dict[str, str] = {}
    try:
        behind = [state.name for state in check(built.store, built.registry.schemas()) if not state.up_to_date]
        checks["database"] = "ok"
        checks["migrations"] = "ok" if not behind else f"behind: {', '.join(behind)}; run crowbar db upgrade"
        if built.store.cannot_write is not None:
            # Asked for only after a write has failed: it may be that nobody writes here but us.
            checks["database"] = "cannot be written; is its disk full?"
            with built.store.write(graph=False) as session:
                leases.write_something(session, built.store.now(session))
            checks["database"] = "ok"
    except (CrowbarError, SQLAlchemyError):
        if checks.get("database", "ok") == "ok":
            checks["database"] = "does not answer"
    problem = built.queue.problem()
    checks["queue"] = "ok" if problem is None else "does not answer; queued runs are handed over when it returns"
    ready = checks["database"] == "ok" and checks.get("migrations") == "ok"
    status = "ready" if ready and problem is None else "degraded" if ready else "not ready"
    wrong = [f"{name} {fact}" for name, fact in checks.items() if fact != "ok"]
    value: dict[str, Any] = {"status": status, "detail": "; ".join(wrong) or "all is well", "checks": checks}
    return Answer(value=value, status=200 if ready else 503, headers={} if ready else {"Retry-After": "5"})


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
