"""What may not be deleted, moved or redeployed, because something stands on it or is at work there."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from crowbar_core.barclamp import Role
from crowbar_core.errors import NotFound, Refused
from crowbar_core.services.cluster import deployments, nodes, steering
from tests.integration.cluster import OPERATOR, deployment_rows, node_rows
from tests.integration.conftest import NewCluster

BASE, TOP = Role(name="base"), Role(name="top", requires=("base",))
INSTALL = Role(name="install", destructive=True)


def test_a_system_node_goes_only_with_its_deployment(new_cluster: NewCluster) -> None:
    c = new_cluster()
    web = c.deployment("web")
    phantom = c.system_node(web)
    with pytest.raises(Refused, match="goes with its deployment"):
        nodes.delete_node(c.parts, OPERATOR, phantom, wait=0)
    assert c.system_node(web) == phantom
    deployments.delete_deployment(c.parts, OPERATOR, web)
    assert not c.rows(select(node_rows.c.id).where(node_rows.c.id == phantom))


def test_a_deployment_with_children_is_not_deleted(new_cluster: NewCluster) -> None:
    c = new_cluster()
    web = c.deployment("web")
    shop = c.deployment("shop", web)
    with pytest.raises(Refused, match=r"has children: shop"):
        deployments.delete_deployment(c.parts, OPERATOR, web)
    for ref in (shop, web):
        deployments.delete_deployment(c.parts, OPERATOR, ref)
        assert not c.rows(select(deployment_rows.c.id).where(deployment_rows.c.id == ref))


def test_a_deployment_on_which_anothers_work_stands_is_not_deleted(new_cluster: NewCluster) -> None:
    """A requirement is met by what is on the node already, in whichever deployment that is."""
    c = new_cluster(BASE, TOP)
    web, shop = c.deployment("web"), c.deployment("shop")
    c.node("a")
    base, top = c.bind("a", "base", web), c.bind("a", "top", shop)
    c.commit_all(web)
    c.commit_all(shop)
    c.anneal()
    assert c.edges() == {("base@a", "top@a", "data")}
    with pytest.raises(Refused, match=r"top on a\.test\.example in other deployments depend on it"):
        deployments.delete_deployment(c.parts, OPERATOR, web)
    assert c.states(base, top) == ["ACTIVE", "ACTIVE"]
    deployments.delete_deployment(c.parts, OPERATOR, shop)
    deployments.delete_deployment(c.parts, OPERATOR, web)
    assert c.named() == {}


def test_a_deployment_that_holds_work_is_not_moved(new_cluster: NewCluster) -> None:
    c = new_cluster(BASE)
    web, other = c.deployment("web"), c.deployment("other")
    c.node("a", deployment_id=web)
    c.bind("a", "base", web)
    with pytest.raises(Refused, match="has noderoles"):
        deployments.change_deployment(c.parts, OPERATOR, web, {"parent_id": other})
    assert c.rows(select(deployment_rows.c.parent_id).where(deployment_rows.c.id == web)) == [(c.system,)]


def test_a_node_with_a_run_at_work_stays_until_that_has_ended(new_cluster: NewCluster) -> None:
    c = new_cluster(BASE)
    node = c.node("a")
    base = c.bind("a", "base")
    c.commit_all()
    run = c.claim(base)
    with pytest.raises(Refused, match=f"still has run {run}, which is being cancelled"):
        nodes.delete_node(c.parts, OPERATOR, node, wait=0)
    assert c.run(run).state == "cancelling"
    c.end(base, "cancelled")
    nodes.delete_node(c.parts, OPERATOR, node, wait=0)
    with pytest.raises(NotFound):
        nodes.delete_node(c.parts, OPERATOR, node, wait=0)


def test_children_of_a_peer_that_goes_run_again_without_it(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="etcd", cluster=True), Role(name="app", requires=("etcd",)))
    for name in "abx":
        c.node(name)
    c.bind("a", "etcd")
    c.bind("b", "etcd")
    app = c.bind("x", "app")
    c.commit_all()
    c.anneal()
    nodes.delete_node(c.parts, OPERATOR, c.nodes["a"], wait=0)
    assert c.edges() == {("etcd@b", "app@x", "data")}
    assert c.anneal() == [app]


def test_a_node_is_not_redeployed_beside_a_run_at_work(new_cluster: NewCluster) -> None:
    c = new_cluster(INSTALL, TOP, BASE)
    node = c.node("a")
    install = c.bind("a", "install")
    c.commit_all()
    c.anneal()
    base = c.bind("a", "base")
    c.commit_all()
    run = c.claim(base)
    for state in ("running", "cancelling"):
        assert c.run(run).state == state
        with pytest.raises(Refused, match=f"has run {run} just now"):
            nodes.redeploy_node(c.parts, OPERATOR, node)
        assert c.row(install).done
        assert c.states(install) == ["ACTIVE"]
        if state == "running":
            steering.cancel_run(c.parts, OPERATOR, run)
    c.end(base, "cancelled")
    nodes.redeploy_node(c.parts, OPERATOR, node)
    assert c.states(install) == ["TRANSITION"]


def test_a_node_whose_run_nobody_has_begun_is_redeployed(new_cluster: NewCluster) -> None:
    c = new_cluster(BASE)
    node = c.node("a")
    base = c.bind("a", "base")
    c.commit_all()
    waiting = c.open_run(base)
    nodes.redeploy_node(c.parts, OPERATOR, node)
    assert c.run(waiting.id).state == "cancelled"
    assert c.states(base) == ["TRANSITION"]
    assert c.open_run(base).id > waiting.id
