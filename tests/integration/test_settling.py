"""Where the cluster stands: settled when all is ACTIVE; what comes by itself is under way; nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import update

from crowbar_core.barclamp import NodeRoleView, Role
from crowbar_core.services.annealing.sweeping import sweep
from crowbar_core.services.cluster import steering
from crowbar_core.services.watch import settling
from crowbar_core.store.models import Delivery, Node, table
from tests.integration.cluster import OPERATOR, Cluster

NewCluster = Callable[..., Cluster]
BASE, TOP = Role(name="base"), Role(name="top", requires=("base",))
deliveries, nodes = table(Delivery), table(Node)


def hear(node_role: NodeRoleView) -> None:
    """Somebody listens, so that it is told."""


def state(cluster: Cluster) -> str:
    return settling.settled(cluster.parts).state


def test_all_active_is_settled_and_nothing_committed_is_settled_too(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE, TOP)
    cluster.node("a")
    cluster.bind("a", "top")
    assert state(cluster) == "settled", "what is only proposed is not waited for"
    cluster.commit_all()
    assert state(cluster) == "working"
    cluster.anneal()
    found = settling.settled(cluster.parts)
    assert (found.state, found.active, found.waiting) == ("settled", 2, 0)


def test_what_waits_for_a_dead_node_is_not_settled_and_says_where_and_why(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE, TOP)
    cluster.node("a", alive=False)
    cluster.bind("a", "top")
    cluster.commit_all()
    found = settling.settled(cluster.parts)
    assert (found.state, found.waiting) == ("waiting", 2)
    first, second = settling.waits(cluster.parts)
    assert (first.node, first.role, first.state, first.seconds) == ("a.test.example", "base", "TODO", None)
    assert "not alive" in first.why
    assert (second.role, second.state) == ("top", "BLOCKED")


def test_a_retry_that_comes_by_itself_is_under_way_and_says_in_how_many_seconds(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE)
    cluster.node("a")
    ref = cluster.bind("a", "base")
    cluster.commit_all()
    cluster.end(ref, "retry", reason="not yet", delay=10.0)
    found = settling.settled(cluster.parts)
    assert (found.state, found.working, found.retries) == ("working", 0, 1)
    (wait,) = settling.waits(cluster.parts)
    assert wait.seconds == 10.0
    cluster.clock.advance(11)
    assert state(cluster) == "working", "it is due, and the sweep makes its run"
    sweep(cluster.parts)
    cluster.anneal()
    assert state(cluster) == "settled"


def test_a_retry_on_a_node_that_has_been_taken_away_does_not_come_by_itself(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE)
    cluster.node("a")
    ref = cluster.bind("a", "base")
    cluster.commit_all()
    cluster.end(ref, "retry", reason="not yet", delay=10.0)
    cluster.change_node("a", available=False)
    assert state(cluster) == "waiting"


def test_a_held_noderole_is_waited_for_by_nobody(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE)
    cluster.node("a")
    ref = cluster.bind("a", "base")
    cluster.commit_all()
    steering.hold(cluster.parts, OPERATOR, ref)
    assert state(cluster) == "waiting"
    (wait,) = settling.waits(cluster.parts)
    assert "held" in wait.why


def test_a_refresh_that_cannot_run_is_not_settled(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE)
    cluster.node("a")
    ref = cluster.bind("a", "base")
    cluster.commit_all()
    cluster.anneal()
    steering.hold(cluster.parts, OPERATOR, ref)
    steering.refresh(cluster.parts, OPERATOR, ref)
    found = settling.settled(cluster.parts)
    assert (found.state, found.waiting, found.active) == ("waiting", 1, 1)
    (wait,) = settling.waits(cluster.parts)
    assert wait.id == ref


def test_failed_is_said_before_waiting(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE, TOP)
    cluster.node("a")
    top = cluster.bind("a", "top")
    cluster.commit_all()
    (base,) = [ref for ref in cluster.named() if ref != top]
    cluster.end(base, "failed", reason="no disk")
    found = settling.settled(cluster.parts)
    assert (found.state, found.errors, found.waiting) == ("failed", 1, 1)
    assert [one.role for one in settling.waits(cluster.parts)] == ["base", "top"]


def test_a_barclamp_that_takes_no_event_is_not_waited_for_for_ever(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE, hooks={"on_active": hear})
    cluster.node("a")
    cluster.bind("a", "base")
    cluster.commit_all()
    cluster.anneal()
    assert state(cluster) == "working", "it has still to hear of it, and may ask for more"
    cluster.clock.advance(31)
    found = settling.settled(cluster.parts)
    assert (found.state, found.undelivered, found.unheard) == ("settled", 0, 1)


def test_a_barclamp_that_is_behind_but_hears_is_waited_for(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE, hooks={"on_active": hear})
    for name in ("a", "b"):
        cluster.node(name)
        cluster.bind(name, "base")
    cluster.commit_all()
    cluster.anneal()
    cluster.clock.advance(300)
    assert state(cluster) == "settled"
    with cluster.parts.store.write() as session:
        first = session.execute(update(deliveries).where(deliveries.c.id == 1).values(state="done"))
        assert first.rowcount == 1  # type: ignore[attr-defined]
        session.execute(update(deliveries).where(deliveries.c.id == 1).values(settled_at=cluster.clock()))
    found = settling.settled(cluster.parts)
    assert (found.state, found.undelivered, found.unheard) == ("working", 1, 0)


def test_a_hook_whose_next_try_is_far_away_is_not_waited_for(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE, hooks={"on_active": hear})
    cluster.node("a")
    cluster.bind("a", "base")
    cluster.commit_all()
    cluster.anneal()
    later = {"attempts": 8, "error": "it broke"}
    with cluster.parts.store.write() as session:
        soon = cluster.clock.moment.replace(second=20)
        session.execute(update(deliveries).values(next_try_at=soon, **later))
    assert state(cluster) == "working"
    with cluster.parts.store.write() as session:
        session.execute(update(deliveries).values(next_try_at=cluster.clock.moment.replace(minute=5), **later))
    found = settling.settled(cluster.parts)
    assert (found.state, found.unheard) == ("settled", 1)


def test_a_barclamp_that_is_not_loaded_is_not_waited_for(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE, hooks={"on_active": hear})
    cluster.node("a")
    cluster.bind("a", "base")
    cluster.commit_all()
    cluster.anneal()
    with cluster.parts.store.write() as session:
        session.execute(update(deliveries).values(plugin="gone"))
    found = settling.settled(cluster.parts)
    assert (found.state, found.unheard) == ("settled", 1)
