"""The intents by which a barclamp registers, changes, accepts and describes nodes; and the hooks of their going."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest

from crowbar_core import (
    BadInput,
    Barclamp,
    Bind,
    Change,
    ChangeNode,
    CommitNode,
    CreateNode,
    DeploymentView,
    Hammer,
    Json,
    NodeRoleView,
    NodeView,
    NotFound,
    Problem,
    Refused,
    Role,
    ServedBootEnv,
    SetBootEnv,
    SetHammer,
    Veto,
    hookimpl,
)
from crowbar_core.testing import Testbed

N1 = "n1.example.test"


class Watcher:
    """Writes down what it hears, and stands in the way when it is told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.keeps = ""
        self.bound: list[list[str]] = []

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(
            name="watcher",
            roles=(
                Role(name="found", jig="noop", discovery=True),
                Role(name="base", jig="noop"),
                Role(name="above", jig="noop", requires=("base",)),
            ),
        )

    @hookimpl
    def on_node_create(self, node: NodeView) -> None:
        self.heard.append(("created", node.name))

    @hookimpl
    def on_node_change(self, node: NodeView, changed: frozenset[str]) -> None:
        self.heard.append((node.bootenv, node.served_bootenv, sorted(changed)))

    @hookimpl
    def on_node_unbind(self, node_role: NodeRoleView, change: Change) -> None:
        if self.keeps == node_role.role:
            raise Veto(f"{node_role.role} stays")
        change.audit("watcher.unbound", f"{node_role.role} on {node_role.node.name}")

    @hookimpl
    def on_node_leave(self, node: NodeView, change: Change) -> None:
        if self.keeps == f"leave {node.name}":
            raise Veto(f"{node.name} stays")
        change.audit("watcher.left", node.name)

    @hookimpl
    def on_deployment_commit(self, deployment: DeploymentView, change: Change) -> None:
        if self.keeps == f"commit {deployment.name}":
            raise Veto(f"{deployment.name} stays as it is")
        change.audit("watcher.committed", deployment.name)

    @hookimpl
    def on_deployment_discard(self, deployment: DeploymentView, change: Change) -> None:
        if self.keeps == f"discard {deployment.name}":
            raise Veto(f"{deployment.name} keeps its drafts")
        change.audit("watcher.discarded", deployment.name)

    @hookimpl
    def on_nodes_bind(self, node_roles: Sequence[NodeRoleView], change: Change) -> None:
        if self.keeps == "unbound":
            raise Veto("nothing is bound here")
        self.bound.append([f"{one.role} on {one.node.name.partition('.')[0]}" for one in node_roles])

    @hookimpl
    def check_delete(self, subject: NodeView | DeploymentView, session: Any) -> Iterator[Problem]:
        if subject.name == self.keeps:
            yield Problem(detail=f"{subject.name} is needed")


class Lamp(Hammer):
    def __init__(self, config: Mapping[str, Json]) -> None:
        super().__init__(config)
        if "address" not in config:
            raise BadInput("A lamp needs an address.")

    def actions(self) -> tuple[str, ...]:
        return ("on",)

    def perform(self, action: str) -> str:
        return f"{self.config['address']} is {action}"


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def bed(ready_database: str, watcher: Watcher) -> Iterator[Testbed]:
    with Testbed(watcher, database_url=ready_database) as made:
        made.parts.registry._hammers["lamp"] = Lamp
        yield made


def audits(bed: Testbed, action: str) -> list[tuple[str, str]]:
    rows = bed.web().get(f"/api/v2/audits?action={action}").get_json()
    return [(row["actor"], row["subject"]) for row in rows]


def test_create_node_registers_a_machine_once(bed: Testbed, watcher: Watcher) -> None:
    intent = CreateNode(name=N1, discovery={"serial": "S1"}, bootenv="sledgehammer", host_keys=("ssh-ed25519 AAAA",))
    bed.apply(intent)
    bed.apply(intent, CreateNode(name=N1.upper(), discovery={"serial": "S2"}))
    node = bed.node("n1")
    assert (node.available, node.bootenv, node.host_keys) == (False, "sledgehammer", ("ssh-ed25519 AAAA",))
    assert node.discovery == {"serial": "S1"}
    assert bed.state("found", "n1") == "PROPOSED"
    bed.deliver()
    assert watcher.heard == [("created", N1)]


def test_change_node_changes_what_it_names(bed: Testbed, watcher: Watcher) -> None:
    bed.apply(CreateNode(name=N1, discovery={"serial": "S1"}))
    bed.apply(ChangeNode(node=N1, discovery={"cpus": 4}, description="in rack 7"))
    assert bed.node("n1").discovery == {"serial": "S1", "cpus": 4}
    bed.apply(ChangeNode(node=N1, name="n2.example.test", available=True, host_keys=["ssh-ed25519 BBBB"]))
    node = bed.node("n2")
    assert (node.available, node.host_keys) == (True, ("ssh-ed25519 BBBB",))
    with pytest.raises(NotFound, match="There is no node 'n1"):
        bed.apply(ChangeNode(node=N1, available=False))


