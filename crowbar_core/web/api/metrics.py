"""The numbers of the whole cluster for Prometheus, read from the database when it asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from crowbar_core.domain.states import OPEN_RUN_STATES, NodeState, State
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.watch.health import CHECKS, GRADES, gather
from crowbar_core.services.watch.processes import KINDS, alive_of_kind, processes
from crowbar_core.store import boards, counts, quarantine, totals
from crowbar_core.web.api.operation import api
from crowbar_core.web.api.routes import outside
from crowbar_core.web.auth import parts


class Numbers:
    """Every process answers the same: the numbers are the cluster's, not its own."""

    def __init__(self, built: Parts) -> None:
        self._parts = built

    def collect(self) -> Iterator[Metric]:
        store = self._parts.store
        with store.read() as session:
            now = store.now(session)
            nodes = boards.node_counts(session)
            node_roles = boards.node_role_counts(session)
            waiting = counts.backlog(session)
            oldest = counts.queued_before(session, now).oldest
            died = counts.troubles(session).dead_nodes
            ended = totals.ended(session)
            living = processes(session, store)
            left_behind = quarantine.all_left_behind(session)
        yield _labelled("crowbar_nodes", "Nodes by state.", {one.name: nodes.states.get(one, 0) for one in NodeState})
        yield _gauge("crowbar_nodes_not_alive", "Nodes that do not answer.", nodes.dead)
        yield _gauge("crowbar_nodes_died", "Nodes to be worked on that were alive and are not now.", died)
        yield _labelled(
            "crowbar_node_roles", "Noderoles by state.", {one.name: node_roles.get(one, 0) for one in State}
        )
        yield _labelled(
            "crowbar_runs_open", "Runs that have not ended, by state.",
            {str(one): waiting.runs.get(one, 0) for one in OPEN_RUN_STATES},
        )  # fmt: skip
        yield _gauge(
            "crowbar_runs_oldest_queued_seconds", "For how long the run that waits longest has been queued.",
            (now - oldest).total_seconds() if oldest else 0.0,
        )  # fmt: skip
        yield from _runs(ended)
        yield _labelled(
            "crowbar_deliveries", "Events on their way to barclamps; failed: given up.",
            {"waiting": waiting.deliveries_waiting, "failed": waiting.deliveries_failed},
        )  # fmt: skip
        yield _gauge(
            "crowbar_hook_threads_left_behind", "Threads that are still in hooks which took too long.", left_behind
        )
        yield _gauge("crowbar_queue_up", "Whether the queue answers.", 0 if self._parts.queue.problem() else 1)
        found = GaugeMetricFamily(
            "crowbar_processes", "Processes by what they do; one counts for each.", labels=["kind", "state"]
        )
        seen = Counter((kind, one.state) for one in living for kind in one.seen.kinds)
        for kind in KINDS:
            for state in ("alive", "dead"):
                found.add_metric([kind, state], seen[kind, state])
        yield found
        workers = alive_of_kind(living, "worker")
        used = sum(one.runs for one in workers)
        free = sum(max(one.concurrency - one.runs, 0) for one in workers)
        yield _labelled(
            "crowbar_worker_places", "How many runs the living workers carry out, and could beside them.",
            {"used": used, "free": free}, label="state",
        )  # fmt: skip
        health = gather(self._parts)
        yield _labelled(
            "crowbar_health", "What is looked at: 0 ok, 1 warning, 2 degraded, 3 fatal.",
            {check: GRADES.index(health.grade_of(check)) for check in CHECKS}, label="check",
        )  # fmt: skip


def _runs(ended: list[totals.Ended]) -> Iterator[Metric]:
    labels = ["role", "outcome"]
    counted = CounterMetricFamily("crowbar_runs", "Runs that have ended.", labels=labels)
    lasted = SummaryMetricFamily("crowbar_run_duration_seconds", "How long runs took, once begun.", labels=labels)
    waited = SummaryMetricFamily("crowbar_run_wait_seconds", "How long runs were queued.", labels=labels)
    for one in ended:
        counted.add_metric([one.role, one.outcome], one.runs)
        lasted.add_metric([one.role, one.outcome], one.runs, one.seconds)
        waited.add_metric([one.role, one.outcome], one.runs, one.waited)
    yield from (counted, lasted, waited)


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_, value=value)


def _labelled(name: str, help_: str, values: dict[str, int], *, label: str = "state") -> Metric:
    made = GaugeMetricFamily(name, help_, labels=[label])
    for key, value in values.items():
        made.add_metric([key], value)
    return made


@outside.get("/metrics")
@api(permission="viewer", summary="Numbers for Prometheus")
def metrics() -> Response:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Numbers(parts()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
