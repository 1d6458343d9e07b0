"""What a process does with the runs it holds: looks at the node first, keeps its leases, hears of cancellation, gives
up what does not end, and hands in what was done when the database answers again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from crowbar_core import Attribute, Barclamp, Done, NodeView, Probe, Role, Task, hookimpl
from crowbar_core.barclamp import Jig
from crowbar_core.domain.states import State
from crowbar_core.errors import NodeUnreachable, RunCancelled, Unavailable
from crowbar_core.services.build import build_parts
from crowbar_core.services.cluster import binding, deployments, nodes, steering
from crowbar_core.services.engine.engine import Engine
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import SYSTEM
from crowbar_core.services.values import attributes as values
from crowbar_core.settings import load_settings
from crowbar_core.store.models import Deployment, Node, NodeRole, RoleRow, Run, RunLog, table
from crowbar_core.testing import BrokenJig, FakeJig
from tests.services import wait_until

NEVER = 3600.0
RACK = Attribute(name="rack", schema={"type": "string"}, required=True)
runs, node_roles, node_rows, run_logs = table(Run), table(NodeRole), table(Node), table(RunLog)


class Holding(Jig):
    """Holds each run until it is let go or cancelled; ``began`` and ``cancelled`` say which of them were."""

    def __init__(self) -> None:
        super().__init__({})
        self.go = threading.Event()
        self.began: list[int] = []
        self.cancelled: list[int] = []

    def run(self, task: Task) -> Done:
        self.began.append(task.run_id)
        while not self.go.wait(0.01):
            if task.cancelled.is_set():
                self.cancelled.append(task.run_id)
                break
        return Done()


class Touching(FakeJig):
    """One that the node must be alive for."""

    touches_node = True


class Site:
    """One engine over one database, whose role ``work`` is carried out by the jig given."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        made = Engine(self.parts)
        made.start(sweeper=False)
        try:
            yield made
        finally:
            made.stop(timeout=60.0)

    def work(self, *names: str, role: str = "work") -> list[int]:
        """Nodes of these names with the role, committed; the noderoles in this order."""
        refs = []
        with self.parts.store.read() as session:
            role_id = session.scalars(select(RoleRow.id).where(RoleRow.name == role)).one()
        for name in names:
            node = nodes.create_node(self.parts, SYSTEM, name=f"{name}.test.example", alive=True, available=True)
            refs.append(binding.bind(self.parts, SYSTEM, node_id=node, role_id=role_id).node_role_id)
        self.commit()
        return refs

    def commit(self) -> None:
        with self.parts.store.read() as session:
            root = session.scalars(select(Deployment.id).where(Deployment.system)).one()
        deployments.commit(self.parts, SYSTEM, root)

    def one(self, statement: Any) -> Any:
        with self.parts.store.read() as session:
            return session.execute(statement).one()

    def state(self, ref: int) -> State:
        return State(self.one(select(node_roles.c.state).where(node_roles.c.id == ref)).state)

    def status(self, ref: int) -> str:
        return str(self.one(select(node_roles.c.status).where(node_roles.c.id == ref)).status)

    def first_run(self, ref: int) -> Any:
        return self.one(select(runs).where(runs.c.node_role_id == ref).order_by(runs.c.id).limit(1))

    def comes_to(self, ref: int, state: State) -> None:
        wait_until(lambda: self.state(ref) is state, seconds=120, what=f"it is {state.name}")


Open = Callable[..., Site]


@pytest.fixture
def opened(ready_database: str, tmp_path: Path) -> Iterator[Open]:
    made: list[Parts] = []

    def open_(
        jig: Jig, *, probe: Callable[[NodeView], Probe] | None = None, timeout: float | None = None,
        destructive: bool = False, more: tuple[Role, ...] = (), **settings: Any,
    ) -> Site:  # fmt: skip
        work = Role(name="work", jig="jig", timeout=timeout, destructive=destructive)

        class Work:
            @hookimpl
            def register_barclamp(self) -> Barclamp:
                return Barclamp(name="work", roles=(work, *more), attributes=(RACK,))

            if probe is not None:

                @hookimpl
                def probe_node(self, node: NodeView) -> Probe:
                    return probe(node)

        often = {"concurrency": 2, "cancel_poll_seconds": 0.02, "probe_seconds": 0.0}
        chosen = load_settings(
            environ={}, data_dir=str(tmp_path), database_url=ready_database, sweep_seconds=NEVER, ring_seconds=NEVER,
            **{**often, **settings},
        )  # fmt: skip
        made.append(
            build_parts(
                chosen, extra_plugins=[("work", Work())], migrate=False, installed=False, jigs={"jig": jig}
            )
        )  # fmt: skip
        return Site(made[-1])

    yield open_
    for parts in made:
        parts.close()


