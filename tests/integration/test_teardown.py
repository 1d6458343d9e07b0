"""Teardown: what a role made on a node is undone there before its noderole goes."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from crowbar_core.barclamp import Role, Task
from crowbar_core.errors import Refused
from crowbar_core.services.annealing.sweeping import sweep, try_delayed
from crowbar_core.services.cluster import binding, deployments, nodes, steering
from crowbar_core.services.cluster.losses import TORN_DOWN, losses
from crowbar_core.services.cluster.planning import rehearse
from crowbar_core.services.engine.runner import Runner
from tests.integration.cluster import OPERATOR, Cluster, check_invariants, node_rows, run_rows
from tests.integration.conftest import NewCluster

DONE: list[tuple[str, bool]] = []


def work(task: Task) -> None:
    DONE.append((task.role.name, task.teardown))


BASE = Role(name="base", jig="python", run=work, teardown=work)
TOP = Role(name="top", jig="python", run=work, teardown=work, requires=("base",))
PLAIN = Role(name="plain", requires=("base",))


def cluster(new_cluster: NewCluster, *roles: Role) -> tuple[Cluster, list[int]]:
    """These roles on node a, all ACTIVE."""
    c = new_cluster(*roles)
    c.node("a")
    refs = [c.bind("a", role.name) for role in roles]
    c.commit_all()
    c.anneal()
    return c, refs


def unbind(c: Cluster, ref: int, *, force: bool = False) -> None:
    binding.unbind(c.parts, OPERATOR, ref, force=force)


def there(c: Cluster) -> set[str]:
    return set(c.named().values())


def torn(c: Cluster, ref: int) -> list[str]:
    """The states of the noderole's runs of kind teardown."""
    return [row.state for row in c.rows(select(run_rows).where(run_rows.c.node_role_id == ref, run_rows.c.teardown))]


def test_what_a_role_made_is_torn_down_before_its_noderole_goes(new_cluster: NewCluster) -> None:
    c, (base,) = cluster(new_cluster, BASE)
    unbind(c, base)
    unbind(c, base)
    assert (c.states(base), torn(c, base)) == (["ACTIVE"], ["queued"])
    check_invariants(c.parts)
    c.end(base)
    assert there(c) == set()
    assert c.open_runs() == []


def test_children_are_torn_down_before_what_they_stand_on(new_cluster: NewCluster) -> None:
    c, (base, top, plain) = cluster(new_cluster, BASE, TOP, PLAIN)
    unbind(c, base)
    assert there(c) == {"base@a", "top@a"}, "what has nothing to tear down goes at once"
    assert [run.node_role_id for run in c.open_runs()] == [top]
    c.end(top)
    assert there(c) == {"base@a"}
    c.end(base)
    assert there(c) == set()
    assert plain not in c.named()


def test_what_never_ran_or_is_forced_goes_without(new_cluster: NewCluster) -> None:
    c, (base,) = cluster(new_cluster, BASE)
    unbind(c, base, force=True)
    assert there(c) == set()
    fresh = c.bind("a", "base")
    unbind(c, fresh)
    assert there(c) == set()


def test_force_ends_a_leaving_that_is_under_way(new_cluster: NewCluster) -> None:
    c, (base,) = cluster(new_cluster, BASE)
    unbind(c, base)
    unbind(c, base, force=True)
    assert there(c) == set()
    assert c.open_runs() == []


def test_a_teardown_that_fails_is_held_with_its_reason_until_it_is_released(new_cluster: NewCluster) -> None:
    c, (base,) = cluster(new_cluster, BASE)
    unbind(c, base)
    c.end(base, "failed", reason="the disk is busy")
    assert c.row(base).held_reason == "its teardown failed: the disk is busy"
    assert "its teardown failed: the disk is busy" in steering.why_node_role(c.parts, base).summary
    sweep(c.parts)
    assert c.open_runs() == []
    steering.release(c.parts, OPERATOR, base)
    c.end(base)
    assert there(c) == set()


def test_a_teardown_that_failed_for_now_or_was_lost_is_tried_again(new_cluster: NewCluster) -> None:
    c, (base,) = cluster(new_cluster, BASE)
    unbind(c, base)
    c.end(base, "retry", reason="not yet", delay=5.0)
    assert c.open_runs() == []
    c.clock.advance(5.0)
    try_delayed(c.parts)
    c.end(base, "lost", reason="its worker died")
    c.end(base)
    assert there(c) == set()


def test_bound_anew_it_stays_and_what_was_begun_runs_again(new_cluster: NewCluster) -> None:
    c, (base, top) = cluster(new_cluster, BASE, TOP)
    unbind(c, base)
    c.bind("a", "top")
    assert c.open_runs() == [], "top stays, and so does what it stands on"
    assert c.states(base, top) == ["ACTIVE", "ACTIVE"]
    unbind(c, top)
    c.claim(top)
    with pytest.raises(Refused, match="being torn down just now"):
        c.bind("a", "top")
    c.end(top, "failed", reason="no")
    c.bind("a", "top")
    steering.release(c.parts, OPERATOR, top)
    assert c.states(base, top) == ["ACTIVE", "TRANSITION"]
    c.anneal()
    check_invariants(c.parts)


