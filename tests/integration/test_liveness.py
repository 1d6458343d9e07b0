"""Who is taken for alive and who for dead: which nodes are asked, how often, and what a late answer is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import select

from crowbar_core.barclamp import NodeView, Probe, Role
from crowbar_core.services.cluster import liveness
from crowbar_core.services.data.views import node_views
from crowbar_core.services.engine.engine import Engine
from crowbar_core.store import node_fields
from tests.integration.cluster import Cluster, node_rows
from tests.integration.conftest import NewCluster
from tests.services import wait_until

DEAD, ALIVE = Probe(alive=False, reason="no answer to ping"), Probe(alive=True)


class Answers:
    """What ``probe_node`` is asked, and what it answers next (then always the last)."""

    def __init__(self, *answers: Probe) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, node: NodeView) -> Probe:
        self.asked.append(node.name.partition(".")[0])
        self.meanwhile()
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def cluster(
    new_cluster: NewCluster, answers: Answers, roles: tuple[Role, ...] = (Role(name="r"),), **settings: int | float
) -> Cluster:
    def probe_node(node: NodeView) -> Probe:
        return answers(node)

    def on_node_change(node: NodeView, changed: Iterable[str]) -> None:
        """Somebody listens, so that it is told."""

    return new_cluster(
        *roles, hooks={"probe_node": probe_node, "on_node_change": on_node_change}, **settings
    )  # fmt: skip


def view(c: Cluster, name: str) -> NodeView:
    with c.parts.store.read() as session:
        return node_views(c.parts.registry, session, c.parts.store, [c.nodes[name]])[c.nodes[name]]


def alive(c: Cluster, name: str) -> bool:
    return bool(c.rows(select(node_rows.c.alive).where(node_rows.c.id == c.nodes[name]))[0].alive)


def test_available_nodes_are_probed_and_no_others(new_cluster: NewCluster) -> None:
    answers = Answers(ALIVE)
    c = cluster(new_cluster, answers)
    c.node("worked-on")
    c.node("waiting", alive=False)
    c.node("put-aside", available=False)
    assert liveness.probe_all(c.parts) == 2
    assert sorted(answers.asked) == ["waiting", "worked-on"]
    assert alive(c, "waiting")


def test_a_node_that_was_never_probed_is_probed_first_and_once(new_cluster: NewCluster) -> None:
    answers = Answers(ALIVE)
    c = cluster(new_cluster, answers)
    c.node("old")
    liveness.probe_all(c.parts)
    c.node("new")
    assert liveness.probe_all(c.parts, node_fields.never_probed) == 1
    assert liveness.probe_all(c.parts, node_fields.never_probed) == 0
    assert answers.asked == ["old", "new"]


def restarting(new_cluster: NewCluster, answers: Answers, **settings: int | float) -> tuple[Cluster, int]:
    """A run on ``a`` has taken it away and waits; ``b`` is dead, and nothing on it restarts it."""
    c = cluster(new_cluster, answers, roles=(Role(name="install", reboots=True),), **settings)
    c.node("a")
    c.node("b", alive=False)
    ref = c.bind("a", "install")
    c.commit_all()
    run = c.claim(ref)
    c.change_node("a", alive=False)
    return c, run


def test_a_node_that_its_own_run_took_away_is_asked_until_it_is_back(new_cluster: NewCluster) -> None:
    answers = Answers(DEAD, ALIVE)
    c, run = restarting(new_cluster, answers)
    assert [liveness.probe_all(c.parts, node_fields.taken_away) for _ in range(3)] == [1, 1, 0]
    assert answers.asked == ["a", "a"]
    assert alive(c, "a")
    assert c.run(run).state == "running"


def test_a_node_that_its_own_run_took_away_is_asked_no_more_when_that_has_ended_or_it_is_put_aside(
    new_cluster: NewCluster,
) -> None:
    c, run = restarting(new_cluster, Answers(DEAD))
    c.change_node("a", available=False)
    assert liveness.probe_all(c.parts, node_fields.taken_away) == 0
    c.change_node("a", available=True)
    assert liveness.probe_all(c.parts, node_fields.taken_away) == 1
    c.end(c.run(run).node_role_id, "failed")
    assert liveness.probe_all(c.parts, node_fields.taken_away) == 0


def test_who_restarts_is_back_long_before_the_next_periodic_probe(new_cluster: NewCluster) -> None:
    answers = Answers(DEAD, DEAD, DEAD, ALIVE)
    c, _ = restarting(new_cluster, answers, sweep_seconds=0.05, probe_seconds=86_400)
    liveness.probe(c.parts, c.nodes["b"])
    with c.parts.store.write() as session:
        node_fields.note_probed(session, c.clock(), c.nodes["b"])
    engine = Engine(c.parts)
    engine.start(executor=False)
    try:
        wait_until(lambda: alive(c, "a"), seconds=120, what="the node is back")
    finally:
        engine.stop()
    assert set(answers.asked[1:]) == {"a"}


def test_a_system_node_is_asked_nothing(new_cluster: NewCluster) -> None:
    answers = Answers(DEAD)
    c = cluster(new_cluster, answers)
    c.nodes["phantom"] = c.system_node(c.system)
    assert liveness.probe(c.parts, c.nodes["phantom"]).alive
    liveness.probe_all(c.parts)
    assert answers.asked == []


def test_one_missed_probe_kills_nobody(new_cluster: NewCluster) -> None:
    answers = Answers(DEAD, ALIVE)
    c = cluster(new_cluster, answers, probe_grace=2)
    c.node("a")
    liveness.probe_all(c.parts)
    assert answers.asked == ["a", "a"]
    assert alive(c, "a")


def test_as_many_missed_probes_as_the_grace_allows_are_a_death_that_barclamps_hear_of(new_cluster: NewCluster) -> None:
    answers = Answers(DEAD)
    c = cluster(new_cluster, answers, probe_grace=3)
    c.node("a")
    ref = c.bind("a", "r")
    c.commit_all()
    run = c.claim(ref)
    liveness.probe_all(c.parts)
    assert answers.asked == ["a"] * 3
    assert not alive(c, "a")
    assert c.run(run).state == "cancelled"
    assert c.told("on_node_change")[-1] == {"id": c.nodes["a"], "changed": ["alive"]}


def test_a_node_that_answers_again_is_worked_on_at_once(new_cluster: NewCluster) -> None:
    c = cluster(new_cluster, Answers(ALIVE))
    c.node("a", alive=False)
    ref = c.bind("a", "r")
    c.commit_all()
    assert c.states(ref) == ["TODO"]
    liveness.probe_all(c.parts)
    assert c.states(ref) == ["TRANSITION"]


FIRST, OTHER = "ssh-ed25519 AAAAfirst", "ssh-ed25519 AAAAother"


def keys(c: Cluster, name: str) -> list[str]:
    return list(c.rows(select(node_rows.c.host_keys).where(node_rows.c.id == c.nodes[name]))[0].host_keys)


def test_a_probe_never_replaces_host_keys_that_are_known(new_cluster: NewCluster) -> None:
    answers = Answers(Probe(alive=True, host_keys=(FIRST,)), Probe(alive=True, host_keys=(OTHER,)))
    c = cluster(new_cluster, answers)
    c.node("a")
    for _ in range(3):
        liveness.look(c.parts, view(c, "a"))
        assert keys(c, "a") == [FIRST]


def test_a_probe_never_replaces_host_keys_that_became_known_meanwhile(new_cluster: NewCluster) -> None:
    answers = Answers(Probe(alive=True, host_keys=(OTHER,)))
    c = cluster(new_cluster, answers)
    c.node("a")
    answers.meanwhile = lambda: c.change_node("a", host_keys=[FIRST])
    liveness.look(c.parts, view(c, "a"))
    assert keys(c, "a") == [FIRST]


def test_an_answer_that_was_overtaken_kills_nobody(new_cluster: NewCluster) -> None:
    answers = Answers(DEAD)
    c = cluster(new_cluster, answers)
    c.node("a")
    ref = c.bind("a", "r")
    c.commit_all()

    def die_and_return() -> None:
        for is_alive in (False, True):
            c.clock.advance(1)
            c.change_node("a", alive=is_alive)

    answers.meanwhile = die_and_return
    assert liveness.look(c.parts, view(c, "a")) == DEAD
    assert alive(c, "a"), "it has come back after the question"
    assert c.states(ref) == ["TRANSITION"]