# ---------------------------------------------------------------- what does nothing


def test_a_role_that_does_nothing_looks_at_the_values_it_is_given_all_the_same(opened: Open) -> None:
    goal, done = Role(name="goal", milestone=True, wants=("rack",)), Role(name="done", milestone=True)
    address = Attribute(name="address", schema={"type": "string"})
    server = Role(name="server", cluster=True, attributes=(address,))
    user = Role(name="user", requires=("server",), wants=("address",))
    site = opened(FakeJig(), more=(goal, done, server, user))
    with site.engine():
        (free,), (needy,) = site.work("a", role="done"), site.work("b", role="goal")
        servers, (asks,) = site.work("c", "d", role="server"), site.work("e", role="user")
        site.comes_to(free, State.ACTIVE)
        site.comes_to(needy, State.ERROR)
        assert site.status(needy).startswith("Nothing was begun. Role goal is given no value of rack")
        site.comes_to(asks, State.ACTIVE)
        for ref, value in zip(servers, ("10.0.0.1", "10.0.0.2"), strict=True):
            values.set_value(site.parts, SYSTEM, attribute="address", value=value, node_role_id=ref, now=True)
        site.comes_to(asks, State.ERROR)
        assert "wants address of role server, of which c.test.example has" in site.status(asks)


# ---------------------------------------------------------------- leases


def test_the_lease_of_a_run_at_work_is_renewed_until_it_ends(opened: Open) -> None:
    jig = Holding()
    site = opened(jig, heartbeat_seconds=0.05)
    (ref,) = site.work("a")
    with site.engine():
        wait_until(lambda: jig.began, seconds=120, what="it runs")
        first = site.first_run(ref).lease_until
        wait_until(lambda: site.first_run(ref).lease_until > first, seconds=120, what="its lease is renewed")
        jig.go.set()
        site.comes_to(ref, State.ACTIVE)
    assert jig.cancelled == []


def test_a_run_that_ended_behind_its_workers_back_is_stopped(opened: Open) -> None:
    jig = Holding()
    site = opened(jig, heartbeat_seconds=0.05)
    (ref,) = site.work("a")
    with site.engine():
        wait_until(lambda: jig.began, seconds=120, what="it runs")
        run = site.first_run(ref).id
        with site.parts.store.write() as session:  # as another process's sweep does
            session.execute(
                text("UPDATE runs SET state = 'lost', finished_at = queued_at, lease_until = NULL WHERE id = :id"),
                {"id": run},
            )
        wait_until(lambda: jig.cancelled == [run], seconds=120, what="it is told to stop")
        jig.go.set()


def test_a_run_that_is_cancelled_here_is_told_at_once_and_not_at_the_next_look(opened: Open) -> None:
    jig = Holding()
    site = opened(jig, cancel_poll_seconds=NEVER)
    (ref,) = site.work("a")
    with site.engine():
        wait_until(lambda: jig.began, seconds=120, what="it runs")
        steering.cancel_run(site.parts, SYSTEM, site.first_run(ref).id)
        wait_until(lambda: jig.cancelled, seconds=120, what="it is told to stop")
        jig.go.set()


# ---------------------------------------------------------------- what does not end


def test_a_jig_that_hangs_beyond_its_timeout_is_given_up_and_its_thread_replaced(opened: Open) -> None:
    jig = BrokenJig("deaf", times=1)
    site = opened(jig, timeout=1.0, kill_grace=1.0, concurrency=1)
    hung, next_one = site.work("a", "b")
    try:
        with site.engine():
            site.comes_to(hung, State.ERROR)
            assert site.status(hung) == "timed out after 1 s (its jig goes on in the background)"
            site.comes_to(next_one, State.ACTIVE)
    finally:
        jig.let_go()


def test_a_jig_that_does_not_stop_when_it_is_told_to_is_given_up(opened: Open) -> None:
    jig = BrokenJig("deaf", times=1)
    site = opened(jig, timeout=NEVER, kill_grace=0.1)
    (ref,) = site.work("a")
    try:
        with site.engine():
            wait_until(lambda: jig.tasks, seconds=120, what="it runs")
            run = site.first_run(ref).id
            steering.cancel_run(site.parts, SYSTEM, run)
            wait_until(lambda: site.first_run(ref).state == "cancelled", seconds=120, what="it is given up")
            assert site.state(ref) is State.TODO
    finally:
        jig.let_go()