def test_a_dead_node_is_waited_for(new_cluster: NewCluster) -> None:
    c, (base,) = cluster(new_cluster, BASE)
    c.change_node("a", alive=False)
    unbind(c, base)
    assert c.open_runs() == []
    c.change_node("a", alive=True)
    assert torn(c, base) == ["queued"], "and it does not run again instead"
    c.end(base)
    assert there(c) == set()


def test_a_node_that_is_alive_goes_when_all_is_torn_down_and_a_dead_one_at_once(new_cluster: NewCluster) -> None:
    c, (base, top) = cluster(new_cluster, BASE, TOP)
    assert not nodes.delete_node(c.parts, OPERATOR, c.nodes["a"], wait=0)
    c.end(top)
    assert c.rows(select(node_rows.c.id).where(node_rows.c.id == c.nodes["a"]))
    c.end(base)
    assert not c.rows(select(node_rows.c.id).where(node_rows.c.id == c.nodes["a"]))
    for name, dead, force in (("b", True, False), ("c", False, True)):
        c.node(name)
        c.bind(name, "base")
        c.commit_all()
        c.anneal()
        if dead:
            c.change_node(name, alive=False)
        assert nodes.delete_node(c.parts, OPERATOR, c.nodes[name], wait=0, force=force)


def test_asked_again_a_node_goes_on_tearing_down_and_forced_it_is_gone_at_once(new_cluster: NewCluster) -> None:
    c, (base,) = cluster(new_cluster, BASE)
    node = c.nodes["a"]
    for _ in range(2):
        assert not nodes.delete_node(c.parts, OPERATOR, node, wait=0)
        assert torn(c, base) == ["queued"]
    assert nodes.delete_node(c.parts, OPERATOR, node, wait=0, force=True)
    assert there(c) == set()


def test_a_plan_shows_what_is_torn_down_and_in_which_order(new_cluster: NewCluster) -> None:
    c, (base, _, _) = cluster(new_cluster, BASE, TOP, PLAIN)
    plan = rehearse(c.parts, lambda: unbind(c, base))
    assert [(step.kind, step.role, step.wave) for step in plan.own] == [("teardown", "top", 1), ("teardown", "base", 2)]
    assert set(plan.removed) == {f"{role} on a.test.example" for role in ("base", "top", "plain")}
    assert rehearse(c.parts, lambda: unbind(c, base, force=True)).own == ()
    assert c.open_runs() == []


def test_a_deployment_is_not_deleted_over_what_is_to_be_torn_down(new_cluster: NewCluster) -> None:
    c = new_cluster(BASE)
    web = c.deployment("web")
    c.node("a")
    c.bind("a", "base", web)
    c.commit_all(web)
    c.anneal()
    with pytest.raises(Refused, match="Unbind them first, or delete it with force"):
        deployments.delete_deployment(c.parts, OPERATOR, web)
    deployments.delete_deployment(c.parts, OPERATOR, web, force=True)
    assert there(c) == set()


def test_the_loss_says_what_is_torn_down_and_what_stays(new_cluster: NewCluster) -> None:
    c, (base, _, _) = cluster(new_cluster, BASE, TOP, PLAIN)
    home = c.rows(select(node_rows.c.deployment_id).where(node_rows.c.id == c.nodes["a"]))[0].deployment_id
    there = ("base on a.test.example", "top on a.test.example")
    for kind, key, act, forced in (
        ("node_roles", base, "unbind", "What they did there stays as it is."),
        ("nodes", c.nodes["a"], "destroy", "What runs on it is cancelled."),
        ("deployments", home, "destroy", "What they did on the nodes stays as it is."),
    ):
        loss = losses(c.parts, kind, key, act)
        assert next(one.lines for one in loss.sections if one.title == TORN_DOWN) == there
        assert loss.tears_down
        assert "torn down" in loss.summary or "to tear down" in loss.summary
        assert "as it is." not in loss.summary or "all else stays as it is." in loss.summary
        without = losses(c.parts, kind, key, act, force=True)
        assert (without.tears_down, without.summary.endswith(forced)) == (False, True), without.summary
        assert TORN_DOWN not in [one.title for one in without.sections]
    c.change_node("a", alive=False)
    assert not losses(c.parts, "nodes", c.nodes["a"], "destroy").tears_down, "a dead node goes at once"


def test_a_function_of_the_role_is_told_that_it_tears_down(new_cluster: NewCluster) -> None:
    DONE.clear()
    c, (base,) = cluster(new_cluster, BASE)
    unbind(c, base)
    Runner(c.parts).execute_here([run.id for run in c.open_runs()])
    assert DONE == [("base", True)]
    assert there(c) == set()