def test_commit_node_accepts_a_machine(bed: Testbed) -> None:
    bed.apply(CreateNode(name=N1, alive=True), CommitNode(node=N1))
    assert bed.node("n1").available
    bed.anneal_until_quiet()
    assert bed.state("found", "n1") == "ACTIVE"


def test_bind_with_commit_begins_the_work(bed: Testbed) -> None:
    bed.add_node("n1")
    bed.apply(Bind(node=N1, role="above", commit=True))  # with what it requires
    bed.anneal_until_quiet()
    assert (bed.state("base", "n1"), bed.state("above", "n1")) == ("ACTIVE", "ACTIVE")
    bed.add_node("n2")
    bed.apply(Bind(node="n2.example.test", role="above"))
    assert bed.state("above", "n2") == "PROPOSED"
    bed.apply(Bind(node="n2.example.test", role="above", commit=True))  # it is there: it is only committed
    bed.anneal_until_quiet()
    assert bed.state("above", "n2") == "ACTIVE"


def test_set_hammer_gives_a_node_a_hammer_or_changes_it(bed: Testbed) -> None:
    bed.add_node("n1")

    def power() -> str:
        answer = bed.web().put("/api/v2/nodes/n1.example.test/power", json={"action": "on"}).get_json()
        return str(answer["result"])

    bed.apply(SetHammer(node=N1, name="lamp", config={"address": "a"}))
    assert power() == "a is on"
    bed.apply(SetHammer(node=N1, name="lamp", config={"address": "a"}))
    assert len(audits(bed, "hammer.set")) == 1, "the same again does nothing"
    bed.apply(SetHammer(node=N1, name="lamp", config={"address": "b"}, priority=3))
    assert power() == "b is on"
    rows = bed.web().get("/api/v2/audits?action=hammer.set").get_json()
    assert [row["detail"]["changed"] for row in rows if row["detail"]["changed"]["priority"]["old"] == 0] == [
        {"priority": {"old": 0, "new": 3}, "config/address": {"old": "***", "new": "***"}}
    ]
    with pytest.raises(BadInput, match="needs an address"):
        bed.apply(SetHammer(node=N1, name="lamp", config={}))
    with pytest.raises(NotFound, match="No installed package brings a hammer 'torch'"):
        bed.apply(SetHammer(node=N1, name="torch"))


def test_served_bootenv_is_stated_and_both_are_told(bed: Testbed, watcher: Watcher) -> None:
    bed.add_node("n1")
    bed.deliver()
    watcher.heard.clear()
    bed.apply(SetBootEnv(node=N1, bootenv="debian-13"))
    bed.deliver()
    bed.apply(ServedBootEnv(node=N1, bootenv="debian-13"))
    bed.apply(ServedBootEnv(node=N1, bootenv="debian-13"))
    bed.deliver()
    assert watcher.heard == [("debian-13", "", ["bootenv"]), ("debian-13", "debian-13", ["served_bootenv"])]
    (row,) = bed.web().get("/api/v2/nodes?served_bootenv=debian-13").get_json()
    assert (row["name"], row["bootenv"]) == (N1, "debian-13")
    with pytest.raises(BadInput, match="boot environment"):
        bed.apply(ServedBootEnv(node=N1, bootenv="$(reboot)"))


# ---------------------------------------------------------------- going


def unbound(bed: Testbed) -> list[str]:
    return sorted(subject for _, subject in audits(bed, "watcher.unbound"))


def test_on_node_unbind_takes_part_in_every_way_of_going(bed: Testbed) -> None:
    for name in ("n1", "n2", "n3"):
        bed.add_node(name)
    bed.add_deployment("d1")
    bed.bind("above", "n1")
    bed.unbind("above", "n1")
    assert unbound(bed) == [f"above on {N1}"]
    bed.delete_node("n1")
    assert unbound(bed) == [f"above on {N1}", f"base on {N1}", f"found on {N1}"]
    bed.bind("base", "n2", deployment="d1")
    bed.delete_deployment("d1")
    assert "base on n2.example.test" in unbound(bed)


def test_on_deployment_commit_takes_part_in_the_commit_of_a_deployment_and_may_refuse(
    bed: Testbed, watcher: Watcher
) -> None:
    bed.add_node("n1")
    bed.add_deployment("d1")
    bed.bind("base", "n1", deployment="d1")
    watcher.keeps = "commit d1"
    with pytest.raises(Refused, match="d1 stays as it is"):
        bed.commit("d1")
    assert bed.state("base", "n1") == "PROPOSED"
    watcher.keeps = ""
    bed.commit("d1")
    assert [subject for _, subject in audits(bed, "watcher.committed")] == ["d1"]


