"""The lease of the one process that sweeps and delivers: who gets it, who hears of what, what an outage spares."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crowbar_core.barclamp import NodeView, Role
from crowbar_core.errors import Unavailable
from crowbar_core.services.cluster import nodes
from crowbar_core.services.engine.engine import Engine
from crowbar_core.services.turns.parts import Parts
from crowbar_core.store import leases
from tests.integration.cluster import OPERATOR, Cluster, Plugin, open_parts
from tests.integration.conftest import NewCluster
from tests.services import wait_until

NEVER = 3600.0
Take = Callable[..., bool]


@pytest.fixture
def take(new_cluster: NewCluster) -> Take:
    c: Cluster = new_cluster()

    def ask(holder: str, *, at: float = 0.0, dead: tuple[str, ...] = ()) -> bool:
        """Whether this holder gets the lease for ten seconds, so many seconds after the beginning."""
        now = c.clock() + timedelta(seconds=at)
        with c.parts.store.write(graph=False) as session:
            return leases.take(
                session, "sweeper", holder, now, now + timedelta(seconds=10), is_dead=lambda name: name in dead
            )

    return ask


def test_one_holds_the_lease_and_renews_it_and_nobody_else_gets_it(take: Take) -> None:
    assert take("one")
    assert not take("two")
    assert take("one", at=8)
    assert not take("two", at=17)


def test_a_lease_that_was_not_renewed_goes_to_whoever_asks(take: Take) -> None:
    assert take("one")
    assert take("two", at=10)
    assert not take("one", at=11)


def test_the_lease_of_a_holder_that_has_died_goes_to_whoever_asks_at_once(take: Take) -> None:
    assert take("one")
    assert take("two", at=1, dead=("one",))


# ---------------------------------------------------------------- two processes


@contextmanager
def engine(parts: Parts, **how: bool) -> Iterator[Engine]:
    made = Engine(parts)
    made.start(**how)
    try:
        yield made
    finally:
        made.stop()  # harmless when it has been stopped


@pytest.fixture
def opened(ready_database: str, tmp_path: Path) -> Iterator[Callable[[list[str]], Parts]]:
    """Opens the database as one more process does; what its barclamp hears goes into the list."""
    made: list[Parts] = []

    def open_(heard: list[str]) -> Parts:
        def on_node_create(node: NodeView) -> None:
            heard.append(node.name)

        listener = Plugin([Role(name="r")], hooks={"on_node_create": on_node_create})
        made.append(
            open_parts(
                tmp_path, ready_database, [("tests", listener)], migrate=False, leader_seconds=NEVER,
                sweep_seconds=NEVER, probe_seconds=0.0,
            )
        )  # fmt: skip
        return made[-1]

    yield open_
    for parts in made:
        parts.close()


def test_the_holder_alone_delivers_and_the_other_takes_over_when_it_stops(
    opened: Callable[[list[str]], Parts],
) -> None:
    heard: tuple[list[str], list[str]] = ([], [])
    first, second = (opened(each) for each in heard)
    with engine(second) as waiting, engine(first) as leading:
        # Whoever of them came first; what is made through the other one wakes that one first.
        wait_until(lambda: leading.leading or waiting.leading, seconds=120, what="one of them leads")
        mine = 0 if leading.leading else 1
        made = [f"n{number}.test.example" for number in range(20)]
        for name in made:
            nodes.create_node((second, first)[mine], OPERATOR, name=name)
        wait_until(lambda: len(heard[mine]) == len(made), seconds=120, what="the holder heard of all of them")
        assert (sorted(heard[mine]), heard[1 - mine]) == (sorted(made), [])
        assert leading.leading != waiting.leading
        (leading, waiting)[mine].stop()
        heir = (waiting, leading)[mine]
        wait_until(lambda: heir.leading, seconds=120, what="the other one leads")
        nodes.create_node(first, OPERATOR, name="last.test.example")
        wait_until(lambda: heard[1 - mine], seconds=120, what="the heir delivers")
        assert heard[1 - mine] == ["last.test.example"]


def test_a_database_that_was_away_costs_nobody_a_run(new_cluster: NewCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    c: Cluster = new_cluster(Role(name="r"), sweep_seconds=0.05, probe_seconds=0.0, ring_seconds=20.0)
    for name in ("a", "b"):
        c.node(name)
    held, queued = c.bind("a", "r"), c.bind("b", "r")
    c.commit_all()
    run, unheard = c.claim(held, "elsewhere"), c.open_run(queued).id
    rung: list[int] = []
    c.parts.queue.ring = rung.extend  # type: ignore[method-assign, assignment]
    read = c.parts.store.read
    away, asked = threading.Event(), threading.Event()

    def read_if_it_answers() -> AbstractContextManager[Any]:
        if away.is_set() and "crowbar" not in threading.current_thread().name:  # the scheduler's own threads
            asked.set()
            raise Unavailable("the database does not answer")
        return read()

    monkeypatch.setattr(c.parts.store, "read", read_if_it_answers)
    with engine(c.parts, executor=False) as sweeping:
        wait_until(lambda: sweeping.leading, seconds=120, what="it leads")
        away.set()
        assert asked.wait(30), "a sweep finds that the database is away"
        c.clock.advance(61)
        away.clear()
        wait_until(lambda: unheard in rung, seconds=120, what="the first sweep after the outage")
        assert c.run(run).state == "running"
