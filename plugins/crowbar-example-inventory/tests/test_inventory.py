"""The inventory on a core in this process: its resource, its page, its panel, its periodic job, its service."""

from __future__ import annotations

import json
import socket
import threading

import crowbar_example_inventory
import pytest

from crowbar_core.testing import FakeClock, Testbed, check_barclamp, free_port

ASSETS = "/api/v2/assets"


def test_nothing_is_wrong_with_the_barclamp() -> None:
    assert check_barclamp(crowbar_example_inventory) == []


def test_an_asset_is_made_shown_changed_and_removed(crowbar: Testbed) -> None:
    node, web = crowbar.add_node("n1"), crowbar.web("operator")
    made = web.post(ASSETS, json={"name": "S-1", "node_id": "n1.example.test", "warranty_until": "2099-12-31"})
    assert (made.status_code, made.headers["Location"]) == (201, f"{ASSETS}/{made.json['id']}")
    assert made.json == {
        "id": made.json["id"], "name": "S-1", "place": "", "node_id": node.id, "node": "n1.example.test",
        "warranty_until": "2099-12-31", "covered": True,
    }  # fmt: skip
    changed = web.patch(f"{ASSETS}/S-1", json={"place": "rack 2"})
    assert (changed.status_code, changed.json["place"], changed.json["node_id"]) == (200, "rack 2", node.id)
    assert web.get(f"{ASSETS}/s-1").json == changed.json
    assert web.delete(f"{ASSETS}/S-1").status_code == 204
    assert web.get(f"{ASSETS}/S-1").status_code == 404
    said = [(one["action"], one["subject"]) for one in crowbar.web("admin").get("/api/v2/audits").json]
    wanted = [(f"asset.{what}", "asset S-1") for what in ("delete", "change", "create")]
    assert [one for one in said if one[0].startswith("asset.")] == wanted


def test_the_command_takes_a_reference_away_and_names_an_unknown_one_once(crowbar: Testbed) -> None:
    crowbar.add_node("n1")
    assert crowbar.cli("assets", "create", "S-1", "--node", "n1.example.test").exit_code == 0
    assert crowbar.cli("assets", "update", "S-1", "--node", "").exit_code == 0
    assert crowbar.web().get(f"{ASSETS}/S-1").json["node_id"] is None
    assert "An empty one ('') takes it away" in " ".join(crowbar.cli("assets", "update", "--help").stdout.split())
    unknown = crowbar.cli("assets", "update", "S-1", "--node", "nope").stderr
    assert (unknown.count("There is no node nope"), unknown.count("node_id")) == (1, 1)


def test_the_page_of_a_node_tells_of_its_asset(crowbar: Testbed) -> None:
    crowbar.add_node("n1")
    crowbar.add_node("n2")
    web = crowbar.web("operator")
    web.post(ASSETS, json={"name": "S-1", "node_id": "n1.example.test", "place": "<rack>"})
    assert "<dt>Place</dt><dd>&lt;rack&gt;</dd>" in web.get("/nodes/n1.example.test").text
    assert "<h2>Asset</h2>" not in web.get("/nodes/n2.example.test").text


def test_assets_are_listed_and_added_on_a_page(crowbar: Testbed) -> None:
    crowbar.add_node("n1")
    person = crowbar.browser("operator")
    person.open("/assets")
    form = {"name": "S-1", "node_id": "n1.example.test", "place": "rack 2", "warranty_until": "2001-02-03"}
    assert "The asset is in the inventory." in person.send("/assets", **form)
    again = person.send("/assets", **form)
    assert "There is a row of inventory_assets (of barclamp inventory) with the same name" in again
    assert "begins with a letter or digit" in person.send("/assets", name="-7")
    page = person.open("/assets?place=rack+2")
    assert "2001-02-03" in page
    assert page.count(" required ") == 1, "the form to add needs a name, the one to filter does not"
    assert "n1.example.test</a>" in page
    assert "<code>POST /api/v2/assets" in page
    assert "2001-02-03" not in person.open("/assets?place=elsewhere")
    assert crowbar.browser("viewer").send("/assets", name="S-3").count("This needs the role operator") == 1


@pytest.mark.parametrize("crowbar_database", ["sqlite", "postgresql"], indirect=True)
def test_a_warranty_that_has_ended_is_noted(crowbar: Testbed, fake_clock: FakeClock) -> None:
    until = fake_clock().date().isoformat()
    assert crowbar.cli("assets", "create", "S-1", "--warranty-until", until).exit_code == 0
    fake_clock.advance(2 * 86400)
    crowbar.periodic("warranties")
    listed = crowbar.cli("assets", "list", "--where", "covered=false", "--format", "json")
    assert [asset["name"] for asset in json.loads(listed.stdout)] == ["S-1"]


def test_a_reader_of_labels_is_told_where_an_asset_stands() -> None:
    port = free_port()
    with Testbed(crowbar_example_inventory, config={"inventory": {"port": port}}) as bed:
        bed.web("operator").post(ASSETS, json={"name": "S-1", "place": "rack 2, unit 7"})
        with bed.service("asset-desk"):
            assert ask(port, "S-1") == "S-1: rack 2, unit 7\n"
            with socket.create_connection(("127.0.0.1", port), timeout=30):
                """Who goes without a word is no trouble for the next."""
            assert ask(port, "S-9") == "S-9: no such asset\n"


def ask(port: int, name: str) -> str:
    for _ in range(600):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as line, line.makefile("rw") as both:
                print(name, file=both, flush=True)
                return both.readline()
        except ConnectionRefusedError:
            threading.Event().wait(0.05)  # it is only about to listen
    raise AssertionError("nobody listens")
