"""How well the whole is: what is found wrong, how bad that is, and who is alive to do the work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import insert, select, update

from crowbar_core.barclamp import Periodic, Role
from crowbar_core.questions import Unanswered
from crowbar_core.services.engine import housekeeping
from crowbar_core.services.engine.engine import Engine
from crowbar_core.services.watch.health import Finding, gather
from crowbar_core.services.watch.processes import Presence, processes, tell_problems
from crowbar_core.store import catalogue, events, quarantine
from crowbar_core.store import processes as rows
from crowbar_core.store.models import Delivery, Event, ProcessRow, table
from tests.integration.cluster import Cluster, node_rows
from tests.services import wait_until

NewCluster = Callable[..., Cluster]
ROLE = Role(name="work", jig="noop")


def seen(cluster: Cluster) -> list[Any]:
    with cluster.parts.store.read() as session:
        return processes(session, cluster.parts.store)


def beat(cluster: Cluster, *kinds: str, host: str = "elsewhere", concurrency: int = 0, **values: Any) -> str:
    """A process on another machine, which said just now that it lives."""
    now = cluster.clock()
    name = f"{host}/m/{len(seen(cluster))}/1/x"
    with cluster.parts.store.write() as session:
        said = {
            "host": host, "pid": 7, "version": "1", "kinds": list(kinds), "concurrency": concurrency, "started_at": now,
            "beat_at": now, "alive_until": now + timedelta(seconds=30), **values,
        }  # fmt: skip
        rows.beat(session, name, said)
    return name


def at_work(cluster: Cluster) -> None:
    beat(cluster, "annealer", "worker", "web", concurrency=4)


def finding(cluster: Cluster, check: str) -> Finding | None:
    return next((one for one in gather(cluster.parts).findings if one.check == check), None)


def test_all_is_well_when_somebody_anneals_and_somebody_works(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    at_work(cluster)
    assert gather(cluster.parts).findings == []
    assert gather(cluster.parts).status == "ready"


def test_without_an_annealer_or_a_worker_it_is_degraded_and_says_which(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    beat(cluster, "web")
    health = gather(cluster.parts)
    assert health.status == "degraded"
    assert "no annealer is alive" in health.of("annealer")
    assert "no worker is alive" in health.of("worker")
    beat(cluster, "annealer")
    health = gather(cluster.parts)
    assert (health.of("annealer"), health.status) == ("ok", "degraded")
    beat(cluster, "worker")
    assert gather(cluster.parts).status == "ready"


def test_a_process_that_stops_beating_is_dead_and_is_forgotten_after_a_day(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    beat(cluster, "worker")
    cluster.clock.advance(31)
    (one,) = seen(cluster)
    assert (one.state, one.died) == ("dead", False)
    dead = finding(cluster, "processes")
    assert dead is not None
    assert dead.grade == "warning"
    assert "elsewhere" not in dead.detail
    assert "elsewhere" in dead.names[0]
    housekeeping.clean(cluster.parts)
    assert len(seen(cluster)) == 1
    cluster.clock.advance(86400)
    housekeeping.clean(cluster.parts)
    assert seen(cluster) == []


def test_a_process_is_there_from_its_start_to_its_stop(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    presence = Presence(cluster.parts, ["web", "worker"], concurrency=3)
    presence.start()
    (one,) = seen(cluster)
    assert (one.state, one.seen.kinds, one.seen.concurrency) == ("alive", ["web", "worker"], 3)
    presence.stop()
    assert seen(cluster) == []


def test_who_is_started_again_takes_the_place_of_who_died_here(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    first = Presence(cluster.parts, ["worker"])
    first.start()
    other = Presence(cluster.parts, ["annealer"])
    other.start()
    with cluster.parts.store.write() as session:
        long_ago = cluster.clock() - timedelta(seconds=1)
        session.execute(update(table(ProcessRow)).values(alive_until=long_ago))
    again = Presence(cluster.parts, ["worker"])
    again.start()
    assert [(one.seen.name, one.state) for one in seen(cluster)] == [(other.name, "dead"), (again.name, "alive")]
    for one in (first, other, again):
        one.stop()


def test_a_process_shows_the_runs_that_it_holds(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    name = beat(cluster, "worker", concurrency=4)
    cluster.node("a")
    ref = cluster.bind("a", "work")
    cluster.commit_all()
    cluster.claim(ref, name)
    (one,) = seen(cluster)
    assert one.seen.runs == 1


def test_a_queue_that_does_not_drain_though_workers_are_free_is_told(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    cluster.node("a")
    cluster.bind("a", "work")
    cluster.commit_all()
    cluster.clock.advance(300)
    at_work(cluster)
    told = finding(cluster, "runs")
    assert told is not None
    assert told.grade == "degraded"
    assert told.detail.startswith("1 run has been queued for 300 s")


def test_a_queue_before_workers_that_are_all_busy_is_no_fault(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    name = beat(cluster, "annealer", "worker", concurrency=1)
    cluster.node("a")
    cluster.node("b")
    busy = cluster.bind("a", "work")
    cluster.bind("b", "work")
    cluster.commit_all()
    cluster.claim(busy, name)
    cluster.clock.advance(300)
    beat(cluster, "annealer", "worker", concurrency=0)
    assert finding(cluster, "runs") is None
    with cluster.parts.store.write() as session:
        session.execute(update(table(ProcessRow)).values(alive_until=cluster.clock() + timedelta(seconds=30)))
    assert finding(cluster, "runs") is None


def test_events_that_nobody_delivers_are_told_with_the_plugin_for_whom_they_wait(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE, hooks={"on_node_create": lambda node: None})
    cluster.node("a")
    assert finding(cluster, "deliveries") is None
    cluster.clock.advance(300)
    told = finding(cluster, "deliveries")
    assert told is not None
    assert (told.grade, list(told.names)) == ("degraded", ["tests"])
    assert "tests" not in told.detail


def test_a_hook_that_failed_for_good_is_told(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    at_work(cluster)
    with cluster.parts.store.write() as session:
        event = session.scalar(
            insert(table(Event)).values(hook="on_active", subject="node 1", payload={}).returning(table(Event).c.id)
        )
        session.execute(insert(table(Delivery)).values(event_id=event, plugin="tests", state="failed", error="broke"))
    assert gather(cluster.parts).status == "degraded"
    assert gather(cluster.parts).of("hooks") == "1 hook has failed for good"


def test_a_barclamp_in_quarantine_is_told(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    at_work(cluster)
    with cluster.parts.store.write() as session:
        quarantine.quarantine(session, "tests", "it hung three times")
    told = finding(cluster, "hooks")
    assert told is not None
    assert (told.grade, list(told.names)) == ("degraded", ["tests"])


def test_a_node_that_died_is_a_warning_and_the_last_one_is_more(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    at_work(cluster)
    cluster.node("new", alive=False)
    assert finding(cluster, "nodes") is None, "one that was never alive has not died"
    cluster.node("a")
    cluster.node("b")
    cluster.change_node("a", alive=False)
    told = finding(cluster, "nodes")
    assert told is not None
    assert told.grade == "warning"
    assert gather(cluster.parts).status == "ready"
    cluster.change_node("b", alive=False)
    told = finding(cluster, "nodes")
    assert told is not None
    assert (told.grade, told.detail) == ("degraded", "2 nodes that were alive are not alive now, and no other")


def test_a_node_on_which_nothing_is_to_be_done_may_be_off(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    at_work(cluster)
    cluster.node("a")
    cluster.change_node("a", alive=False, available=False)
    assert gather(cluster.parts).findings == []


def test_when_a_node_became_alive_or_dead_is_known(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    node = cluster.node("a", alive=False)
    moment = select(node_rows.c.alive_at).where(node_rows.c.id == node)
    assert cluster.rows(moment)[0][0] is None
    cluster.clock.advance(5)
    cluster.change_node("a", alive=True)
    assert cluster.rows(moment)[0][0] == cluster.clock()
    cluster.clock.advance(5)
    cluster.change_node("a", alive=False)
    assert cluster.rows(moment)[0][0] == cluster.clock()


def test_a_package_that_did_not_load_is_told_and_logged_in_one_line(
    new_cluster: NewCluster, caplog: Any, capsys: Any
) -> None:
    cluster = new_cluster(ROLE)
    at_work(cluster)
    cluster.parts.registry.failed_jigs["broken"] = "Traceback ...\nImportError: no module named nonsense"
    assert gather(cluster.parts).status == "degraded"
    assert gather(cluster.parts).of("barclamps") == "1 installed package did not load, or not whole"
    with caplog.at_level(logging.ERROR):
        tell_problems(cluster.parts)
    said = [line for line in (capsys.readouterr().out + caplog.text).splitlines() if "nonsense" in line]
    assert len(said) == 1
    assert "Traceback" not in said[0]


def test_a_periodic_job_that_fails_is_told_until_it_succeeds(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    at_work(cluster)
    said = Unanswered(plugin="tests", hook=events.job_name("tidy up"), subject="", error="it broke", traceback="")
    with cluster.parts.store.write() as session:
        events.note_unanswered(session, cluster.clock(), [said])
    assert gather(cluster.parts).of("jobs") == "1 periodic job fails"
    told = finding(cluster, "jobs")
    assert told is not None
    assert list(told.names) == ["tests tidy up"]
    with cluster.parts.store.write() as session:
        events.forget_job(session, "tests", "tidy up")
    assert gather(cluster.parts).findings == []


def test_a_barclamps_job_that_raises_is_shown_and_no_more_once_it_is_mended(new_cluster: NewCluster) -> None:
    works = threading.Event()

    def run() -> None:
        if not works.is_set():
            raise RuntimeError("the shelf is empty")

    jobs = {"register_periodic": lambda: [Periodic(name="tidy up", seconds=0.1, run=run)]}
    cluster = new_cluster(ROLE, hooks=jobs, probe_seconds=0)
    engine = Engine(cluster.parts)
    engine.start(executor=False)
    try:
        told = wait_until(lambda: finding(cluster, "jobs"), seconds=120, what="the failed job")
        assert told is not None
        assert list(told.names) == ["tests tidy up"]
        with cluster.parts.store.read() as session:
            (failure,) = catalogue.hook_failures(session, plugin="tests")
        assert failure.error == "RuntimeError: the shelf is empty"
        works.set()
        wait_until(lambda: finding(cluster, "jobs") is None, seconds=120, what="the job is mended")
    finally:
        engine.stop()


def test_a_process_of_this_machine_that_is_gone_is_dead_at_once(new_cluster: NewCluster) -> None:
    cluster = new_cluster(ROLE)
    presence = Presence(cluster.parts, ["worker"])
    gone = "/".join([*presence.name.split("/")[:3], "1", "x"])
    with cluster.parts.store.write() as session:
        now = cluster.clock()
        rows.beat(
            session, gone,
            {"host": "here", "pid": 1, "version": "1", "kinds": ["worker"], "concurrency": 1, "started_at": now,
             "beat_at": now, "alive_until": now + timedelta(days=1)},
        )  # fmt: skip
    (one,) = seen(cluster)
    assert (one.state, one.died) == ("dead", True)
