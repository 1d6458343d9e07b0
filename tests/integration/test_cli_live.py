"""Every noun's verbs against a real server: what they print, what they change, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml
from click.testing import CliRunner

from crowbar_core.cli.root import root
from tests.integration.live import Live, live_server
from tests.services import free_port

ROLE = "crowbar-hardware-configured"
"""Brings crowbar-managed-node along; both are done by the jig noop."""
REQUIRED = "crowbar-managed-node"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_server(tmp_path_factory.mktemp("live")) as served:
        yield served


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


@pytest.fixture
def node(live: Live) -> Iterator[str]:
    """A node that the annealer may work on, and that is gone afterwards."""
    name = f"n{free_port()}.cli.test"
    live.done("nodes", "create", name, "--alive", "--available")
    yield name
    live.run("nodes", "destroy", name, "--yes")


@pytest.fixture
def deployment(live: Live, node: str) -> Iterator[str]:
    """A deployment with ROLE and what it requires bound to ``node``, nothing of it committed."""
    name = f"d{free_port()}"
    live.done("deployments", "create", name, "--description", "of a test")
    live.done("deployments", "bind", name, ROLE, node)
    yield name
    live.run("deployments", "destroy", name, "--yes")


LISTS = (
    "nodes",
    "deployments",
    "roles",
    "noderoles",
    "runs",
    "barclamps",
    "users",
    "tokens",
    "groups",
    "hammers",
    "attribs",
)


@pytest.mark.parametrize("noun", LISTS)
def test_every_noun_is_listed_in_every_format(live: Live, noun: str) -> None:
    assert isinstance(live.json(noun, "list"), list)
    assert isinstance(yaml.safe_load(live.done(noun, "list", "--format", "yaml")), list)
    assert live.done(noun, "list").splitlines()[0].startswith("ID")
    assert len(live.json(noun, "list", "--limit", "1", "--sort", "id")) <= 1
    live.refused(noun, "list", "--where", "nonsense=1")
    live.refused(noun, "list", "--sort", "nonsense")


@pytest.mark.parametrize("noun", [noun for noun in LISTS if noun != "tokens"])
def test_what_is_not_there_is_refused_by_name(live: Live, noun: str) -> None:
    reference = "999999" if noun in ("runs", "noderoles", "hammers") else "no-such-thing"
    assert reference in live.refused(noun, "show", reference)


def test_a_node_is_made_shown_changed_and_destroyed(live: Live) -> None:
    args = ("--ip", "192.0.2.7", "--mac", "52:54:00:00:00:07", "--hint", 'wish={"a": [1]}', "--description", "seven")
    made = live.json("nodes", "create", "Seven.cli.test", *args)
    name = made["name"]
    assert name.lower() == "seven.cli.test"
    assert made["hint"]["wish"] == {"a": [1]}
    assert live.json("nodes", "show", str(made["id"]))["description"] == "seven"
    changed = live.json("nodes", "update", name, "--available", "--hint", "more=text")
    assert (changed["available"], changed["hint"]["wish"], changed["hint"]["more"]) == (True, {"a": [1]}, "text")
    assert name in live.done("nodes", "list", "--where", f"name={name}")
    assert "not alive" in live.done("nodes", "why", name)
    assert live.json("nodes", "power", name) == {"actions": []}
    live.done("nodes", "forget-key", name)
    live.done("nodes", "attribs", name)
    assert isinstance(live.json("nodes", "probe", name)["alive"], bool)
    assert "already" in live.refused("nodes", "create", name)
    asked = live.run("nodes", "destroy", name)
    assert asked.exit_code == 2
    assert asked.stderr.endswith("nobody is here to be asked: give --yes if that is what you want.\n")
    assert live.json("nodes", "show", name)["name"] == name
    live.done("nodes", "destroy", name, "--yes")
    assert name in live.refused("nodes", "show", name)


def test_a_deployment_is_planned_committed_as_planned_and_becomes_active(
    live: Live, node: str, deployment: str
) -> None:
    plan = live.json("deployments", "plan", deployment)
    assert [(step["node"], step["role"]) for step in plan["steps"]] == [(node, REQUIRED), (node, ROLE)]
    shown = live.done("deployments", "plan", deployment)
    assert shown.splitlines()[:2] == [f"Plan {plan['id']}: Commit deployment {deployment}",
                                      f"  2 run. Its time is not known for {ROLE}, {REQUIRED}."]  # fmt: skip
    assert [line.split() for line in shown.splitlines()[2:]] == [
        ["Wave", "1"], ["run", REQUIRED, node], ["Wave", "2"], ["run", ROLE, node],
    ]  # fmt: skip
    assert live.done("deployments", "commit", deployment, "--plan") == shown
    assert live.json("deployments", "show", deployment)["state_name"] == "PROPOSED", "a plan does nothing"
    live.refused("deployments", "commit", deployment, "--plan", "of-another-day")
    assert live.json("deployments", "show", deployment)["state_name"] == "PROPOSED"
    result = live.run("deployments", "commit", deployment, "--plan", plan["id"], "--wait")
    assert result.exit_code == 0, result.output
    assert result.stderr.endswith(f"{deployment} is ACTIVE.\n")
    states = {row["role"]: row["state_name"] for row in live.json("noderoles", "list", "--deployment", deployment)}
    assert states == {REQUIRED: "ACTIVE", ROLE: "ACTIVE"}
    graph = live.done("deployments", "graph", deployment).splitlines()
    assert graph[0].startswith("cohort ")
    assert f"✓ ACTIVE     {node}/{ROLE}  after {node}/{REQUIRED}" in [line.strip() for line in graph]
    assert {row["role"] for row in live.json("deployments", "roles", deployment)} == {REQUIRED, ROLE}
    live.done("deployments", "propose", deployment)
    assert live.json("deployments", "show", deployment)["state_name"] == "PROPOSED"


def test_a_noderole_is_steered_by_node_and_role(live: Live, node: str, deployment: str) -> None:
    child = f"{node}/{ROLE}"
    assert "proposed" in live.done("noderoles", "why", child).lower()
    assert "has not run yet" in live.refused("noderoles", "log", child)
    live.done("deployments", "commit", deployment, "--wait")
    number = live.json("noderoles", "show", child)["id"]
    assert live.json("noderoles", "show", str(number))["role"] == ROLE
    live.done("noderoles", "log", child)
    live.refused("noderoles", "retry", child)
    live.done("noderoles", "rerun", child, "--wait")
    live.done("noderoles", "refresh", child, "--wait")
    assert live.json("noderoles", "show", child)["run_count"] == 3
    live.done("noderoles", "hold", child)
    assert live.json("noderoles", "show", child)["available"] is False
    live.done("noderoles", "release", child)
    live.done("noderoles", "propose", child)
    assert live.json("noderoles", "show", child)["state_name"] == "PROPOSED"
    live.done("noderoles", "commit", child, "--wait")
    assert live.json("noderoles", "unbind", child, "--plan")["removed"] == [f"{ROLE} on {node}"]
    assert live.json("noderoles", "show", child)["id"] == number
    live.done("noderoles", "unbind", child, "--yes")
    assert "is not bound" in live.refused("noderoles", "show", child)


def test_a_run_is_shown_with_its_log_and_cannot_be_cancelled_when_it_is_over(
    live: Live, node: str, deployment: str
) -> None:
    live.done("deployments", "commit", deployment, "--wait")
    found = [run for run in live.json("runs", "list", "--state", "succeeded") if run["node"] == node]
    assert [run["role"] for run in found] == [ROLE, REQUIRED]
    number = str(found[0]["id"])
    assert live.json("runs", "show", number)["state"] == "succeeded"
    assert isinstance(live.json("runs", "log", number, "-f"), list)
    live.refused("runs", "cancel", number)


def test_converge_says_whether_all_is_settled(live: Live, node: str, deployment: str) -> None:
    live.done("deployments", "commit", deployment)
    assert live.json("converge", "--timeout", "60")["settled"] is True
    child = f"{node}/{ROLE}"
    assert live.json("noderoles", "show", child)["state_name"] == "ACTIVE"
    number = live.json("noderoles", "show", child)["id"]
    forced = requests.put(
        f"{live.url}/api/v2/node_roles/{number}/error", auth=("admin", live.password), timeout=30
    )  # fmt: skip
    assert forced.status_code == 200
    assert child in live.refused("converge", "--timeout", "60")
    live.done("noderoles", "retry", child)
    live.done("converge", "--timeout", "60")


def test_what_waits_for_nothing_that_will_come_is_reported_by_wait(live: Live, node: str, deployment: str) -> None:
    live.done("nodes", "update", node, "--no-available")
    result = live.run("deployments", "commit", deployment, "--wait")
    assert result.exit_code == 1
    assert f"Error: Deployment {deployment} is COMMITTED, not ACTIVE. {node}/{REQUIRED} waits: " in result.stderr
    assert "not available" in result.stderr


def test_users_and_their_tokens(live: Live) -> None:
    made = live.json("users", "create", "eve", "--role", "viewer", stdin="a good password\n")
    assert (made["name"], made["role"]) == ("eve", "viewer")
    assert "password" not in made
    token = live.done("tokens", "create", "for a test", "--owner", "eve").strip()
    asked = CliRunner().invoke(root, ["nodes", "list"], env={"CROWBAR_URL": live.url, "CROWBAR_TOKEN": token})
    assert asked.exit_code == 0
    asked = CliRunner().invoke(
        root, ["nodes", "create", "x.y.test"], env={"CROWBAR_URL": live.url, "CROWBAR_TOKEN": token}
    )
    assert asked.exit_code == 1
    assert asked.stderr.startswith("Error: ")
    live.done("users", "lock", "eve")
    asked = CliRunner().invoke(root, ["nodes", "list"], env={"CROWBAR_URL": live.url, "CROWBAR_TOKEN": token})
    assert asked.exit_code == 1
    assert "crowbar login" in asked.stderr
    live.done("users", "unlock", "eve")
    live.done("users", "password", "eve", stdin="another password\n")
    live.refused("users", "password", "eve", stdin="short\n")
    number = next(str(row["id"]) for row in live.json("tokens", "list") if row["user"] == "eve")
    live.done("tokens", "revoke", number)
    live.done("users", "destroy", "eve", "--yes")
    live.refused("users", "destroy", "admin", "--yes")


def test_login_makes_the_following_calls_work_without_a_password(live: Live, home: Path) -> None:
    result = CliRunner().invoke(root, ["login", "--user", "admin", "--url", live.url], input=f"{live.password}\n")
    assert result.exit_code == 0, result.output
    assert CliRunner().invoke(root, ["nodes", "list"]).exit_code == 0
    result = CliRunner().invoke(root, ["login", "--user", "admin", "--url", live.url], input="wrong\n")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")


def test_a_group_has_nodes(live: Live, node: str) -> None:
    live.done("groups", "create", "rack-9", "--category", "rack")
    live.done("groups", "add", "rack-9", node)
    assert live.json("groups", "show", "rack-9")["node_count"] == 1
    assert live.json("nodes", "show", node)["groups"] == ["rack-9"]
    live.done("groups", "remove", "rack-9", node)
    live.done("groups", "destroy", "rack-9")


def test_a_hammer_that_is_not_installed_is_refused(live: Live, node: str) -> None:
    assert isinstance(live.json("hammers", "available"), list)
    assert "no-such-hammer" in live.refused("hammers", "create", node, "no-such-hammer", "--config", "a=1")


def test_an_attribute_that_nobody_declares_is_refused(live: Live, node: str) -> None:
    live.refused("attribs", "get", "nothing", "--node", node)
    live.refused("attribs", "set", "nothing", "1", "--node", node)
    live.refused("attribs", "explain", "nothing", "--node", node)
    assert live.run("attribs", "get", "nothing").exit_code == 2


def test_the_inventory_and_the_export_name_the_nodes(live: Live, node: str, deployment: str) -> None:
    assert node in json.loads(live.done("inventory"))["_meta"]["hostvars"]
    exported = live.json("export")
    assert yaml.safe_load(live.done("export")) == exported
    mine = next(row for row in exported["deployments"] if row["name"] == deployment)
    assert mine["parent"] == "system"
    assert {"node": node, "role": ROLE, "deployment": deployment} in exported["node_roles"]
    assert node in [row["name"] for row in exported["nodes"]]


def test_ping_says_that_the_server_is_ready(live: Live) -> None:
    assert live.json("ping")["ready"] is True


BAD = [
    "", " ", "x" * 65536, "a\x00b.c.d", "a\nb.c.d", "../../users", "$(id)", "; reboot", "{{7*7}}.b.c", "<script>",
    "a\u202e.b.c", "'\"", "-x.b.c", "x_y.b.c", "x" * 64 + ".b.c", "1.2.3.4", "one", "one.two",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD, ids=range(len(BAD)))
def test_a_bad_name_is_refused_in_a_sentence_and_nothing_is_made(live: Live, name: str) -> None:
    before = len(live.json("nodes", "list"))
    assert len(live.refused("nodes", "create", "--", name)) < 1000
    assert len(live.json("nodes", "list")) == before


@pytest.mark.parametrize(
    "args",
    [
        ("nodes", "create", "a.b.test", "--ip", "010.0.0.1"),
        ("nodes", "create", "a.b.test", "--mac", "01:00:00:00:00:00"),
        ("nodes", "create", "a.b.test", "--host-key", "nokey"),
        ("nodes", "create", "a.b.test", "--deployment", "nowhere"),
        ("deployments", "create", "system"),
        ("deployments", "create", "../x"),
        ("deployments", "create", "x", "--parent", "nowhere"),
        ("deployments", "destroy", "system", "--yes"),
        ("deployments", "propose", "system"),
        ("deployments", "add-role", "system", "no-such-role"),
        ("deployments", "add-role", "system", ROLE, "--data", "[1]"),
        ("deployments", "add-role", "system", ROLE, "--data", '{"a": NaN}'),
        ("nodes", "bind", "nobody.b.test", ROLE),
        ("groups", "create", "a/b"),
        ("users", "create", "a b\x00", "--role", "viewer"),
        ("tokens", "create", "x", "--expires", "yesterday"),
        ("tokens", "create", "x", "--expires", "2001-01-01T00:00:00Z"),
    ],
    ids=" ".join,
)
def test_bad_input_is_refused_in_a_sentence(live: Live, args: tuple[str, ...]) -> None:
    assert live.refused(*args, stdin="a good password\n")
