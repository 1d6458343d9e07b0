"""What is told and when it counts as told: nothing is settled while somebody has still to hear of it."""

from __future__ import annotations

from collections.abc import Iterable

from crowbar_core.barclamp import Attribute, DeploymentRoleView, NodeRoleView, NodeView, Role, RunView
from crowbar_core.services.cluster import deployments, steering
from crowbar_core.services.values import attributes, drafts
from crowbar_core.services.watch import settling
from crowbar_core.store import events
from crowbar_core.store.events import Waiting
from tests.integration.cluster import OPERATOR, Cluster
from tests.integration.conftest import NewCluster


def nothing(node_role: NodeRoleView) -> None:
    """Somebody listens, so that it is told."""


def about_nodes(node: NodeView, changed: Iterable[str]) -> None:
    """The same."""


def about_runs(run: RunView) -> None:
    """The same."""


def about_deployment_roles(deployment_role: DeploymentRoleView) -> None:
    """The same."""


BASE, TOP = Role(name="base"), Role(name="top", requires=("base",))


def where(c: Cluster) -> tuple[str, int, int]:
    found = settling.settled(c.parts)
    return found.state, found.working, found.undelivered


def waiting(c: Cluster) -> list[Waiting]:
    with c.parts.store.read() as session:
        return events.due(session, c.clock(), 100)


def settle(c: Cluster, delivery: Waiting) -> bool:
    with c.parts.store.write(graph=False) as session:
        return events.settle(session, c.clock(), delivery)


def test_it_is_settled_when_all_runs_have_ended_and_all_events_are_delivered(new_cluster: NewCluster) -> None:
    c = new_cluster(BASE, hooks={"on_active": nothing})
    c.node("a")
    ref = c.bind("a", "base")
    c.commit_all()
    assert where(c) == ("working", 1, 0)
    c.end(ref)
    assert where(c) == ("working", 0, 1), "a barclamp has still to hear of it, and may ask for more"
    (delivery,) = waiting(c)
    assert settle(c, delivery)
    assert where(c) == ("settled", 0, 0)
    steering.force_error(c.parts, OPERATOR, ref)
    assert where(c) == ("failed", 0, 0)


def test_a_delivery_is_settled_once(new_cluster: NewCluster) -> None:
    c = new_cluster(BASE, hooks={"on_active": nothing})
    c.node("a")
    ref = c.bind("a", "base")
    c.commit_all()
    c.end(ref)
    (delivery,) = waiting(c)
    assert [settle(c, delivery), settle(c, delivery)] == [True, False]


# ---------------------------------------------------------------- left out nowhere


def test_children_that_are_blocked_because_a_parent_left_are_told(new_cluster: NewCluster) -> None:
    c = new_cluster(BASE, TOP, hooks={"on_blocked": nothing})
    c.node("a")
    top = c.bind("a", "top")
    c.commit_all()
    c.anneal()
    before = len(c.told("on_blocked"))
    (base,) = [ref for ref in c.named() if ref != top]
    steering.rerun(c.parts, OPERATOR, base)
    assert c.states(top) == ["BLOCKED"]
    assert c.told("on_blocked")[before:] == [{"id": top}]


def test_runs_that_are_cancelled_before_anybody_took_them_are_told_as_finished(new_cluster: NewCluster) -> None:
    c = new_cluster(BASE, hooks={"on_run_finished": about_runs})
    c.node("a")
    ref = c.bind("a", "base")
    c.commit_all()
    run = c.open_run(ref).id
    steering.cancel_run(c.parts, OPERATOR, run)
    assert c.told("on_run_finished") == [{"id": run}]


def test_a_dead_nodes_run_is_told_as_finished(new_cluster: NewCluster) -> None:
    c = new_cluster(BASE, hooks={"on_run_finished": about_runs})
    c.node("a")
    ref = c.bind("a", "base")
    c.commit_all()
    run = c.claim(ref)
    c.change_node("a", alive=False)
    assert c.told("on_run_finished") == [{"id": run}]


def test_an_attribute_set_or_unset_on_a_node_is_told_as_a_change_of_its_hint(new_cluster: NewCluster) -> None:
    rack = Attribute(name="rack", schema={"type": "string"})
    c = new_cluster(attributes=[rack], hooks={"on_node_change": about_nodes})
    node = c.node("a")
    attributes.set_value(c.parts, OPERATOR, attribute="rack", value="r1", node_id=node, now=True)
    assert c.told("on_node_change") == [{"id": node, "changed": ["hint"]}]
    for delivery in waiting(c):
        settle(c, delivery)
    attributes.unset_value(c.parts, OPERATOR, attribute="rack", node_id=node, now=True)
    assert c.told("on_node_change")[1:] == [{"id": node, "changed": ["hint"]}]


def test_drafts_of_a_node_are_told_as_a_change_of_its_hint_when_they_are_committed(new_cluster: NewCluster) -> None:
    rack = Attribute(name="rack", schema={"type": "string"})
    c = new_cluster(attributes=[rack], hooks={"on_node_change": about_nodes})
    node = c.node("a")
    attributes.set_value(c.parts, OPERATOR, attribute="rack", value="r1", node_id=node)
    assert c.told("on_node_change") == []
    drafts.commit_drafts(c.parts, OPERATOR, node_id=node)
    assert c.told("on_node_change") == [{"id": node, "changed": ["hint"]}]


def test_a_role_that_comes_into_a_deployment_is_told_whichever_way_it_came(new_cluster: NewCluster) -> None:
    c = new_cluster(BASE, TOP, hooks={"on_deployment_create": about_deployment_roles})
    added = deployments.add_role(c.parts, OPERATOR, deployment_id=c.system, role_id=c.role_ids["base"])
    assert c.told("on_deployment_create") == [{"id": added}]
    c.node("a")
    c.bind("a", "top")
    assert len(c.told("on_deployment_create")) == 2, "top came by a binding, base was there"
