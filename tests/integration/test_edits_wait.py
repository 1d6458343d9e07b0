"""No edit cancels a run: what must run again waits for the runs below it, and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crowbar_core.barclamp import Attribute, Role
from crowbar_core.errors import Refused
from crowbar_core.services.annealing.sweeping import sweep
from crowbar_core.services.cluster import binding, nodes, steering
from crowbar_core.services.values import attributes
from tests.integration.cluster import OPERATOR, Cluster, check_invariants, check_nothing_startable, check_rest
from tests.integration.conftest import NewCluster

VALUE = Attribute(name="net-value", map="net/value", schema={"type": "integer"})


def settle(c: Cluster) -> None:
    check_nothing_startable(c.parts, check_invariants(c.parts))


def layered(new_cluster: NewCluster, *, destructive: bool = True, **settings: Any) -> tuple[Cluster, int, int, int]:
    """net <- os <- app on one node, net ACTIVE and os under way."""
    c = new_cluster(
        Role(name="net", attributes=(VALUE,)),
        Role(name="os", requires=("net",), destructive=destructive),
        Role(name="app", requires=("os",)),
        Role(name="peer", cluster=True),
        **settings,
    )
    c.node("a")
    app = c.bind("a", "app")
    by_name = {name.partition("@")[0]: ref for ref, name in c.named().items()}
    c.commit_all()
    c.end(by_name["net"])
    c.claim(by_name["os"])
    return c, by_name["net"], by_name["os"], app


EDITS: dict[str, Callable[[Cluster, int], None]] = {
    "a value": lambda c, net: attributes.set_value(
        c.parts, OPERATOR, attribute="net-value", value=7, node_role_id=net, now=True
    ),
    "a re-run": lambda c, net: steering.rerun(c.parts, OPERATOR, net),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("destructive", [True, False])
def test_an_edit_never_cancels_a_run_below_it_and_waits_for_its_end(
    new_cluster: NewCluster, edit: str, destructive: bool
) -> None:
    c, net, os, app = layered(new_cluster, destructive=destructive)
    run = c.open_run(os).id
    EDITS[edit](c, net)
    settle(c)
    assert c.run(run).state == "running"
    assert c.states(net, os, app) == ["TODO", "TRANSITION", "BLOCKED"]
    (reason,) = [one for one in steering.why_node_role(c.parts, net).reasons if one.code == "run below"]
    assert reason.subject == f"node_role {os}"
    assert f"run {run} of os on a.test.example" in reason.detail
    c.end(os)
    settle(c)
    assert c.run(run).state == "succeeded"
    assert c.states(net, os) == ["TRANSITION", "BLOCKED"]
    ran = c.anneal()
    assert ran == ([net, app] if destructive else [net, os, app])
    assert c.row(os).run_count == (1 if destructive else 2)
    check_rest(c.parts)


def test_a_run_below_an_edit_that_nobody_has_begun_is_taken_back(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="net"), Role(name="os", requires=("net",), destructive=True))
    c.node("a")
    os = c.bind("a", "os")
    net = next(ref for ref, name in c.named().items() if name == "net@a")
    c.commit_all()
    c.end(net)
    assert c.open_run(os).state == "queued"
    steering.rerun(c.parts, OPERATOR, net)
    settle(c)
    assert c.anneal() == [net, os]
    assert c.row(os).run_count == 1


def test_a_run_that_goes_back_anyway_does_not_end_in_error(new_cluster: NewCluster) -> None:
    c, net, os, app = layered(new_cluster, destructive=False)
    steering.rerun(c.parts, OPERATOR, net)
    c.end(os, "failed", reason="the network went away")
    settle(c)
    assert c.states(os) == ["BLOCKED"]
    assert c.anneal() == [net, os, app]


def test_a_destructive_run_that_fails_stays_in_error_although_its_parent_runs_again(new_cluster: NewCluster) -> None:
    c, net, os, app = layered(new_cluster)
    steering.rerun(c.parts, OPERATOR, net)
    c.end(os, "failed", reason="the disk is full")
    settle(c)
    assert c.anneal() == [net]
    assert c.states(net, os, app) == ["ACTIVE", "ERROR", "BLOCKED"]
    check_rest(c.parts)


def test_the_death_of_a_parents_node_does_not_cancel_a_destructive_run_elsewhere(new_cluster: NewCluster) -> None:
    c = new_cluster(
        Role(name="db", implicit=False, cluster=True),
        Role(name="os", requires=("db",), destructive=True),
        Role(name="app", requires=("db",)),
    )
    for name in "abc":
        c.node(name)
    db = c.bind("a", "db")
    os, app = c.bind("b", "os"), c.bind("c", "app")
    c.commit_all()
    c.end(db)
    destroying, other = c.claim(os), c.claim(app)
    c.change_node("a", alive=False)
    settle(c)
    assert c.run(destroying).state == "running"
    assert c.run(other).state == "cancelling"
    assert c.states(db, os, app) == ["TODO", "TRANSITION", "BLOCKED"]
    c.end(app, "cancelled")
    c.end(os)
    settle(c)
    assert c.states(os) == ["BLOCKED"]
    c.change_node("a", alive=True)
    assert c.anneal() == [db, app], "what has destroyed once is passed over"
    check_rest(c.parts)


def test_a_failing_refresh_does_not_cancel_a_destructive_run_below_it(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="db"), Role(name="os", requires=("db",), destructive=True))
    c.node("a")
    c.node("b")
    db = c.bind("a", "db")
    os = c.bind("b", "os")
    c.commit_all()
    c.end(db)
    run = c.claim(os)
    steering.refresh(c.parts, OPERATOR, db)
    c.end(db, "failed", reason="no space")
    settle(c)
    assert c.run(run).state == "running"
    c.end(os)
    assert c.states(db, os) == ["ERROR", "BLOCKED"]


def test_a_noderole_whose_destructive_run_waits_to_be_reported_is_not_unbound(new_cluster: NewCluster) -> None:
    c, _, os, app = layered(new_cluster)
    run = c.end(os, "pending", deadline=100.0)
    binding.unbind(c.parts, OPERATOR, app)
    with pytest.raises(Refused, match=f"run {run}"):
        binding.unbind(c.parts, OPERATOR, os)
    assert c.run(run).state == "running"


def test_a_new_peer_that_is_committed_waits_for_a_run_below_it(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="peer", cluster=True), Role(name="os", requires=("peer",), destructive=True))
    for name in "abx":
        c.node(name)
    first = c.bind("a", "peer")
    os = c.bind("x", "os")
    c.commit_all()
    c.end(first)
    run = c.claim(os)
    second = c.bind("b", "peer")
    settle(c)
    assert c.states(second, os) == ["PROPOSED", "TRANSITION"]
    c.commit_all()
    settle(c)
    assert c.run(run).state == "running"
    assert c.states(second, os) == ["TODO", "TRANSITION"]
    c.end(os)
    settle(c)
    assert c.anneal() == [second]
    assert c.states(first, second, os) == ["ACTIVE"] * 3
    assert c.row(os).run_count == 1
    check_rest(c.parts)


def test_a_proposed_peer_can_be_unbound_while_others_depend_on_its_role(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="peer", cluster=True), Role(name="app", requires=("peer",)))
    for name in "abx":
        c.node(name)
    c.bind("a", "peer")
    app = c.bind("x", "app")
    c.commit_all()
    c.anneal()
    second = c.bind("b", "peer")
    binding.unbind(c.parts, OPERATOR, second)
    assert c.states(app) == ["ACTIVE"]
    check_rest(c.parts)


def test_a_run_that_is_lost_ends_the_waiting_too(new_cluster: NewCluster) -> None:
    c, net, os, app = layered(new_cluster, destructive=False)
    steering.rerun(c.parts, OPERATOR, net)
    sweep(c.parts, dead_workers=["w"])
    settle(c)
    assert c.anneal() == [net, os, app]


def test_the_death_of_the_node_under_a_waiting_edit_ends_the_waiting(new_cluster: NewCluster) -> None:
    c, net, os, app = layered(new_cluster, destructive=False)
    steering.rerun(c.parts, OPERATOR, net)
    c.change_node("a", alive=False)
    settle(c)
    c.change_node("a", alive=True)
    settle(c)
    assert c.anneal() == [net, os, app]


def test_proposing_a_noderole_whose_refresh_runs_is_refused(new_cluster: NewCluster) -> None:
    c, net, _, _ = layered(new_cluster)
    c.end(c.open_runs()[0].node_role_id)
    c.anneal()
    steering.refresh(c.parts, OPERATOR, net)
    run = c.claim(net)
    with pytest.raises(Refused, match="run"):
        steering.propose(c.parts, OPERATOR, net)
    assert c.run(run).state == "running"


def test_moving_a_node_or_setting_it_unavailable_cancels_no_run(new_cluster: NewCluster) -> None:
    c, _, os, _ = layered(new_cluster)
    run = c.open_run(os).id
    other = c.deployment("other")
    nodes.change_node(c.parts, OPERATOR, c.nodes["a"], {"available": False, "deployment_id": other})
    settle(c)
    assert c.run(run).state == "running"
