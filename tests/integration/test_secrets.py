"""Secrets, wherever they come from: sealed where they rest, masked in whatever barclamps are given to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import select

from crowbar_core.barclamp import Attribute, Hammer, Role
from crowbar_core.domain.attributes import MASK
from crowbar_core.services.cluster import deployments, hammers, nodes
from crowbar_core.services.data.views import deployment_role_view, node_role_views, node_views
from crowbar_core.services.values import attributes as values
from crowbar_core.services.values.drafts import drafts
from crowbar_core.store.models import DeploymentRole, table
from tests.integration.cluster import OPERATOR, Cluster, everything_at_rest
from tests.integration.conftest import NewCluster

SECRET = "correct horse battery"
BMC = Attribute(name="bmc-key", map="bmc/key", schema={"type": "string"}, secret=True)
KEY = Attribute(name="key", map="web/key", schema={"type": "string"}, secret=True)
TREE: dict[str, Any] = {"bmc": {"key": SECRET}}
DATA: dict[str, Any] = {"web": {"key": SECRET}}


class Switch(Hammer):
    """Remembers the settings with which it was used."""

    used: ClassVar[list[dict[str, Any]]] = []

    def actions(self) -> tuple[str, ...]:
        return ("on",)

    def perform(self, action: str) -> str:
        self.used.append(dict(self.config))
        return "it is on"


class Stage:
    """Node a with the role web, whose attributes and those of the node may be secret."""

    def __init__(self, c: Cluster) -> None:
        self.c, self.parts = c, c.parts
        kinds: dict[str, Any] = c.parts.registry._hammers
        kinds["switch"] = Switch
        self.node = c.node("a")
        self.web = c.bind("a", "web")
        c.commit_all()
        with c.parts.store.read() as session:
            self.in_system: int = session.scalars(select(table(DeploymentRole).c.id)).one()

    def report(self) -> None:
        self.c.end(self.web, wall=DATA)

    def set_for_deployment(self) -> None:
        deployments.set_role_data(self.parts, OPERATOR, self.in_system, DATA)
        deployments.commit_role(self.parts, OPERATOR, self.in_system)


@pytest.fixture
def stage(new_cluster: NewCluster) -> Stage:
    return Stage(new_cluster(Role(name="web", attributes=(KEY,)), attributes=[BMC]))


WAYS: dict[str, Callable[[Stage], object]] = {
    "hint of a new node": lambda s: s.c.node("b", hint=TREE),
    "discovery of a new node": lambda s: s.c.node("b", discovery=TREE),
    "changed hint": lambda s: s.c.change_node("a", hint=TREE),
    "changed discovery": lambda s: s.c.change_node("a", discovery=TREE),
    "attribute of a node": lambda s: values.set_value(
        s.parts, OPERATOR, attribute="bmc-key", value=SECRET, node_id=s.node
    ),
    "attribute of a noderole": lambda s: values.set_value(
        s.parts, OPERATOR, attribute="key", value=SECRET, node_role_id=s.web
    ),
    "attribute of a deployment role": lambda s: values.set_value(
        s.parts, OPERATOR, attribute="key", value=SECRET, deployment_role_id=s.in_system
    ),
    "data of a deployment role": Stage.set_for_deployment,
    "report of a run": Stage.report,
    "settings of a hammer": lambda s: hammers.add_hammer(
        s.parts, OPERATOR, s.node, name="switch", config={"password": SECRET}
    ),
    "hammer of a new node": lambda s: s.c.node("b", hammers=[("switch", 0, {"password": SECRET})]),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_no_secret_rests_in_clear(stage: Stage, tmp_path: Path, way: str) -> None:
    WAYS[way](stage)
    assert SECRET not in everything_at_rest(stage.c, tmp_path)


def test_a_secret_that_a_node_reported_or_was_hinted_is_there_for_who_may_see_it(stage: Stage) -> None:
    stage.c.change_node("a", discovery=TREE)
    (reported,) = values.node_values(stage.parts, stage.node, reveal=True)
    assert (reported.value, reported.source) == (SECRET, "discovery")
    stage.c.change_node("a", hint={"bmc": {"key": SECRET + "!"}})
    (hinted,) = values.node_values(stage.parts, stage.node, reveal=True)
    assert (hinted.value, hinted.source) == (SECRET + "!", "hint")


def test_a_hammer_is_used_with_the_settings_that_it_was_given(stage: Stage) -> None:
    Switch.used.clear()
    hammers.add_hammer(stage.parts, OPERATOR, stage.node, name="switch", config={"password": SECRET})
    hammers.power(stage.parts, OPERATOR, stage.node, "on")
    assert Switch.used == [{"password": SECRET}]


def test_barclamps_see_that_there_is_a_secret_and_not_which(stage: Stage) -> None:
    nodes.change_node(stage.parts, OPERATOR, stage.node, {"hint": TREE, "discovery": TREE})
    stage.set_for_deployment()
    stage.report()
    masked_tree, masked_data = {"bmc": {"key": MASK}}, {"web": {"key": MASK}}
    with stage.parts.store.read() as session:
        node = node_views(stage.parts.registry, session, stage.parts.store, [stage.node])[stage.node]
        assert (node.hint, node.discovery) == (masked_tree, masked_tree)
        web = node_role_views(stage.parts.registry, session, stage.parts.store, [stage.web])[stage.web]
        assert (web.data, web.wall) == (masked_data, masked_data)
        there = deployment_role_view(session, stage.in_system)
        assert there is not None
        assert there.data == masked_data


@pytest.mark.parametrize("where", ["node_id", "node_role_id", "deployment_role_id"])
def test_plans_and_drafts_show_that_there_is_a_secret_and_not_which(stage: Stage, where: str) -> None:
    target = {"node_id": stage.node, "node_role_id": stage.web, "deployment_role_id": stage.in_system}[where]
    attribute = "bmc-key" if where == "node_id" else "key"
    stage.c.anneal()
    for old, secret in ((None, SECRET), (MASK, SECRET + "!")):
        values.set_value(stage.parts, OPERATOR, attribute=attribute, value=secret, **{where: target})  # type: ignore[arg-type]
        planned = deployments.plan(stage.parts, stage.c.system)
        assert [(one.attribute, one.old, one.new) for one in planned.values] == [(attribute, old, MASK)]
        drafted = drafts(stage.parts, deployment_id=stage.c.system)
        assert [(one.attribute, one.old, one.new) for one in drafted] == [(attribute, old, MASK)]
        stage.c.commit_all()
        stage.c.anneal()
