"""Why something does not run: each reason once, for every role, in words that say what is known."""

from __future__ import annotations

from collections.abc import Callable

from crowbar_core.barclamp import Attribute, Done, Probe, Role, Task
from crowbar_core.errors import PermanentError
from crowbar_core.services.cluster import liveness, steering
from crowbar_core.services.engine.runner import Runner
from crowbar_core.services.values import attributes
from tests.integration.cluster import OPERATOR, Cluster

NewCluster = Callable[..., Cluster]
BASE, LEFT, RIGHT = Role(name="base"), Role(name="left", requires=("base",)), Role(name="right", requires=("base",))
OTHER = Role(name="other")


def summary(cluster: Cluster, ref: int) -> str:
    return steering.why_node_role(cluster.parts, ref).summary


def on_node(cluster: Cluster, node: str) -> list[str]:
    return [one.detail for one in steering.why_node(cluster.parts, cluster.nodes[node]).reasons]


def test_a_node_that_was_asked_says_what_it_answered_and_not_that_it_was_never_seen(new_cluster: NewCluster) -> None:
    said = [Probe(alive=False, reason="no answer to ping"), Probe(alive=False, reason="the key is refused")]
    cluster = new_cluster(BASE, hooks={"probe_node": lambda node: said[0]})
    cluster.node("a", alive=False)
    ref = cluster.bind("a", "base")
    cluster.commit_all()
    assert summary(cluster, ref) == "Node a.test.example is not alive; it has not been seen yet."
    liveness.probe_all(cluster.parts)
    assert summary(cluster, ref) == "Node a.test.example is not alive: no answer to ping."
    said.pop(0)
    liveness.probe(cluster.parts, cluster.nodes["a"])
    assert summary(cluster, ref) == "Node a.test.example is not alive: the key is refused."


def test_a_queued_run_is_queued_and_not_running(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE)
    cluster.node("a")
    ref = cluster.bind("a", "base")
    cluster.commit_all()
    (reason,) = steering.why_node_role(cluster.parts, ref).reasons
    assert (reason.code, reason.detail) == ("queued", "Run 1 is queued: it waits for a worker.")
    assert on_node(cluster, "a") == ["Run 1 of base is queued: it waits for a worker."]
    cluster.claim(ref)
    assert summary(cluster, ref) == "It is not waiting: run 1 is running."


def test_who_held_it_and_why_is_said_until_it_is_released(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE)
    cluster.node("a")
    ref = cluster.bind("a", "base")
    cluster.commit_all()
    steering.hold(cluster.parts, OPERATOR, ref, reason="the disk is being replaced")
    assert summary(cluster, ref) == (
        "It is held by operator: the disk is being replaced. Release it to let it run."
    )  # fmt: skip
    row = cluster.row(ref)
    assert (row.held_by, row.held_reason, row.held_at) == ("operator", "the disk is being replaced", cluster.clock())
    steering.release(cluster.parts, OPERATOR, ref)
    row = cluster.row(ref)
    assert (row.held_by, row.held_reason, row.held_at) == ("", "", None)


def test_cancelling_a_run_holds_its_noderole_and_says_so(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE)
    cluster.node("a")
    ref = cluster.bind("a", "base")
    cluster.commit_all()
    steering.cancel_run(cluster.parts, OPERATOR, 1)
    assert summary(cluster, ref) == "It is held by operator: run 1 was cancelled. Release it to let it run."


def test_a_retry_says_how_long_it_waits(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE)
    cluster.node("a")
    ref = cluster.bind("a", "base")
    cluster.commit_all()
    cluster.end(ref, "retry", reason="the mirror is away.", delay=10.0)
    assert summary(cluster, ref) == "It waits 10 s to be tried again: the mirror is away."
    cluster.clock.advance(11)
    assert summary(cluster, ref) == "It is about to be scheduled.", "its delay is over"


def test_a_reason_for_a_node_stands_once_with_every_role_that_it_is_for(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE, LEFT, RIGHT, OTHER)
    cluster.node("a")
    left, _ = cluster.bind("a", "left"), cluster.bind("a", "right")
    other = cluster.bind("a", "other")
    steering.hold(cluster.parts, OPERATOR, other, reason="later")
    cluster.commit_all()
    (base,) = [ref for ref, name in cluster.named().items() if name == "base@a"]
    cluster.end(base, "failed", reason="no disk.")
    assert on_node(cluster, "a") == [
        "base: It failed: no disk. Retry it when that is mended.",
        "other: It is held by operator: later. Release it to let it run.",
        "left, right: It waits for base.",
    ]
    assert summary(cluster, left) == "It waits for base on a.test.example, which is ERROR (no disk)."


def test_what_is_the_matter_with_the_node_is_not_said_again_for_each_role(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE, LEFT, OTHER)
    cluster.node("a", alive=False)
    cluster.bind("a", "left")
    held = cluster.bind("a", "other")
    cluster.commit_all()
    steering.hold(cluster.parts, OPERATOR, held)
    said = on_node(cluster, "a")
    assert said[0] == "Node a.test.example is not alive; it has not been seen yet."
    assert "other: It is held by operator. Release it to let it run." in said
    assert sum("Node a.test.example is not alive" in one for one in said) == 1
    assert "left: It waits for base." in said


def test_a_node_without_roles_says_that_and_not_that_all_is_active(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE)
    cluster.node("a")
    assert on_node(cluster, "a") == ["No role is bound to a.test.example."]


def test_a_parent_that_was_never_committed_is_not_blamed(new_cluster: NewCluster) -> None:
    cluster = new_cluster(Role(name="peer", cluster=True), Role(name="member", requires=("peer",)), BASE)
    cluster.node("a")
    cluster.node("b")
    member = cluster.bind("a", "member")
    cluster.commit_all()
    cluster.bind("b", "peer")
    assert "peer on b" not in summary(cluster, member)


def test_a_run_without_a_reason_says_so(new_cluster: NewCluster) -> None:
    cluster = new_cluster(BASE)
    cluster.node("a")
    ref = cluster.bind("a", "base")
    cluster.commit_all()
    cluster.end(ref, "failed")
    assert summary(cluster, ref) == "It failed: no reason was given. Retry it when that is mended."


def leak(task: Task) -> Done:
    raise PermanentError(f"the key {task.data['leaky']['key']} is refused")


def test_the_reason_of_a_failure_tells_no_secret_that_the_run_was_given(new_cluster: NewCluster) -> None:
    key = Attribute(name="leaky-key", map="leaky/key", secret=True)
    cluster = new_cluster(Role(name="leaky", jig="python", run=leak, attributes=(key,)))
    cluster.node("a")
    ref = cluster.bind("a", "leaky")
    attributes.set_value(
        cluster.parts, OPERATOR, attribute="leaky-key", value="swordfish-7", node_role_id=ref, now=True
    )
    cluster.commit_all()
    run = cluster.open_run(ref).id
    Runner(cluster.parts).execute_here([run])
    assert cluster.run(run).exit_reason == "the key *** is refused"
    assert cluster.row(ref).status == "the key *** is refused"


def garble(task: Task) -> Done:
    raise PermanentError("the node said \x00 and \ud800")


def test_a_reason_that_no_database_takes_is_handed_in_all_the_same(new_cluster: NewCluster) -> None:
    cluster = new_cluster(Role(name="garbled", jig="python", run=garble))
    cluster.node("a")
    ref = cluster.bind("a", "garbled")
    cluster.commit_all()
    Runner(cluster.parts).execute_here([cluster.open_run(ref).id])
    assert cluster.row(ref).status == "the node said \ufffd and ?"
