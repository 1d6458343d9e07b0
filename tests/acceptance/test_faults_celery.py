"""A server and two workers with Redis between them: workers die, Redis forgets, Redis goes away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crowbar_core.queues.celery import ANSWER_SECONDS, CeleryQueue, messages
from crowbar_core.settings import Settings
from tests.acceptance.processes import Site, installed
from tests.services import RedisServer, free_port

pytestmark = [pytest.mark.celery, pytest.mark.postgres]


@dataclass
class Fleet:
    site: Site
    redis: RedisServer


@pytest.fixture
def fleet(tmp_path: Path, postgres_url: str) -> Iterator[Fleet]:
    """A server that executes nothing itself, with a Redis of its own; the workers are the test's."""
    with (
        RedisServer() as redis,
        installed(tmp_path / "crowbar", database_url=postgres_url, queue="celery", redis_url=redis.url) as site,
    ):
        site.start("serve")
        yield Fleet(site, redis)


def test_a_worker_killed_in_the_middle_is_replaced_by_the_other(fleet: Fleet) -> None:
    site = fleet.site
    workers = {one.popen.pid: one for one in (site.start("worker"), site.start("worker"))}
    nodes = site.build(6, "after")
    site.commit()
    for node in nodes:
        site.wait_begun("slow", node)
    begun = {int(line[4]) for line in site.journal("begin", role="slow")}
    assert begun <= workers.keys()
    victim = int(site.journal("begin", nodes[0], "slow")[0][4])
    workers[victim].kill()
    for line in site.journal("begin", role="slow"):
        if int(line[4]) == victim:
            site.wait_begun("slow", line[1], times=2)
    site.open()
    site.wait_active()
    site.check()
    assert {run["role"] for run in site.all("runs") if run["state"] == "lost"} == {"slow"}


def test_a_redis_that_was_flushed_with_work_queued_loses_nothing(fleet: Fleet) -> None:
    site = fleet.site
    nodes = site.build(8, "after")
    site.commit()
    with fleet.redis.client() as client:
        site.wait(lambda: client.llen("crowbar"), "the runs are rung")
    site.start("worker", concurrency=1)
    site.wait_begun("slow")
    # One runs, one or more are in the worker's hand, the others in Redis.
    fleet.redis.flush()
    site.start("worker", concurrency=4)
    site.open()
    site.wait_active()
    site.check()
    assert len(site.journal("end", role="after")) == len(nodes)
    assert {run["state"] for run in site.all("runs")} == {"succeeded"}


@pytest.mark.slow
def test_a_redis_away_for_twenty_seconds_delays_work_and_nothing_else(fleet: Fleet) -> None:
    site = fleet.site
    workers = [site.start("worker"), site.start("worker")]
    first, second = site.build(2, "after")
    site.commit()
    site.wait_begun("slow", first)
    site.wait_begun("slow", second)
    fleet.redis.kill()
    gone = time.monotonic()
    site.wait(lambda: site.ready().json()["status"] == "degraded", "the health says so")
    assert site.ready().status_code == 200
    assert "queue" in site.ready().json()["detail"]
    # The API changes things as ever, and what runs ends.
    late = site.build(1, "after", deployment="later")
    site.commit("later")
    site.open(first)
    site.wait(lambda: site.node_role(first, "slow")["state_name"] == "ACTIVE", "an outcome needs no Redis")
    time.sleep(max(0.0, 20.0 - (time.monotonic() - gone)))
    assert not site.journal("begin", late[0])
    fleet.redis.start()
    site.wait(lambda: site.ready().json()["status"] == "ready", "the health says so")
    site.open()
    site.wait_active()
    site.check()
    assert all(worker.popen.poll() is None for worker in workers)
    assert {run["state"] for run in site.all("runs")} == {"succeeded"}


def test_messages_doubled_late_or_senseless_do_nothing(fleet: Fleet) -> None:
    site = fleet.site
    site.start("worker")
    site.start("worker")
    nodes = site.build(4, "after")
    site.commit()
    for node in nodes:
        site.wait_begun("slow", node)
    ringer = CeleryQueue(Settings(redis_url=fleet.redis.url))
    runs = [int(run["id"]) for run in site.all("runs")]
    for _ in range(20):
        ringer.ring([*runs, 2**31 - 1])
    site.open()
    for _ in range(20):
        ringer.ring(runs)
    ringer.close()
    with fleet.redis.client() as client:
        site.wait(lambda: client.llen("crowbar") == 0, "all of it is heard")
    site.wait_active()
    site.check()
    assert len(site.all("runs")) == 3 * len(nodes)
    assert {run["state"] for run in site.all("runs")} == {"succeeded"}


@pytest.mark.slow
def test_a_worker_told_to_stop_finishes_or_hands_back_and_the_other_goes_on(fleet: Fleet) -> None:
    site = fleet.site
    worker = site.start("worker")
    short, long = site.build(2, "after")
    site.commit()
    site.wait_begun("slow", short)
    site.wait_begun("slow", long)
    worker.signal(signal.SIGTERM)
    worker.find("The worker stops")
    site.open(short)
    code, seconds = worker.terminate()
    assert code == 0, worker.log
    assert seconds < 60
    assert site.journal("end", short, "slow")
    assert site.journal("cancelled", long, "slow")
    assert not site.journal("begin", short, "after"), "nothing was begun after the order to stop"
    site.start("worker")
    site.open()
    site.wait_active()
    site.check()
    assert [run["state"] for run in site.runs_of(long, "slow")] == ["cancelled", "succeeded"]


