"""Several processes on one PostgreSQL: annealers die, freeze and come back, the database goes away."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.processes import Process, Site, installed
from tests.acceptance.proxy import BadWire
from tests.services import PostgresServer, database_name

pytestmark = pytest.mark.postgres

SWEEPS = "this process sweeps now"


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """One that the test may stop."""
    with PostgresServer() as server:
        yield server


def sweepers(*annealers: Process) -> list[Process]:
    return [one for one in annealers if SWEEPS in one.log]


def test_of_two_annealers_one_sweeps_and_the_other_takes_over_when_it_is_killed(postgres_site: Site) -> None:
    site = postgres_site
    first = site.start("annealer", concurrency=2)
    first.find(SWEEPS)
    second = site.start("serve", concurrency=2)
    nodes = site.build(4, "after")
    site.commit()
    # Four runs on two annealers with room for two each: both execute.
    for node in nodes:
        site.wait_begun("slow", node)
    at_work = {line[4] for line in site.journal("begin", role="slow")}
    assert len(at_work) == 2
    assert str(first.popen.pid) in at_work
    assert sweepers(first, second) == [first]
    first.kill()
    second.find(SWEEPS)
    site.open()
    site.wait_active()
    site.check()
    lost = [run for run in site.all("runs") if run["state"] == "lost"]
    assert len(lost) == 2
    assert {run["role"] for run in lost} == {"slow"}


def test_an_annealer_that_froze_loses_lease_and_runs_and_its_late_outcome_changes_nothing(postgres_site: Site) -> None:
    site = postgres_site
    first = site.start("annealer")
    first.find(SWEEPS)
    site.start("web")
    (node,) = site.build(1, "deaf")
    site.commit()
    site.wait_begun("deaf", node)
    second = site.start("annealer")
    first.signal(signal.SIGSTOP)
    second.find(SWEEPS)
    site.wait_begun("deaf", node, times=2)
    site.open()
    site.wait_active()
    first.signal(signal.SIGCONT)
    # It wakes with its work in hand, finds the gate open, and hands in an outcome that is no longer its to give.
    site.wait(lambda: len(site.journal("end", node, "deaf")) == 2, "the frozen function ends")
    first.find("outcome of a run that has ended is passed over")
    lost, done = site.runs_of(node, "deaf")
    assert (lost["state"], done["state"]) == ("lost", "succeeded")
    assert site.node_role(node, "deaf")["run_count"] == 1
    code, seconds = first.terminate()
    assert code == 0
    assert seconds < 24, "it holds nothing any more that it would have to wait for"
    assert second.popen.poll() is None


@pytest.mark.slow
def test_two_hundred_runs_at_once_are_a_matter_of_one_setting(postgres_site: Site) -> None:
    site = postgres_site
    site.start("serve", concurrency=200, lease_seconds=60, heartbeat_seconds=5)
    nodes = site.build(200, "slow")
    site.commit()
    site.wait(lambda: len(site.journal("begin", role="slow")) == 200, "two hundred runs at once", 120)
    assert not site.journal("end", role="slow")
    site.open()
    site.wait_active()
    assert len(site.journal("end", role="slow")) == len(nodes)
    site.check()


def test_a_database_that_goes_away_is_said_and_waited_for(own_postgres: PostgresServer, tmp_path: Path) -> None:
    url = own_postgres.create_database()
    with installed(tmp_path / "crowbar", database_url=url, lease_seconds=2) as site:
        server = site.start("serve")
        finishes, goes_on = site.build(2, "after")
        site.commit()
        site.wait_begun("slow", finishes)
        site.wait_begun("slow", goes_on)
        own_postgres.stop()
        gone = time.monotonic()
        answer = site.request("GET", "api/v2/nodes")
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert site.ready().status_code == 503
        assert site.request("GET", "healthz").status_code == 200
        # A run ends while nobody can be told; another goes on beyond.
        site.open(finishes)
        site.wait(lambda: site.journal("end", finishes, "slow"), "the run goes on without the database")
        server.find("handing in outcomes failed")
        # Longer than any lease lasts: the workers are alive, and nobody may take their runs for lost.
        time.sleep(max(0.0, 4.0 - (time.monotonic() - gone)))
        own_postgres.start()
        site.wait(lambda: site.ready().status_code == 200, "readiness")
        site.wait(lambda: site.journal("end", finishes, "after"), "the work goes on")
        site.open()
        site.wait_active()
        site.check()
        assert all(run["attempt"] == 1 and run["state"] == "succeeded" for run in site.all("runs"))
        assert server.popen.poll() is None


def test_connections_lost_at_commit_neither_lose_nor_repeat_what_was_done(
    postgres_server: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    wire = BadWire(f"{postgres_server.directory}/.s.PGSQL.{postgres_server.port}")
    name = database_name(postgres_url)
    url = f"postgresql+psycopg2://{postgres_server.owner}:{postgres_server.password}@127.0.0.1:{wire.port}/{name}"
    try:
        with installed(tmp_path / "crowbar", database_url=postgres_url) as site:
            site.start("web")
            annealer = site.start("annealer", database_url=url)
            nodes = site.build(5, "after")
            site.commit()
            for node in nodes:
                site.wait_begun("slow", node)
            wire.cuts_left = 8
            site.open()
            site.wait_active()
            site.wait(lambda: wire.cuts_left == 0, "the wire has broken often enough")
            site.wait_active()
            site.check()
            assert len(site.journal("end", role="after")) == len(nodes)
            assert annealer.popen.poll() is None
    finally:
        wire.close()
