"""Deployments: a tree of named work that is proposed, planned, committed and taken apart."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from crowbar_core.barclamp import Attribute, DeploymentView, Problem, Role
from crowbar_core.errors import BadInput, NotFound, Refused
from crowbar_core.services.cluster import deployments, nodes, steering
from crowbar_core.store.models import DeploymentRole, table
from tests.integration.cluster import (
    OPERATOR,
    Cluster,
    check_invariants,
    check_rest,
    deployment_rows,
    node_role_rows,
    node_rows,
)
from tests.integration.conftest import NewCluster

deployment_roles = table(DeploymentRole)
DOMAIN = Attribute(name="domain", map="dns/domain", schema={"type": "string"}, default="example")
DNS, APP = Role(name="dns", attributes=(DOMAIN,)), Role(name="app", wants=("domain",))


def row(c: Cluster, deployment: int) -> Any:
    return c.rows(select(deployment_rows).where(deployment_rows.c.id == deployment))[0]


# ---------------------------------------------------------------- the tree


def test_there_is_one_root_and_it_is_committed_for_good(new_cluster: NewCluster) -> None:
    c = new_cluster()
    assert row(c, c.system).name == "system"
    assert row(c, c.system).committed
    for deed in (deployments.propose, deployments.recall, deployments.delete_deployment):
        with pytest.raises(Refused, match="system"):
            deed(c.parts, OPERATOR, c.system)
    with pytest.raises(Refused, match="root"):
        deployments.change_deployment(c.parts, OPERATOR, c.system, {"parent_id": c.system})


def test_a_tree_may_be_deep_and_each_deployment_has_a_system_node_that_is_always_alive(new_cluster: NewCluster) -> None:
    c = new_cluster()
    parent = c.system
    for depth in range(12):
        parent = c.deployment(f"Level_{depth}", parent)
        (node,) = c.rows(select(node_rows).where(node_rows.c.deployment_id == parent))
        assert (node.name, node.system, node.alive) == (f"level-{depth}-phantom.internal.local", True, True)
    with pytest.raises(Refused, match="children"):
        deployments.delete_deployment(c.parts, OPERATOR, row(c, parent).parent_id)
    deployments.delete_deployment(c.parts, OPERATOR, parent)
    assert c.rows(select(node_rows.c.id).where(node_rows.c.deployment_id == parent)) == []


def test_a_deployment_is_no_descendant_of_itself(new_cluster: NewCluster) -> None:
    c = new_cluster(DNS)
    one = c.deployment("one")
    two = c.deployment("two", one)
    for wrong in (one, two):
        with pytest.raises(Refused, match="itself or below"):
            deployments.change_deployment(c.parts, OPERATOR, one, {"parent_id": wrong})
    deployments.change_deployment(c.parts, OPERATOR, two, {"parent_id": c.system, "name": "Second"})
    assert (row(c, two).parent_id, row(c, two).name) == (c.system, "Second")


def test_names_are_unique_whatever_their_case(new_cluster: NewCluster) -> None:
    c = new_cluster()
    c.deployment("web")
    with pytest.raises(Refused, match="already"):
        c.deployment("WEB")
    other = c.deployment("db")
    with pytest.raises(Refused, match="already"):
        deployments.change_deployment(c.parts, OPERATOR, other, {"name": "Web"})
    deployments.change_deployment(c.parts, OPERATOR, other, {"name": "DB"})
    with pytest.raises(BadInput):
        c.deployment("no spaces, please")


def test_two_names_that_would_share_a_system_node_are_refused(new_cluster: NewCluster) -> None:
    c = new_cluster()
    c.deployment("a_b")
    with pytest.raises(Refused, match=r"a-b-phantom\.internal\.local, is taken"):
        c.deployment("a.b")


def test_what_is_not_there_is_not_found(new_cluster: NewCluster) -> None:
    c = new_cluster()
    with pytest.raises(NotFound):
        deployments.commit(c.parts, OPERATOR, 999)
    with pytest.raises(NotFound):
        c.deployment("x", 999)
    with pytest.raises(NotFound):
        deployments.add_role(c.parts, OPERATOR, deployment_id=c.system, role_id=999)


# ---------------------------------------------------------------- propose, commit, recall


def web(new_cluster: NewCluster, *roles: Role, **values: Any) -> tuple[Cluster, int]:
    c = new_cluster(*(roles or (DNS, APP)), **values)
    c.node("a")
    return c, c.deployment("web", committed=False)


def test_nothing_runs_until_the_deployment_is_committed(new_cluster: NewCluster) -> None:
    c, ref = web(new_cluster)
    app = c.bind("a", "app", ref)
    steering.commit(c.parts, OPERATOR, app)
    assert c.open_runs() == []
    (dns,) = [one for one, name in c.named().items() if name == "dns@a"]
    steering.commit(c.parts, OPERATOR, dns)
    assert c.states(dns, app) == ["TODO", "BLOCKED"]
    assert [one.code for one in steering.why_node_role(c.parts, dns).reasons] == ["deployment proposed"]
    deployments.commit(c.parts, OPERATOR, ref)
    assert c.anneal() == [dns, app]
    check_rest(c.parts)


def test_proposing_stops_new_work_and_finishes_what_runs(new_cluster: NewCluster) -> None:
    c, ref = web(new_cluster)
    app = c.bind("a", "app", ref)
    deployments.commit(c.parts, OPERATOR, ref)
    c.end(c.open_runs()[0].node_role_id)
    assert c.states(app) == ["TRANSITION"]
    deployments.propose(c.parts, OPERATOR, ref)
    assert c.states(app) == ["TODO"], "nobody had begun it"
    assert not row(c, ref).committed
    check_rest(c.parts)
    deployments.commit(c.parts, OPERATOR, ref)
    c.claim(app)
    deployments.propose(c.parts, OPERATOR, ref)
    assert c.states(app) == ["TRANSITION"]
    c.end(app)
    assert c.states(app) == ["ACTIVE"]


def test_committing_again_is_without_effect(new_cluster: NewCluster) -> None:
    c, ref = web(new_cluster)
    c.bind("a", "app", ref)
    deployments.commit(c.parts, OPERATOR, ref)
    c.anneal()
    deployments.commit(c.parts, OPERATOR, ref)
    assert c.open_runs() == []


def test_recall_takes_proposed_values_back(new_cluster: NewCluster) -> None:
    c, ref = web(new_cluster)
    there = deployments.add_role(c.parts, OPERATOR, deployment_id=ref, role_id=c.role_ids["dns"])
    deployments.set_role_data(c.parts, OPERATOR, there, {"dns": {"domain": "one"}})
    deployments.commit(c.parts, OPERATOR, ref)
    deployments.set_role_data(c.parts, OPERATOR, there, {"dns": {"domain": "two"}})
    deployments.recall(c.parts, OPERATOR, ref)
    (one,) = c.rows(select(deployment_roles).where(deployment_roles.c.id == there))
    assert one.proposed_data == one.committed_data == {"dns": {"domain": "one"}}


def test_all_objections_to_a_commit_are_shown_and_nothing_is_committed(new_cluster: NewCluster) -> None:
    def check_commit(deployment: DeploymentView) -> list[Problem]:
        return [Problem(detail=f"{deployment.name} has no router."), Problem(detail="And no switch.")]

    c, ref = web(new_cluster, hooks={"check_commit": check_commit})
    app = c.bind("a", "app", ref)
    with pytest.raises(Refused, match=r"web has no router.*no switch"):
        deployments.commit(c.parts, OPERATOR, ref)
    assert not row(c, ref).committed
    assert c.states(app) == ["PROPOSED"]


# ---------------------------------------------------------------- plan


def test_the_plan_says_what_a_commit_would_do_in_order(new_cluster: NewCluster) -> None:
    c, ref = web(new_cluster, DNS, APP, Role(name="os", destructive=True))
    c.node("dead", alive=False)
    c.bind("a", "app", ref)
    c.bind("dead", "os", ref)
    plan = deployments.plan(c.parts, ref)
    assert [(one.wave, one.role, one.node.partition(".")[0], one.kind) for one in plan.steps] == [
        (1, "dns", "a", "run"), (2, "app", "a", "run"), (0, "os", "dead", "wait"),
    ]  # fmt: skip
    assert "alive" in plan.steps[2].note
    assert plan.destroys == ("os on dead.test.example",), "it destroys as soon as the node is alive"
    deployments.commit(c.parts, OPERATOR, ref, plan=plan.id)
    c.anneal()
    assert deployments.plan(c.parts, ref).is_empty


def test_a_plan_that_no_longer_holds_is_refused(new_cluster: NewCluster) -> None:
    c, ref = web(new_cluster)
    c.bind("a", "dns", ref)
    plan = deployments.plan(c.parts, ref)
    app = c.bind("a", "app", ref)
    with pytest.raises(Refused, match="no longer holds"):
        deployments.commit(c.parts, OPERATOR, ref, plan=plan.id)
    assert c.states(app) == ["PROPOSED"]


def test_the_plan_names_what_a_changed_value_would_run_again(new_cluster: NewCluster) -> None:
    c, ref = web(new_cluster, DNS, APP, Role(name="log", wants=("domain",), on_change="refresh"))
    c.bind("a", "app", ref)
    c.bind("a", "log", ref)
    deployments.commit(c.parts, OPERATOR, ref)
    c.anneal()
    assert deployments.plan(c.parts, ref).steps == ()
    (there,) = c.rows(
        select(deployment_roles.c.id).where(
            deployment_roles.c.role_id == c.role_ids["dns"], deployment_roles.c.deployment_id == ref
        )
    )
    deployments.set_role_data(c.parts, OPERATOR, there.id, {"dns": {"domain": "new"}})
    plan = deployments.plan(c.parts, ref)
    assert [(one.wave, one.role, one.kind) for one in plan.steps] == [
        (1, "dns", "run again"), (2, "app", "run again"), (3, "log", "run again"),
    ]  # fmt: skip
    (value,) = plan.values
    assert (value.origin, value.attribute, value.old_set, value.new) == ("dns in web", "domain", False, "new")
    assert value.reaches == ("dns on a.test.example",)
    assert c.open_runs() == [], "running work is not disturbed by what is only proposed"
    deployments.commit(c.parts, OPERATOR, ref, plan=plan.id)
    assert {c.named()[one] for one in c.anneal()} == {"dns@a", "app@a", "log@a"}


# ---------------------------------------------------------------- deleting, and moving nodes


def test_deleting_a_deployment_unbinds_its_work_and_hands_its_nodes_to_its_parent(new_cluster: NewCluster) -> None:
    c, ref = web(new_cluster)
    below = c.deployment("below", ref)
    nodes.change_node(c.parts, OPERATOR, c.nodes["a"], {"deployment_id": below})
    c.bind("a", "app", below)
    deployments.commit(c.parts, OPERATOR, below)
    c.anneal()
    deployments.delete_deployment(c.parts, OPERATOR, below)
    assert c.named() == {}
    (node,) = c.rows(select(node_rows.c.deployment_id).where(node_rows.c.id == c.nodes["a"]))
    assert node.deployment_id == ref
    assert c.rows(select(func.count()).select_from(deployment_roles))[0][0] == 0
    check_invariants(c.parts)


def test_deleting_a_deployment_whose_work_runs_is_refused(new_cluster: NewCluster) -> None:
    c, ref = web(new_cluster)
    dns = c.bind("a", "dns", ref)
    deployments.commit(c.parts, OPERATOR, ref)
    c.claim(dns)
    with pytest.raises(Refused, match="Cancel that run"):
        deployments.delete_deployment(c.parts, OPERATOR, ref)
    assert c.states(dns) == ["TRANSITION"]


def test_a_node_that_moves_takes_its_proposals_along_and_nothing_else(new_cluster: NewCluster) -> None:
    c, ref = web(new_cluster, Role(name="net"), Role(name="app", requires=("net",)), Role(name="new"))
    net = c.bind("a", "net")
    c.commit_all()
    c.anneal()
    c.bind("a", "app")
    c.bind("a", "new")
    nodes.change_node(c.parts, OPERATOR, c.nodes["a"], {"deployment_id": ref})
    homes = {
        c.named()[one.id]: one.deployment_id
        for one in c.rows(select(node_role_rows.c.id, node_role_rows.c.deployment_id))
    }
    assert homes == {"net@a": c.system, "app@a": ref, "new@a": ref}
    assert c.states(net) == ["ACTIVE"]
    assert c.edges() == {("net@a", "app@a", "data")}
    check_invariants(c.parts)


def test_a_proposal_on_which_something_committed_depends_stays(new_cluster: NewCluster) -> None:
    c, ref = web(new_cluster, Role(name="net"), Role(name="app", requires=("net",)))
    app = c.bind("a", "app")
    steering.commit(c.parts, OPERATOR, app)
    nodes.change_node(c.parts, OPERATOR, c.nodes["a"], {"deployment_id": ref})
    assert {one.deployment_id for one in c.rows(select(node_role_rows.c.deployment_id))} == {c.system}


# ---------------------------------------------------------------- deployment roles


def test_a_role_is_in_a_deployment_once_and_leaves_it_only_unbound(new_cluster: NewCluster) -> None:
    c, ref = web(new_cluster)
    there = deployments.add_role(c.parts, OPERATOR, deployment_id=ref, role_id=c.role_ids["dns"])
    with pytest.raises(Refused, match="already"):
        deployments.add_role(c.parts, OPERATOR, deployment_id=ref, role_id=c.role_ids["dns"])
    c.bind("a", "dns", ref)
    with pytest.raises(Refused, match="bound to 1 node"):
        deployments.remove_role(c.parts, OPERATOR, there)
    with pytest.raises(BadInput, match="domain"):
        deployments.set_role_data(c.parts, OPERATOR, there, {"dns": {"domain": 7}})