def test_a_jig_is_told_when_its_time_is_over_and_that_is_why_it_failed(opened: Open) -> None:
    def listen(task: Task) -> None:
        task.cancelled.wait()
        raise RunCancelled("it was told to stop")

    jig = FakeJig()
    jig.always(listen)
    site = opened(jig, timeout=0.1, kill_grace=NEVER)
    (ref,) = site.work("a")
    with site.engine():
        site.comes_to(ref, State.ERROR)
    assert site.status(ref) == "timed out after 0.1 s"


# ---------------------------------------------------------------- the node


def test_a_node_is_looked_at_before_a_jig_touches_it(opened: Open) -> None:
    asked: list[str] = []

    def probe(node: NodeView) -> Probe:
        asked.append(node.name)
        return Probe(alive=True, address="10.0.0.7")

    jig = Touching()
    site = opened(jig, probe=probe)
    (ref,) = site.work("a")
    with site.engine():
        site.comes_to(ref, State.ACTIVE)
    assert asked == ["a.test.example"]
    assert [task.address for task in jig.tasks] == ["10.0.0.7"]


@pytest.mark.parametrize("destructive", [False, True])
def test_a_node_to_which_the_jig_holds_a_proven_connection_is_looked_at_for_destructive_roles_only(
    opened: Open, destructive: bool
) -> None:
    asked: list[str] = []

    class Holds(Touching):
        def holds(self, node: NodeView) -> str | None:
            return "10.0.0.9"

    def probe(node: NodeView) -> Probe:
        asked.append(node.name)
        return Probe(alive=True, address="10.0.0.7")

    jig = Holds()
    site = opened(jig, probe=probe, destructive=destructive)
    (ref,) = site.work("a")
    with site.engine():
        site.comes_to(ref, State.ACTIVE)
    assert asked == (["a.test.example"] if destructive else [])
    assert [task.address for task in jig.tasks] == ["10.0.0.7" if destructive else "10.0.0.9"]


def test_a_jig_never_touches_a_node_that_is_found_dead(opened: Open) -> None:
    jig = Touching()
    site = opened(jig, probe=lambda node: Probe(alive=False, reason="no answer to ping"))
    (ref,) = site.work("a")
    with site.engine():
        wait_until(lambda: site.first_run(ref).finished_at, seconds=120, what="its run is over")
    assert jig.tasks == []
    assert site.first_run(ref).state == "cancelled"
    node = site.one(select(node_rows.c.alive, node_rows.c.status).where(node_rows.c.name == "a.test.example"))
    assert (node.alive, node.status) == (False, "no answer to ping")


def test_a_jig_that_loses_its_node_makes_it_looked_at_again(opened: Open) -> None:
    answers = [Probe(alive=True), Probe(alive=False, reason="it is gone")]
    jig = Touching()
    jig.will(NodeUnreachable("the connection broke"))
    site = opened(jig, probe=lambda node: answers.pop(0))
    (ref,) = site.work("a")
    with site.engine():
        wait_until(lambda: site.first_run(ref).finished_at, seconds=120, what="its run is over")
        wait_until(lambda: not answers, seconds=120, what="it is looked at again")
    assert not site.one(select(node_rows.c.alive).where(node_rows.c.name == "a.test.example")).alive
    assert site.state(ref) is State.TODO


# ---------------------------------------------------------------- handing in


def test_what_was_done_is_handed_in_when_the_database_answers_again(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    jig = Holding()
    site = opened(jig, cancel_poll_seconds=NEVER)
    (ref,) = site.work("a")
    write = site.parts.store.write
    refused = threading.Event()

    def write_if_it_answers(**options: Any) -> Any:
        if jig.go.is_set() and not refused.is_set():
            refused.set()
            raise Unavailable("the database does not answer")
        return write(**options)

    monkeypatch.setattr(site.parts.store, "write", write_if_it_answers)
    with site.engine():
        wait_until(lambda: jig.began, seconds=120, what="it runs")
        jig.go.set()
        site.comes_to(ref, State.ACTIVE)
    assert refused.is_set()
    assert jig.began == [site.first_run(ref).id]
    assert site.one(select(func.count()).select_from(runs)) == (1,)