@pytest.mark.slow
def test_a_worker_told_to_stop_hands_back_what_does_not_listen_and_leaves_what_must_not_be_cut(fleet: Fleet) -> None:
    site = fleet.site
    worker = site.start("worker", lease_seconds=120)
    deaf, once = site.build(2)
    site.bind(deaf, "deaf")
    site.bind(once, "once")
    site.commit()
    site.wait_begun("deaf", deaf)
    site.wait_begun("once", once)
    code, _ = worker.terminate()
    assert code == 0, worker.log
    assert not site.journal("cancelled", once, "once"), "nobody told it to stop halfway"
    assert "fate unknown" in site.node_role(once, "once")["status"]
    assert site.runs_of(deaf, "deaf")[0]["state"] == "cancelled"
    site.start("worker", lease_seconds=120)
    site.wait_begun("deaf", deaf, times=2)
    assert len(site.journal("begin", once, "once")) == 1


def test_few_ids_travel_alone_and_many_in_company() -> None:
    assert list(messages([1, 2, 3])) == [[1], [2], [3]]
    portions = list(messages(range(1000)))
    assert max(len(portion) for portion in portions) == 16
    assert [one for portion in portions for one in portion] == list(range(1000))


def test_ringing_a_redis_that_does_not_answer_holds_nobody_up_and_is_remembered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing on them
        queue = CeleryQueue(Settings(redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
        begun = time.monotonic()
        for run in range(10_000):
            queue.ring([run])
        assert time.monotonic() - begun < ANSWER_SECONDS, "whoever waited for one answer would have taken that long"
        assert "Redis does not answer" in (queue.problem() or "")
        queue.close()


def test_ringing_a_redis_that_is_not_there_is_remembered() -> None:
    queue = CeleryQueue(Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
    queue.ring([1])
    assert "Redis does not answer" in (queue.problem() or "")
    queue.close()


def test_a_worker_says_what_is_wrong_with_its_settings(tmp_path: Path) -> None:
    with installed(tmp_path / "crowbar") as site:
        worker = site.start("worker", wait=False, queue="threads")
        assert worker.popen.wait(60) == 1
        assert worker.log.strip().splitlines()[-1].startswith("Error: The queue 'threads' needs no workers")
        wrong = site.start("worker", wait=False, queue="celery", redis_url="nonsense")
        assert wrong.popen.wait(60) == 1
        assert "redis_url is no address of a Redis" in wrong.log
        # As where the extra is not installed: the import fails.
        (site.home / "site" / "celery.py").write_text("raise ImportError('No module named celery')\n")
        missing = site.start("worker", wait=False, queue="celery")
        assert missing.popen.wait(60) == 1
        assert "pip install crowbar-core[celery]" in missing.log
        assert "Traceback" not in worker.log + wrong.log + missing.log


def crowbar(site: Site, *args: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "CROWBAR_URL": site.url, "CROWBAR_USER": "admin", "CROWBAR_PASSWORD": site.password}
    line = [sys.executable, "-m", "crowbar_core.cli", *args]
    return subprocess.run(line, env=environ, capture_output=True, text=True, timeout=60)


def test_no_worker_a_dead_one_and_a_redis_that_is_down_are_told_by_ping_and_readiness(fleet: Fleet) -> None:
    site = fleet.site
    assert (site.ready().status_code, site.ready().json()["status"]) == (200, "degraded")
    assert site.ready().json()["checks"]["annealer"] == "ok"
    missed = crowbar(site, "ping")
    assert missed.returncode == 1
    assert "no worker is alive" in missed.stderr
    worker = site.start("worker", concurrency=3)
    site.wait(lambda: site.ready().json()["status"] == "ready", "the worker is seen")
    assert crowbar(site, "ping").returncode == 0
    (seen,) = [one for one in site.all("processes") if one["kinds"] == ["worker"]]
    assert (seen["state"], seen["pid"], seen["concurrency"]) == ("alive", worker.popen.pid, 3)

    fleet.redis.kill()
    site.wait(lambda: site.ready().json()["status"] == "degraded", "Redis is missed")
    down = crowbar(site, "ping")
    assert down.returncode == 1
    assert "the queue does not answer" in down.stderr
    fleet.redis.start()
    site.wait(lambda: site.ready().json()["status"] == "ready", "Redis is back")

    worker.kill()
    site.wait(lambda: "no worker is alive" in site.ready().json()["detail"], "the worker is missed")
    (seen,) = [one for one in site.all("processes") if one["kinds"] == ["worker"]]
    assert seen["state"] == "dead"
    again = site.start("worker")
    site.wait(lambda: site.ready().json()["status"] == "ready", "another took its place")
    assert [one["pid"] for one in site.all("processes") if one["kinds"] == ["worker"]] == [again.popen.pid]
    code, _ = again.terminate()
    assert code == 0
    assert all(one["kinds"] != ["worker"] for one in site.all("processes"))
