"""A node on which a `powersave` role is ACTIVE is powered off when nothing more waits on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from crowbar_core import Barclamp, Hammer, Role, hookimpl
from crowbar_core.domain.states import TODO, NodeState, node_state
from crowbar_core.services.cluster import hammers, nodes, steering
from crowbar_core.services.engine.housekeeping import save_power
from crowbar_core.services.turns.turn import Actor
from crowbar_core.store import boards, counts, node_fields
from crowbar_core.testing import Testbed

OPERATOR = Actor("operator")


class Saving:
    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(
            name="saving",
            roles=(Role(name="saving-rest", powersave=True), Role(name="saving-work"), Role(name="saving-other")),
        )


class Switch(Hammer):
    """Remembers what was asked of it."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def actions(self) -> tuple[str, ...]:
        return ("on", "off")

    def perform(self, action: str) -> str:
        self.asked.append((self.config["node"], action))
        return f"it is {action}"


@pytest.fixture
def cluster() -> Iterator[Testbed]:
    Switch.asked.clear()
    with Testbed(Saving()) as made:
        hammers: dict[str, Any] = made.parts.registry._hammers
        hammers["switch"] = Switch
        for name in ("one.example.test", "two.example.test"):
            made.add_node(name, hammers=[("switch", 0, {"node": name})])
            made.bind("saving-rest", name)
        yield made


def test_a_node_whose_work_is_done_is_powered_off_once(cluster: Testbed) -> None:
    cluster.commit()
    cluster.anneal_until_quiet()
    assert save_power(cluster.parts) == 2
    assert sorted(Switch.asked) == [("one.example.test", "off"), ("two.example.test", "off")]
    assert not cluster.node("one.example.test").alive
    assert save_power(cluster.parts) == 0
    assert "not alive" in cluster.why("saving-rest", "one.example.test")


def test_a_node_with_work_to_do_stays_on(cluster: Testbed) -> None:
    cluster.bind("saving-work", "one.example.test")
    cluster.commit()
    assert save_power(cluster.parts) == 0
    cluster.anneal_until_quiet()
    cluster.bind("saving-other", "one.example.test")
    nodes.change_node(cluster.parts, OPERATOR, cluster.node("two.example.test").id, {"available": False})
    assert save_power(cluster.parts) == 1, "what is only proposed is no work; what is not available is left alone"
    assert Switch.asked == [("one.example.test", "off")]


def test_a_node_on_which_work_waits_without_a_run_stays_on(cluster: Testbed) -> None:
    cluster.commit()
    cluster.anneal_until_quiet()
    held = cluster.bind("saving-work", "one.example.test")
    steering.hold(cluster.parts, OPERATOR, held.id)
    cluster.commit()
    assert cluster.state("saving-work", "one.example.test") == "TODO"
    save_power(cluster.parts)
    assert Switch.asked == [("two.example.test", "off")]


def test_the_hint_stay_on_keeps_a_node_on(cluster: Testbed) -> None:
    for name, wish in (("one.example.test", True), ("two.example.test", False)):
        nodes.change_node(cluster.parts, OPERATOR, cluster.node(name).id, {"hint": {"stay_on": wish}})
    cluster.commit()
    cluster.anneal_until_quiet()
    save_power(cluster.parts)
    assert Switch.asked == [("two.example.test", "off")]


def test_the_admin_node_stays_on(cluster: Testbed) -> None:
    cluster.add_node("admin.example.test", admin=True, hammers=[("switch", 0, {"node": "admin.example.test"})])
    cluster.bind("saving-rest", "admin.example.test")
    cluster.commit()
    cluster.anneal_until_quiet()
    assert save_power(cluster.parts) == 2
    assert ("admin.example.test", "off") not in Switch.asked


def test_what_was_powered_off_by_order_is_off_and_no_trouble(cluster: Testbed) -> None:
    """Until it is powered on: then it is dead until it has come."""
    cluster.commit()
    cluster.anneal_until_quiet()
    save_power(cluster.parts)
    one = cluster.node("one.example.test")

    def said() -> tuple[str, str]:
        row: Any = cluster.web("viewer").get("/api/v2/nodes/one.example.test").json
        return str(row["state"]), str(row["life"])

    assert said() == ("OFF", "off")
    with cluster.parts.store.read() as session:
        counted = boards.node_counts(session)
        assert (counted.states, counted.dead) == ({NodeState.OFF: 2}, 0)
        assert list(counted.states) == [node_state([TODO], alive=False, switched_off=True)]
        assert counts.troubles(session).dead_nodes == 0
    with cluster.parts.store.write() as session:
        node_fields.note_reason(session, one.id, "no answer to ping")
    assert "it was powered off" in cluster.why("saving-rest", "one.example.test")
    hammers.power(cluster.parts, OPERATOR, one.id, "on")
    assert said() == ("TODO", "dead")
    with cluster.parts.store.read() as session:
        assert (boards.node_counts(session).dead, counts.troubles(session).dead_nodes) == (1, 1)
    hammers.power(cluster.parts, OPERATOR, one.id, "off")
    assert said() == ("OFF", "off")
    cluster.bind("saving-work", "one.example.test")
    assert said() == ("PROPOSED", "off"), "somebody is to decide"
    cluster.change_node("one.example.test", alive=True)
    cluster.change_node("one.example.test", alive=False)
    assert said()[1] == "dead", "it was alive since"
