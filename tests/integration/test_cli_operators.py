"""What an operator does with many nodes, and what lists tell, through the command line against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from crowbar_core import Hammer, SetHammer, TemporaryError
from crowbar_core.testing import Testbed
from tests.integration.live import Live, live_server

NODES = ("node-10.ops.test", "node-2.ops.test", "web-1.ops.test")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_server(tmp_path_factory.mktemp("operators")) as served:
        yield served


@pytest.fixture(scope="module", autouse=True)
def _nodes(live: Live) -> None:
    for name in NODES:
        live.done("nodes", "create", name)
    for group, nodes in (("blue", NODES[:1]), ("red", NODES[1:])):
        live.done("groups", "create", group)
        live.done("groups", "add", group, *nodes)


def _listed(live: Live, *args: str) -> list[str]:
    return [row["name"] for row in live.json("nodes", "list", *args)]


def test_nodes_are_listed_as_people_count_with_groups_and_without_the_systems_own(live: Live) -> None:
    assert _listed(live) == ["node-2.ops.test", "node-10.ops.test", "web-1.ops.test"]
    assert set(_listed(live, "--system")) > set(NODES)
    title, *lines = live.done("nodes", "list").splitlines()
    assert "ADDRESSES" in title
    assert "GROUPS" in title
    assert "red" in lines[0].split()


def test_lists_are_filtered_by_groups_and_patterns_and_twice_means_either(live: Live) -> None:
    assert _listed(live, "--group", "red") == ["node-2.ops.test", "web-1.ops.test"]
    assert _listed(live, "--group", "red", "--group", "blue", "--match", "node-*") == [
        "node-2.ops.test",
        "node-10.ops.test",
    ]
    assert _listed(live, "--match", "web-?", "--match", "node-2") == ["node-2.ops.test", "web-1.ops.test"]
    assert _listed(live, "--where", "name=web-1.ops.test", "--where", "name=node-2.ops.test", "--sort", "-name") == [
        "web-1.ops.test",
        "node-2.ops.test",
    ]
    assert "no group green" in live.refused("nodes", "list", "--group", "green")


DECLARED = """
deployments:
- {name: db, parent: system, description: databases}
- {name: db-east, parent: db}
nodes:
- {name: db-1.ops.test, deployment: db, available: true, description: first}
- {name: db-2.ops.test, deployment: db-east}
hammers:
- {node: db-1.ops.test, name: ssh, priority: 3}
groups:
- {name: databases, category: class, nodes: [db-2.ops.test, db-1.ops.test]}
deployment_roles:
- {deployment: db, role: crowbar-managed-node}
node_roles:
- {node: db-1.ops.test, role: crowbar-hardware-configured, deployment: db}
"""


def test_a_file_is_applied_shown_first_and_changes_nothing_a_second_time(live: Live) -> None:
    planned = live.json("apply", "-", "--dry-run", stdin=DECLARED)
    assert [(one["do"], one["in"]) for one in planned] == [
        ("create", "deployments"), ("create", "deployments"), ("create", "nodes"), ("create", "nodes"),
        ("create", "hammers"), ("create", "groups"), ("create", "deployment_roles"), ("create", "node_roles"),
    ]  # fmt: skip
    assert not [row for row in live.json("deployments", "list") if row["name"] == "db"]
    assert live.done("apply", "-", stdin=DECLARED).count("create") == 8
    assert live.json("groups", "show", "databases")["nodes"] == ["db-1.ops.test", "db-2.ops.test"]
    assert live.json("apply", "-", stdin=DECLARED) == []
    exported = live.done("export")
    assert live.json("apply", "-", stdin=exported) == [], "what was exported is so already"
    higher = live.json("apply", "-", stdin=DECLARED.replace("priority: 3", "priority: 4"))
    assert higher[0]["fields"] == {"priority": {"old": 3, "new": 4}}
    changed = DECLARED.replace("priority: 3", "priority: 4").replace(
        "description: first", "description: second, bootenv: sledgehammer"
    )
    assert live.json("apply", "-", stdin=changed)[0]["fields"] == {
        "description": {"old": "first", "new": "second"},
        "bootenv": {"old": "local", "new": "sledgehammer"},
    }
    assert live.json("nodes", "show", "db-1.ops.test")["bootenv"] == "sledgehammer"
    fewer = "groups: [{name: databases, nodes: [db-2.ops.test]}]"
    assert "nodes: [" in live.done("apply", "-", stdin=fewer)
    assert live.json("groups", "show", "databases")["nodes"] == ["db-2.ops.test"]


def test_a_file_that_cannot_be_applied_says_where(live: Live) -> None:
    for text, said in (
        ("moons: []", "Nothing is declared as 'moons'"),
        ("- a", "holds no sections"),
        ("nodes: {a: b}", "The section nodes must be a list"),
        ("nodes: [{name: x.y.test, colour: red}]", "Object 1 of nodes has no field 'colour'"),
        ("nodes: [{description: x}]", "Object 1 of nodes needs a name"),
        ("nodes: [{name: x.y.test}, {name: X.y.test}]", "Object 2 of nodes is there twice"),
        ("nodes: [{name: web-1.ops.test, admin: true}]", "has the admin False, which cannot be changed"),
        ("nodes: [{name: a, name: b}]", "the key 'name' stands twice"),
        ("nodes: [", "is not YAML"),
    ):
        assert said in live.refused("apply", "-", stdin=text), text


def test_two_groups_of_one_name_are_not_exported_as_one(live: Live) -> None:
    live.done("groups", "create", "twice")
    second = live.json("groups", "create", "twice", "--category", "rack")["id"]
    try:
        for words in (("export",), ("apply", "-")):
            said = live.refused(*words, stdin="groups: [{name: twice, nodes: []}]")
            assert f"and {second} are twice, and a file tells them apart by name alone" in said
    finally:
        live.done("groups", "update", str(second), "--name", "thrice")
    exported = live.done("export")
    assert "- name: twice" in exported
    assert "- name: thrice" in exported


def test_groups_deployments_and_users_are_updated(live: Live) -> None:
    live.done("groups", "create", "old-name", "--category", "rack")
    updated = live.json("groups", "update", "old-name", "--name", "new-name", "--description", "of the test")
    assert (updated["name"], updated["category"], updated["description"]) == ("new-name", "rack", "of the test")
    live.done("deployments", "create", "moving")
    live.done("deployments", "create", "home")
    home = live.json("deployments", "show", "home")["id"]
    assert live.json("deployments", "update", "moving", "--parent", "home")["parent_id"] == home
    live.done("users", "create", "mina", stdin="a-good-password\n")
    assert live.json("users", "update", "mina", "--role", "operator")["role"] == "operator"
    assert live.run("users", "update", "mina").exit_code == 2


BOTH = ("crowbar-managed-node", "crowbar-hardware-configured")


def test_many_nodes_are_bound_changed_and_held_at_once(live: Live) -> None:
    live.done("nodes", "bind", *BOTH, "--group", "red", "--match", "node-*", "--node", "node-10.ops.test")
    bound = [(row["node"], row["role"]) for row in live.json("noderoles", "list", "--match", "node-*")]
    assert sorted(bound) == sorted((node, role) for node in NODES[:2] for role in BOTH)
    live.done("deployments", "create", "racks")
    live.done("deployments", "bind", "racks", BOTH[0], "--group", "red", "--match", "web-*")
    live.done("nodes", "update", "--group", "red", "--bootenv", "sledgehammer", "--no-available")
    assert [row["bootenv"] for row in live.json("nodes", "list", "--group", "red")] == ["sledgehammer"] * 2
    live.done("nodes", "update", *NODES, "--bootenv", "local")
    live.done("noderoles", "hold", "--group", "red", "--role", BOTH[0], "--reason", "the rack is moved")
    held = {row["node"]: row["held_reason"] for row in live.json("noderoles", "list", "--where", "available=false")}
    assert held == {NODES[1]: "the rack is moved", NODES[2]: "the rack is moved"}
    live.done("noderoles", "release", "--match", "*.ops.test")
    assert live.json("noderoles", "list", "--where", "available=false") == []


def test_many_nodes_are_all_changed_or_none(live: Live) -> None:
    before = live.json("noderoles", "list")
    assert "nowhere.ops.test" in live.refused(
        "nodes", "bind", "crowbar-installed-node", "--node", NODES[0], "--node", "nowhere.ops.test"
    )
    assert live.json("noderoles", "list") == before
    live.refused("nodes", "update", NODES[0], "nowhere.ops.test", "--description", "lost")
    assert live.json("nodes", "show", NODES[0])["description"] != "lost"


def test_who_is_meant_has_to_be_said(live: Live) -> None:
    for args in (
        ("nodes", "update", "--available"), ("nodes", "bind", "crowbar-managed-node"), ("noderoles", "hold"),
        ("nodes", "power"), ("nodes", "update", *NODES, "--name", "x.y.test"),
    ):  # fmt: skip
        result = live.run(*args)
        assert result.exit_code == 2, (args, result.output)
    assert "No node is in group blue and named like nothing-*" in live.refused(
        "nodes", "power", "off", "--group", "blue", "--match", "nothing-*"
    )
    result = live.run("nodes", "power", "on", "--group", "red")
    assert result.exit_code == 1
    assert "on failed for 2 of 2 nodes: node-2.ops.test, web-1.ops.test." in result.stderr


class Lever(Hammer):
    """That of some nodes is stuck."""

    def actions(self) -> tuple[str, ...]:
        return ("on",)

    def perform(self, action: str) -> str:
        if self.config["stuck"]:
            raise TemporaryError("the lever is stuck")
        return f"{self.node.name} is on"


def test_a_node_whose_hammer_fails_does_not_keep_the_others_from_being_powered() -> None:
    with Testbed(hammers={"lever": Lever}) as bed:
        for at, stuck in enumerate((False, True, False, True)):
            bed.add_node(f"n{at}.ops.test")
            bed.apply(SetHammer(node=f"n{at}.ops.test", name="lever", config={"stuck": stuck}))
        some = bed.cli("nodes", "power", "on", "--match", "n?.ops.test", "--format", "json")
        assert some.exit_code == 1
        said = some.stderr.splitlines()
        assert said[1:5] == [
            "n0.ops.test: n0.ops.test is on", "n1.ops.test: lever: the lever is stuck",
            "n2.ops.test: n2.ops.test is on", "n3.ops.test: lever: the lever is stuck",
        ]  # fmt: skip
        assert said[-1] == "Error: on failed for 2 of 4 nodes: n1.ops.test, n3.ops.test."
        listed = some.stdout[some.stdout.index("[\n") :]  # the server's log stands before it
        assert [row["node"] for row in json.loads(listed)] == ["n0.ops.test", "n2.ops.test"]
        good = bed.cli("nodes", "power", "n0.ops.test", "n2.ops.test", "on")
        assert (good.exit_code, good.stderr.splitlines()) == (0, [said[1], said[3]])
        last = bed.cli("nodes", "power", "n3.ops.test", "n2.ops.test", "on")
        assert (last.exit_code, last.stderr.splitlines()[:2]) == (1, [said[4], said[3]])


def test_events_audits_and_jigs_are_listed_and_shown(live: Live) -> None:
    live.done("nodes", "update", "web-1.ops.test", "--description", "for the audit")
    (entry,) = live.json("audits", "list", "--action", "node.change", "--limit", "1")
    assert entry["detail"]["changed"]["description"]["new"] == "for the audit"
    assert live.json("audits", "show", str(entry["id"])) == entry
    assert live.json("events", "list", "--hook", "on_nothing") == []
    assert "no event 0" in live.refused("events", "show", "0")
    assert {"noop", "python"} <= {row["name"] for row in live.json("jigs", "list")}
    assert live.json("jigs", "show", "noop")["installed"] is True


ASSETS = """
assets:
- {name: S-2, node: node-2.ops.test, place: rack 7, warranty_until: "2001-02-03"}
"""


def test_the_objects_of_a_barclamp_are_made_listed_declared_and_destroyed_as_the_core_s(live: Live) -> None:
    live.done("assets", "create", "S-1", "--node", "web-1.ops.test", "--place", "rack 2")
    live.done("apply", "-", stdin=ASSETS)
    listed = [(row["name"], row["node"], row["covered"]) for row in live.json("assets", "list", "--sort", "name")]
    assert listed == [("S-1", "web-1.ops.test", True), ("S-2", "node-2.ops.test", False)]
    assert live.json("assets", "update", "S-2", "--warranty-until", "2099-01-01")["covered"] is True
    assert "warranty_until: '2099-01-01'" in live.done("export")
    assert "may not be digits alone" in live.refused("assets", "create", "7")
    unasked = live.run("assets", "destroy", "S-1")
    assert (unasked.exit_code, "give --yes" in unasked.stderr) == (2, True)
    assert "Its place and warranty are forgotten." in unasked.stderr
    live.done("assets", "destroy", "S-1", "S-2", "--yes")
    assert live.json("assets", "list") == []
