"""By which hints barclamps are told addresses of nodes they declare themselves: the core names none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import crowbar_core
from crowbar_core import Attribute, Barclamp, Hint, NodeView, NotFound, hookimpl
from crowbar_core.testing import Testbed

CORE = Path(crowbar_core.__file__).parent


class Reader:
    """Is told addresses by hints of its own naming."""

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(
            name="reader",
            attributes=(Attribute(name="lives-at", map="lives-at"),),
            hints=(
                Hint(name="lives-at", of="ipv4"),
                Hint(name="*/six", of="ipv6", network="*"),
                Hint(name="cards", of="macs"),
            ),
        )

    @hookimpl
    def node_addresses(self, node: NodeView) -> Iterable[str]:
        return [str(node.hint["lives-at"])] if "lives-at" in node.hint else []


class Another:
    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="another", hints=(Hint(name="mine-too", of="macs"),))


def made(bed: Testbed, name: str, **values: Any) -> Any:
    return bed.web("operator").post("/api/v2/nodes", json={"name": f"{name}.example.test", **values})


def claims(bed: Testbed, name: str) -> list[str]:
    found = bed.web("operator").get(f"/api/v2/nodes/{name}.example.test/address_claims").get_json()
    return [one["address"] for one in found]


def test_what_is_given_goes_where_it_is_read() -> None:
    with Testbed(Reader(), Another()) as bed:
        node = made(bed, "n1", ip="10.0.0.1/24", mac="52-54-00-12-34-56").get_json()
        card = ["52:54:00:12:34:56"]
        assert node["hint"] == {"lives-at": "10.0.0.1/24", "cards": card, "mine-too": card}
        node = made(bed, "n2", ip="fd00::1/64", network="storage").get_json()
        assert node["hint"] == {"storage/six": "fd00::1/64"}
        assert (claims(bed, "n1"), claims(bed, "n2")) == (["10.0.0.1"], ["fd00::1"])
        wrong = made(bed, "n3", hint={"storage/six": "fe80::1"}).get_json()
        assert wrong["errors"][0]["pointer"] == "/hint/storage/six"
        assert made(bed, "n3", hint={"card": "fe80::1", "hint-admin-v4addr": "no address"}).status_code == 201


@pytest.mark.parametrize(
    "given, place, says",
    [
        (
            {"mac": "52:54:00:12:34:56"},
            "/mac",
            "MAC addresses of .* network admin .crowbar-dhcp does.*leave mac out",
        ),
        (
            {"ip": "10.0.0.1"},
            "/ip",
            "IPv4 addresses of .* network admin .crowbar-network does, and crowbar-jig-script",
        ),
        (
            {"ip": "fd00::1", "network": "storage"},
            "/ip",
            "IPv6 addresses of .* network storage .*leave ip out",
        ),
    ],
)
def test_what_nobody_would_read_is_refused(given: dict[str, str], place: str, says: str) -> None:
    with Testbed() as bed:
        answer = made(bed, "n1", **given)
        assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, place)
        assert re.search(says, answer.get_json()["detail"])
        assert bed.cli("nodes", "create", "n1.example.test", f"--{place[1:]}", given[place[1:]]).exit_code == 1
        assert made(bed, "n1", hint=given).status_code == 201, "as a hint it may be kept all the same"


@pytest.mark.parametrize("value", ["garbage", "0.0.0.0", 5, "224.0.0.1"])
def test_what_is_no_address_is_refused_as_an_attribute_too(value: Any) -> None:
    with Testbed(Reader()) as bed:
        made(bed, "n1", ip="10.0.0.1/24")
        where = "/api/v2/nodes/n1.example.test/attribs/lives-at"
        refused = bed.web("operator").put(where, json={"value": value})
        assert refused.status_code == 422, refused.text
        assert "lives-at" in refused.get_json()["detail"]
        assert bed.web("operator").put(where, json={"value": "10.0.0.2/24"}).status_code == 200
        assert bed.web("operator").put("/api/v2/nodes/n1.example.test/commit").status_code == 200
        assert claims(bed, "n1") == ["10.0.0.2"]


def test_the_page_says_so_too() -> None:
    with Testbed() as bed:
        browser = bed.browser("operator")
        browser.open("/nodes")
        assert "No barclamp that is installed reads hints of IPv4" in browser.send(
            "/nodes", name="n1.example.test", ip="10.0.0.1"
        )
        with pytest.raises(NotFound):
            bed.node("n1")


def test_whose_an_address_is_follows_what_is_installed(ready_database: str) -> None:
    with Testbed(database_url=ready_database) as bed:
        made(bed, "n1", hint={"lives-at": "10.0.0.1"})
        made(bed, "n2", hint={"lives-at": "10.0.0.1"})
        assert claims(bed, "n1") == []
    with Testbed(Reader(), database_url=ready_database) as bed:
        assert claims(bed, "n1") == claims(bed, "n2") == ["10.0.0.1"]
        assert (bed.node("n1").addresses, bed.node("n2").addresses) == (("10.0.0.1",), ())
    with Testbed(database_url=ready_database) as bed:
        assert claims(bed, "n1") == []


def test_the_core_names_no_hint() -> None:
    files = [path for path in CORE.rglob("*.*") if path.suffix in (".py", ".html") and "migrations" not in path.parts]
    assert len(files) > 100
    assert [path.name for path in files if "hint-" in path.read_text()] == []


def test_a_hint_is_of_one_network_or_of_each() -> None:
    for name, network in (("all-*", "admin"), ("all", "*"), ("*-*", "*")):
        with pytest.raises(ValueError, match=r"has one \* if its network is"):
            Hint(name=name, of="ipv4", network=network)
