"""What the in-process queue does with runs: a backlog from before the start, runs that wait for a worker thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlalchemy import func, insert, select

from crowbar_core import Barclamp, Done, Role, Task, TemporaryError, hookimpl
from crowbar_core.domain.states import PROPOSED, RunState, State
from crowbar_core.services.annealing.annealer import cancel, change
from crowbar_core.services.build import build_parts
from crowbar_core.services.cluster import deployments
from crowbar_core.services.engine.engine import Engine
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import SYSTEM
from crowbar_core.settings import load_settings
from crowbar_core.store import runs as store_runs
from crowbar_core.store.models import Deployment, DeploymentRole, Node, NodeRole, RoleRow, Run, table
from tests.services import wait_until

QUEUED_ELSEWHERE = 2300
NEVER = 3600.0
DELAY = 0.2


class Work:
    """A role that does nothing, and one that holds its worker thread until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.began: list[int] = []

    def wait(self, task: Task) -> Done:
        self.began.append(task.run_id)
        assert self.go.wait(60)
        return Done()

    def again(self, task: Task) -> Done:
        self.began.append(task.run_id)
        if len(self.began) < 3:
            raise TemporaryError("not yet", delay=DELAY)
        return Done()

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        roles = (
            Role(name="nothing"), Role(name="long", jig="python", run=self.wait),
            Role(name="again", jig="python", run=self.again), Role(name="then", jig="python", run=self.wait),
            Role(name="short", jig="python", run=lambda task: Done()),
        )  # fmt: skip
        return Barclamp(name="work", roles=roles)


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    yield made
    made.go.set()


@pytest.fixture
def parts(ready_database: str, tmp_path: Path, work: Work) -> Iterator[Parts]:
    settings = load_settings(
        environ={}, data_dir=str(tmp_path), database_url=ready_database, concurrency=2,
        sweep_seconds=NEVER, ring_seconds=NEVER, probe_seconds=0.0,
    )  # fmt: skip
    built = build_parts(settings, extra_plugins=[("work", work)], migrate=False, installed=False)
    yield built
    built.close()


def queue_runs(parts: Parts, role: str, nodes: int, *, then: str = "") -> None:
    """A deployment with the role on so many nodes, committed: a run is queued on each. ``then``: a role beside it,
    whose runs are made as those end.
    """
    home = deployments.create_deployment(parts, SYSTEM, name=role)
    with parts.store.write() as session:
        role_id = session.scalars(select(RoleRow.id).where(RoleRow.name == role)).one()
        root = session.scalars(select(Deployment.id).where(Deployment.system)).one()
        session.execute(insert(table(DeploymentRole)).values(deployment_id=home, role_id=role_id))
        ids = session.scalars(
            insert(Node).returning(Node.id),
            [
                {"name": f"{role}-{n}.example.test", "alive": True, "available": True, "deployment_id": root}
                for n in range(nodes)
            ],
        ).all()
        session.execute(
            insert(table(NodeRole)),
            [{"node_id": ref, "role_id": role_id, "deployment_id": home, "state": int(PROPOSED)} for ref in ids],
        )
        if then:
            other = session.scalars(select(RoleRow.id).where(RoleRow.name == then)).one()
            session.execute(insert(table(DeploymentRole)).values(deployment_id=home, role_id=other))
            session.execute(
                insert(table(NodeRole)),
                [{"node_id": ref, "role_id": other, "deployment_id": home, "state": int(PROPOSED)} for ref in ids],
            )
    deployments.commit(parts, SYSTEM, home)


def count(parts: Parts, role: str, state: RunState | State) -> int:
    with parts.store.read() as session:
        column = Run.state if isinstance(state, RunState) else NodeRole.state
        return (
            session.scalar(
                select(func.count())
                .select_from(NodeRole)
                .join(RoleRow, RoleRow.id == NodeRole.role_id)
                .join(Run, Run.node_role_id == NodeRole.id)
                .where(RoleRow.name == role, column == state)
            )
            or 0
        )


def test_a_backlog_from_before_the_start_needs_no_sweep(parts: Parts) -> None:
    queue_runs(parts, "nothing", QUEUED_ELSEWHERE)
    assert count(parts, "nothing", RunState.QUEUED) == QUEUED_ELSEWHERE
    engine = Engine(parts)
    engine.start()
    try:
        wait_until(
            lambda: count(parts, "nothing", State.ACTIVE) == QUEUED_ELSEWHERE, seconds=120, what="all of it is done"
        )
    finally:
        assert engine.stop()


def test_what_does_nothing_does_not_wait_behind_what_takes_long(parts: Parts, work: Work) -> None:
    engine = Engine(parts)
    engine.start()
    try:
        queue_runs(parts, "long", 8)
        wait_until(lambda: len(work.began) == 2, seconds=120, what="both worker threads are taken")
        parts.queue.ring(list(work.began) * 500)  # rung again, as a sweep does: nothing comes of it
        queue_runs(parts, "nothing", 50)
        wait_until(lambda: count(parts, "nothing", State.ACTIVE) == 50, seconds=120, what="the others have passed")
        assert len(work.began) == 2
        assert count(parts, "long", RunState.QUEUED) == 6
        work.go.set()
        wait_until(lambda: count(parts, "long", State.ACTIVE) == 8, seconds=120, what="each had its turn")
        assert len(work.began) == len(set(work.began)) == 8
    finally:
        work.go.set()
        assert engine.stop()