def test_on_deployment_discard_takes_part_when_drafts_are_thrown_away_and_may_refuse(
    bed: Testbed, watcher: Watcher
) -> None:
    bed.add_deployment("d1")
    bed.commit("d1")
    web = bed.web("operator")
    for way in ("drafts/discard", "recall"):
        watcher.keeps = "discard d1"
        assert "d1 keeps its drafts" in web.put(f"/api/v2/deployments/d1/{way}").get_json()["detail"]
        assert web.get("/api/v2/deployments/d1").get_json()["state"] != "PROPOSED"
        watcher.keeps = ""
        assert web.put(f"/api/v2/deployments/d1/{way}").status_code == 200
    assert web.put("/api/v2/deployments/d1/propose").status_code == 200
    assert [subject for _, subject in audits(bed, "watcher.discarded")] == ["d1", "d1"]


def test_on_nodes_bind_hears_of_all_that_is_bound_in_one_call_and_may_refuse(bed: Testbed, watcher: Watcher) -> None:
    nodes = [bed.add_node(name).id for name in ("n1", "n2")]
    watcher.bound.clear()
    role = next(one["id"] for one in bed.web().get("/api/v2/roles").get_json() if one["name"] == "above")
    body = {"nodes": nodes, "roles": [role]}
    watcher.keeps = "unbound"
    assert "nothing is bound here" in bed.web().post("/api/v2/node_roles/bulk", json=body).get_json()["detail"]
    assert {one.role for one in bed.node_roles()} == {"found"}
    watcher.keeps = ""
    assert bed.web().post("/api/v2/node_roles/bulk", json=body).status_code == 201
    assert watcher.bound == [["base on n1", "above on n1", "above on n2"]]


def test_on_node_unbind_may_refuse(bed: Testbed, watcher: Watcher) -> None:
    bed.add_node("n1")
    bed.bind("above", "n1")
    watcher.keeps = "base"
    ways: list[Callable[[], None]] = [lambda: bed.unbind("base", "n1"), lambda: bed.delete_node("n1")]
    for go in ways:
        with pytest.raises(Refused, match="base stays"):
            go()
    assert {one.role for one in bed.node_roles(node="n1")} == {"found", "base", "above"}
    assert unbound(bed) == [], "what it had written for the child was undone, too"


def test_on_node_leave_takes_part_after_all_was_unbound_and_may_refuse(bed: Testbed, watcher: Watcher) -> None:
    for name in ("n1", "n2"):
        bed.add_node(name)
    watcher.keeps = f"leave {N1}"
    with pytest.raises(Refused, match=f"{N1} stays"):
        bed.delete_node("n1")
    assert bed.node_roles(node="n1"), "what had been unbound for it is bound as before"
    bed.delete_node("n2")
    watcher.keeps = ""
    bed.delete_node("n1")
    assert [subject for _, subject in audits(bed, "watcher.left")] == [N1, "n2.example.test"]
    rows = bed.web().get("/api/v2/audits").get_json()
    said = [row["action"] for row in rows if row["action"].startswith("watcher.")]
    assert said == ["watcher.left", "watcher.unbound"] * 2, "the newest first"


def test_on_node_leave_that_refuses_after_a_teardown_keeps_the_node_and_nobody_else(
    ready_database: str, watcher: Watcher
) -> None:
    @hookimpl
    def register_barclamp() -> Barclamp:
        made = Role(name="made", jig="python", run=lambda task: None, teardown=lambda task: None)
        return Barclamp(name="maker", roles=(made,))

    maker = ModuleType("barclamp_maker")
    maker.register_barclamp = register_barclamp  # type: ignore[attr-defined]
    with Testbed(watcher, maker, database_url=ready_database) as bed:
        bed.add_node("n1")
        bed.bind("made", "n1")
        bed.commit()
        bed.anneal_until_quiet()
        watcher.keeps = f"leave {N1}"
        bed.delete_node("n1")
        bed.anneal_until_quiet()
        assert (bed.node_roles(node="n1"), audits(bed, "watcher.left")) == ((), [])
        with pytest.raises(Refused, match=f"{N1} stays"):
            bed.delete_node("n1")
        watcher.keeps = ""
        bed.delete_node("n1")
        with pytest.raises(NotFound):
            bed.node("n1")


def test_check_delete_objects_to_a_node_and_to_a_deployment(bed: Testbed, watcher: Watcher) -> None:
    bed.add_node("n1")
    bed.add_deployment("d1")
    watcher.keeps = N1
    with pytest.raises(Refused, match=f"watcher: {N1} is needed"):
        bed.delete_node("n1")
    assert bed.node("n1").available, "nothing of it has begun"
    watcher.keeps = "d1"
    with pytest.raises(Refused, match="watcher: d1 is needed"):
        bed.delete_deployment("d1")
    watcher.keeps = ""
    bed.delete_node("n1")
    bed.delete_deployment("d1")
