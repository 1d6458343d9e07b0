"""The audit trail has a row for each thing that a person does, with what was done to what, and by whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from sqlalchemy import select

from crowbar_core.barclamp import Attribute, Hammer, Role
from crowbar_core.services.cluster import deployments, groups, hammers, nodes, steering
from crowbar_core.services.cluster.binding import unbind
from crowbar_core.services.people import users
from crowbar_core.services.turns.turn import Actor
from crowbar_core.services.values import attributes as values
from tests.integration.cluster import OPERATOR, Cluster, audit_rows
from tests.integration.conftest import NewCluster

EVE = Actor("eve", "192.0.2.7")
RACK = Attribute(name="rack", schema={"type": "string"})


class Switch(Hammer):
    said: ClassVar[str] = "it is done"

    def actions(self) -> tuple[str, ...]:
        return ("on", "off", "status")

    def perform(self, action: str) -> str:
        return self.said


class Stage:
    """A cluster with a bit of everything, on which one thing is done."""

    def __init__(self, c: Cluster) -> None:
        self.c, self.parts = c, c.parts
        kinds: dict[str, Any] = c.parts.registry._hammers
        kinds["switch"] = Switch
        self.web = c.deployment("web")
        self.node = c.node("a", deployment_id=self.web)
        self.ref = c.bind("a", "base", self.web)
        self.hammer = hammers.add_hammer(c.parts, EVE, self.node, name="switch")
        self.user = users.create_user(c.parts, EVE, name="bob", password="long enough")

    def committed(self) -> Stage:
        self.c.commit_all(self.web)
        return self

    def annealed(self) -> Stage:
        self.committed().c.anneal()
        return self


Deed = Callable[[Stage], object]

DEEDS: dict[str, tuple[str, Deed]] = {
    "user.lock": ("user bob", lambda s: users.lock(s.parts, EVE, s.user)),
    "user.unlock": ("user bob", lambda s: users.unlock(s.parts, EVE, s.user)),
    "user.password": ("user bob", lambda s: users.set_password(s.parts, EVE, s.user, "longer than that")),
    "user.change": ("user bob", lambda s: users.change_user(s.parts, EVE, s.user, {"role": "operator"})),
    "user.delete": ("user bob", lambda s: users.delete_user(s.parts, EVE, s.user)),
    "unbind": ("node_role {ref}", lambda s: unbind(s.parts, EVE, s.ref)),
    "deployment.commit": ("deployment web", lambda s: deployments.commit(s.parts, EVE, s.web)),
    "deployment.propose": ("deployment web", lambda s: deployments.propose(s.parts, EVE, s.web)),
    "deployment.recall": ("deployment web", lambda s: deployments.recall(s.parts, EVE, s.web)),
    "deployment.change": (
        "deployment web",
        lambda s: deployments.change_deployment(s.parts, EVE, s.web, {"description": "x"}),
    ),
    "deployment.delete": ("deployment web", lambda s: deployments.delete_deployment(s.parts, EVE, s.web)),
    "node.change": ("node a.test.example", lambda s: nodes.change_node(s.parts, EVE, s.node, {"description": "x"})),
    "node.commit": ("node a.test.example", lambda s: nodes.commit_node(s.parts, EVE, s.node)),
    "node.propose": ("node a.test.example", lambda s: nodes.propose_node(s.parts, EVE, s.node)),
    "node.redeploy": ("node a.test.example", lambda s: nodes.redeploy_node(s.parts, EVE, s.node)),
    "node.delete": ("node a.test.example", lambda s: nodes.delete_node(s.parts, EVE, s.node)),
    "node.power": ("node a.test.example", lambda s: hammers.power(s.parts, EVE, s.node, "on")),
    "hammer.change": (
        "node a.test.example",
        lambda s: hammers.change_hammer(s.parts, EVE, s.hammer, priority=3),
    ),
    "hammer.remove": ("hammer {hammer}", lambda s: hammers.remove_hammer(s.parts, EVE, s.hammer)),
    "attribute.set": (
        "node a.test.example",
        lambda s: values.set_value(s.parts, EVE, attribute="rack", value="r1", node_id=s.node),
    ),
    "attribute.unset": (
        "node a.test.example",
        lambda s: values.unset_value(s.parts, EVE, attribute="rack", node_id=s.node),
    ),
    "node_role.commit": ("node_role {ref}", lambda s: steering.commit(s.parts, EVE, s.ref)),
    "node_role.propose": ("node_role {ref}", lambda s: steering.propose(s.parts, EVE, s.ref)),
    "node_role.hold": ("node_role {ref}", lambda s: steering.hold(s.parts, EVE, s.ref)),
    "node_role.release": ("node_role {ref}", lambda s: steering.release(s.parts, EVE, s.ref)),
    "node_role.retry": ("node_role {ref}", lambda s: steering.retry(s.parts, EVE, s.ref)),
    "node_role.rerun": ("node_role {ref}", lambda s: steering.rerun(s.annealed().parts, EVE, s.ref)),
    "node_role.refresh": ("node_role {ref}", lambda s: steering.refresh(s.annealed().parts, EVE, s.ref)),
    "node_role.force_error": ("node_role {ref}", lambda s: steering.force_error(s.annealed().parts, EVE, s.ref)),
    "run.cancel": (
        "run {run}",
        lambda s: steering.cancel_run(s.committed().parts, EVE, s.c.open_run(s.ref).id),
    ),
    "group.create": ("group rack-1", lambda s: groups.create_group(s.parts, EVE, name="rack-1", category="rack")),
}


@pytest.mark.parametrize("action", list(DEEDS))
def test_what_is_done_has_a_row_that_says_by_whom(new_cluster: NewCluster, action: str) -> None:
    stage = Stage(new_cluster(Role(name="base"), attributes=[RACK]))
    if action == "node_role.retry":
        steering.force_error(stage.annealed().parts, OPERATOR, stage.ref)
    before = len(stage.c.audited())
    subject, deed = DEEDS[action]
    deed(stage)
    named = subject.format(ref=stage.ref, hammer=stage.hammer, run=1)
    places = stage.c.rows(
        select(audit_rows.c.remote).where(audit_rows.c.actor == EVE.name, audit_rows.c.action == action)
    )
    assert {row.remote for row in places} == {EVE.remote}
    assert [row for row in stage.c.audited()[before:] if row[2] == EVE.name] == [(action, named, "eve")]


def test_asking_whether_a_node_is_on_is_no_deed(new_cluster: NewCluster) -> None:
    stage = Stage(new_cluster(Role(name="base")))
    before = stage.c.audited()
    assert hammers.power(stage.parts, EVE, stage.node, "status") == Switch.said
    assert stage.c.audited() == before