def test_a_short_delay_is_over_when_it_is_over_and_not_when_somebody_looks_again(
    parts: Parts, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep never comes here, nor does anybody look who has not slept for as long as the delay."""
    monkeypatch.setattr("crowbar_core.services.engine.engine.LOOK_SECONDS", NEVER)
    engine = Engine(parts)
    engine.start()
    try:
        wait_until(lambda: engine.leading, seconds=120, what="it leads")
        queue_runs(parts, "again", 1)
        wait_until(lambda: count(parts, "again", State.ACTIVE) > 0, seconds=120, what="it was tried again, twice")
        assert len(work.began) == 3
        with parts.store.read() as session:
            spans = session.execute(select(table(Run).c.started_at, table(Run).c.finished_at).order_by(Run.id)).all()
        for (_, ended), (begun, _) in pairwise(spans):
            assert begun - ended >= timedelta(seconds=DELAY)
    finally:
        assert engine.stop()


def test_what_waits_longest_is_taken_on_with_the_outcome_that_makes_room_for_it(
    parts: Parts, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_runs(parts, "long", 9)
    engine = Engine(parts)
    engine.start(sweeper=False)
    try:
        wait_until(lambda: len(work.began) == 2, seconds=120, what="both worker threads are busy")
        with parts.store.read() as session:
            queued = store_runs.queued(session, 100)

        def waiting() -> list[int]:  # those under way may be among them, when they were rung again as they began
            return [ref for ref in list(engine.runner._waiting) if ref in queued]

        wait_until(lambda: waiting() == queued, seconds=120, what="the others wait")

        def refuse(*_: Any, **__: Any) -> NoReturn:
            raise AssertionError("a transaction of its own")

        monkeypatch.setattr("crowbar_core.services.engine.runner.take_on", refuse)
        work.go.set()
        wait_until(lambda: count(parts, "long", RunState.SUCCEEDED) == 9, seconds=120, what="all are done")
        runs = table(Run)
        with parts.store.read() as session:
            taken_on = list(session.scalars(select(runs.c.id).order_by(runs.c.started_at, runs.c.id)))
        assert taken_on[2:] == queued
    finally:
        engine.stop()


def test_nothing_is_kept_of_runs_that_were_made_and_have_ended(parts: Parts, work: Work) -> None:
    queue_runs(parts, "long", 9, then="then")
    engine = Engine(parts)
    engine.start(sweeper=False)
    try:
        wait_until(lambda: len(work.began) == 2, seconds=120, what="both worker threads are busy")
        work.go.set()
        wait_until(lambda: count(parts, "then", RunState.SUCCEEDED) == 9, seconds=120, what="all are done")
        wait_until(lambda: not engine.runner.busy, seconds=120, what="the worker threads are free")
        assert not engine.runner._waiting
        assert not engine.runner._carried
    finally:
        engine.stop()


def test_outcomes_are_handed_in_though_nothing_can_be_taken_on_with_them(
    parts: Parts, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_runs(parts, "long", 4)
    engine = Engine(parts)
    engine.runner.concurrency = 1  # so that outcomes come one by one
    engine.start(sweeper=False)
    try:
        wait_until(lambda: work.began and engine.runner._waiting, seconds=120, what="the one worker thread is busy")
        broken = threading.Event()

        def fail(*_: Any, **__: Any) -> NoReturn:
            broken.set()
            raise RuntimeError("what a barclamp says of the next run")

        monkeypatch.setattr("crowbar_core.services.engine.runner.take_on_in_turn", fail)
        work.go.set()
        wait_until(lambda: count(parts, "long", RunState.SUCCEEDED) == 4, seconds=120, what="all are done")
        assert broken.is_set()
    finally:
        engine.stop()


def patient(engine: Engine, monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """Have outcomes gathered for so long, as after a slow transaction. Returns how many were handed in together."""
    together: list[int] = []
    gather = engine.runner._gather

    def slow(pending: list[Any], *, until: float) -> None:
        gather(pending, until=time.monotonic() + seconds)
        together.append(len(pending))

    monkeypatch.setattr(engine.runner, "_gather", slow)
    return together


def test_outcomes_of_runs_that_are_under_way_together_are_handed_in_together(
    parts: Parts, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_runs(parts, "long", 2)
    engine = Engine(parts)
    together = patient(engine, monkeypatch, NEVER)
    engine.start(sweeper=False)
    try:
        wait_until(lambda: len(work.began) == 2, seconds=120, what="both are under way")
        work.go.set()
        wait_until(lambda: count(parts, "long", RunState.SUCCEEDED) == 2, seconds=120, what="both are done")
        assert together[0] == 2
    finally:
        engine.stop()


def test_short_runs_do_not_wait_for_the_long_one_beside_them(
    parts: Parts, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(parts)
    patient(engine, monkeypatch, 2.0)
    engine.start(sweeper=False)
    try:
        queue_runs(parts, "long", 1)
        wait_until(lambda: work.began, seconds=120, what="the long one is under way")
        queue_runs(parts, "short", 150)
        wait_until(lambda: count(parts, "short", State.ACTIVE) == 150, seconds=60, what="the short ones are done")
        assert count(parts, "long", RunState.SUCCEEDED) == 0
    finally:
        work.go.set()
        engine.stop()


def test_a_run_that_has_ended_is_not_given_up_while_its_outcome_waits_to_be_handed_in(
    parts: Parts, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(parts)
    runner = engine.runner
    together = patient(engine, monkeypatch, NEVER)
    engine.start(sweeper=False)
    try:
        queue_runs(parts, "long", 1)
        wait_until(lambda: work.began, seconds=120, what="the long one is under way")
        queue_runs(parts, "short", 1)
        short = wait_until(
            lambda: next((job for job in runner._jobs.values() if job.ended), None),
            seconds=120,
            what="its outcome waits",
        )
        assert short is not None
        assert short.role_name == "short"
        short.begun -= 10 * short.timeout
        threads = len(runner._threads)
        runner._give_up_overdue()
        assert (short.abandoned, len(runner._threads)) == (False, threads)
        work.go.set()
        wait_until(lambda: count(parts, "short", State.ACTIVE) == 1, seconds=120, what="it is done")
        assert together == [2]
        wait_until(lambda: not runner._jobs, seconds=120, what="nothing is under way")
        assert runner.room(1000, wait=0.0) == runner.concurrency
    finally:
        work.go.set()
        engine.stop()


def after_short_ones(parts: Parts, work: Work) -> Engine:
    """One that has just carried out short runs, and has gone on to long ones: two under way, two taken on ahead."""
    engine = Engine(parts)
    queue_runs(parts, "short", 6, then="long")
    engine.start(sweeper=False)
    wait_until(lambda: len(work.began) == 2 and engine.runner.busy == 4, seconds=120, what="two wait for a thread")
    return engine


def test_where_runs_are_short_the_next_ones_are_taken_on_ahead_and_handed_back_when_no_thread_comes_free(
    parts: Parts, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crowbar_core.services.engine.runner.LONGEST_WAIT", NEVER)
    engine = after_short_ones(parts, work)
    try:
        assert engine.runner.room(1000, wait=0.0) == 0
        monkeypatch.setattr("crowbar_core.services.engine.runner.LONGEST_WAIT", 0.5)
        wait_until(lambda: engine.runner.busy == 2, seconds=120, what="what waits is anybody's again")
        with parts.store.read() as session:
            back = session.execute(
                select(Run.exit_reason, NodeRole.attempts, NodeRole.state)
                .join(NodeRole, NodeRole.id == Run.node_role_id)
                .where(Run.state == str(RunState.CANCELLED))
            ).all()
        assert [(row.attempts, row.state) for row in back] == [(1, State.TRANSITION)] * 2
        assert all("busy" in row.exit_reason for row in back)
        assert len(work.began) == 2, "none of them has begun"
        work.go.set()
        wait_until(lambda: count(parts, "long", RunState.SUCCEEDED) == 6, seconds=120, what="all are done")
        assert len(work.began) == len(set(work.began)) == 6, "each once"
    finally:
        work.go.set()
        engine.stop()


def test_what_was_taken_on_ahead_can_be_cancelled_while_all_threads_are_at_work(
    parts: Parts, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = after_short_ones(parts, work)
    try:
        waiting = {job.run_id: job for job in engine.runner._jobs.values() if not job.begun}
        with change(parts, SYSTEM) as turn:
            cancel(turn, [job.node_role_id for job in waiting.values()], "enough")
        wait_until(lambda: count(parts, "long", RunState.CANCELLED) == 2, seconds=120, what="they are cancelled")
        assert len(work.began) == 2
    finally:
        work.go.set()
        engine.stop()


def test_a_stop_hands_back_at_once_what_waits_for_a_thread(
    parts: Parts, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crowbar_core.services.engine.runner.LONGEST_WAIT", NEVER)
    engine = after_short_ones(parts, work)
    stopping = threading.Thread(target=engine.stop, daemon=True)
    try:
        stopping.start()
        wait_until(lambda: engine.runner.busy == 2, seconds=20, what="what waits is anybody's again")
        assert len(work.began) == 2
    finally:
        work.go.set()
        stopping.join(60)
    assert len(work.began) == 2, "nothing begins any more"


def test_where_runs_take_long_none_is_taken_on_ahead(parts: Parts, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowbar_core.services.engine.runner.SHORT_SECONDS", 0.0)
    queue_runs(parts, "short", 6, then="long")
    engine = Engine(parts)
    engine.start(sweeper=False)
    try:
        wait_until(lambda: len(work.began) == 2, seconds=120, what="two are under way")
        assert not engine.runner._slots.ahead
        assert engine.runner.busy == 2
        work.go.set()
        wait_until(lambda: count(parts, "long", State.ACTIVE) == 6, seconds=120, what="all are done")
    finally:
        work.go.set()
        engine.stop()
