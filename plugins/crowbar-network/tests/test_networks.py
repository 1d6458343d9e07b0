"""Networks and their addresses on a core in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import crowbar_jig_script
import crowbar_network
import netaddr
import pytest
from crowbar_network import pool
from crowbar_network.addressing import key_of
from crowbar_network.tables import gaps
from sqlalchemy import select

from crowbar_core import DefineRole, Role
from crowbar_core.testing import FakeJig, Testbed, check_barclamp

API = "/api/v2"
ADMIN = {
    "name": "admin",
    "category": "admin",
    "conduit": "1g1",
    "ranges": [
        {"name": "admin", "first": "192.168.124.10/24", "last": "192.168.124.19/24"},
        {"name": "dhcp", "first": "192.168.124.21/24", "last": "192.168.124.80/24"},
        {"name": "host", "first": "192.168.124.81/24", "last": "192.168.124.84/24"},
    ],
    "router": {"address": "192.168.124.1/24", "pref": 10},
}


@pytest.fixture
def bed() -> Any:
    with Testbed(crowbar_jig_script, crowbar_network, jigs={"network": FakeJig()}) as made:
        yield made


def test_nothing_is_wrong_with_the_barclamp() -> None:
    assert check_barclamp(crowbar_network) == []


def test_roles_of_networks_that_an_earlier_version_made_are_brought_up_to_date(tmp_path: Path) -> None:
    plugins, url = (crowbar_jig_script, crowbar_network), f"sqlite:///{tmp_path}/crowbar.db"
    with Testbed(*plugins, jigs={"network": FakeJig()}, database_url=url) as bed:
        bed.web("operator").post(f"{API}/networks", json=ADMIN)
        now = bed.parts.registry.role("network-admin").role
        of_before = [replace(one, schema={"enum": ["show", "repair"]}) if one.name.endswith("-drift") else one
                     for one in now.attributes if not one.name.endswith("-writer")]  # fmt: skip
        wanted = {"description": now.description, "requires": now.requires, "implicit": True, "milestone": True}
        bed.apply(DefineRole(role=Role(name=now.name, like="network", attributes=tuple(of_before), **wanted)))
        assert bed.parts.registry.role("network-admin").role != now
    with Testbed(*plugins, jigs={"network": FakeJig()}, database_url=url) as bed:
        assert bed.parts.registry.role("network-admin").role == now


def test_a_network_is_made_with_its_ranges_and_its_router_in_one_call(bed: Testbed) -> None:
    web = bed.web("operator")
    made = web.post(f"{API}/networks", json=ADMIN)
    assert made.status_code == 201, made.json
    shown = made.json
    assert [one["name"] for one in shown["ranges"]] == ["admin", "dhcp", "host", "host-v6"]
    assert shown["ranges"][0]["first"] == "192.168.124.10/24"
    assert shown["routers"][0]["address"] == "192.168.124.1/24"
    prefix = netaddr.IPNetwork(shown["v6prefix"])
    assert (prefix.prefixlen, str(prefix)[:2], shown["v6auto"]) == (64, "fd", True)
    second = web.post(f"{API}/networks", json={"name": "storage", "category": "storage", "v6prefix": "auto"}).json
    assert netaddr.IPNetwork(second["v6prefix"]).first - prefix.first == 1 << 64
    assert "network-admin" in [one["name"] for one in web.get(f"{API}/roles").json]


def test_what_cannot_be_a_network_says_which_field_and_leaves_nothing(bed: Testbed) -> None:
    web = bed.web("operator")
    for change, pointer in (
        ({"name": "Admin"}, "/name"),
        ({"vlan": 4095}, "/vlan"),
        ({"use_vlan": True}, "/vlan"),
        ({"conduit": "1g1,1g2"}, "/use_team"),
        ({"conduit": "7g1"}, "/conduit"),
        ({"use_team": True}, "/conduit"),
        ({"use_team": True, "conduit": "1g1,1g2", "team_mode": 7}, "/team_mode"),
        ({"mtu": 67}, "/mtu"),
        ({"v6prefix": "fd00::/48"}, "/v6prefix"),
        ({"ranges": [{"name": "a", "first": "10.0.0.0/24", "last": "10.0.0.9/24"}]}, "/ranges/0/first"),
        ({"router": {"address": "192.168.125.1/24"}}, "/router/address"),
        ({"colour": "red"}, "/colour"),
    ):
        refused = web.post(f"{API}/networks", json={**ADMIN, **change})
        assert refused.status_code == 422, (change, refused.json)
        assert [one["pointer"] for one in refused.json["errors"]] == [pointer], (change, refused.json)
    assert web.get(f"{API}/networks").json == []
    assert web.get(f"{API}/network_ranges").json == []


def test_ranges_share_no_address_whichever_network_they_are_of(bed: Testbed) -> None:
    web = bed.web("operator")
    web.post(f"{API}/networks", json=ADMIN)
    other = {
        "name": "b",
        "category": "x",
        "ranges": [{"name": "r", "first": "192.168.124.84/24", "last": "192.168.124.90/24"}],
    }
    refused = web.post(f"{API}/networks", json=other)
    assert refused.status_code == 422
    assert "overlaps with range host of network admin, 192.168.124.81/24 to 192.168.124.84/24" in refused.json["detail"]
    loose = {**other, "configure": False, "ranges": [{**other["ranges"][0], "overlap": True}]}
    assert web.post(f"{API}/networks", json=loose).status_code == 422  # the other may not
    for name in ("c", "d"):
        ranges = [{"name": "r", "first": "10.9.0.1/24", "last": "10.9.0.9/24", "overlap": True}]
        made = web.post(f"{API}/networks", json={"name": name, "category": "x", "configure": False, "ranges": ranges})
        assert made.status_code == 201, made.json


def test_a_node_with_the_role_of_a_network_has_its_addresses(bed: Testbed) -> None:
    web = bed.web("operator")
    prefix = netaddr.IPNetwork(web.post(f"{API}/networks", json=ADMIN).json["v6prefix"])
    storage = {**ADMIN, "name": "storage", "category": "storage", "router": None,
               "ranges": [{"name": "host", "first": "10.1.0.10/24", "last": "10.1.0.200/24"}]}  # fmt: skip
    assert web.post(f"{API}/networks", json=storage).status_code == 201
    bed.deliver()
    bed.add_node("n1")
    bed.add_node("n2", hint={"hint-admin-v4addr": "192.168.124.83"})
    for node in ("n1", "n2"):
        bed.bind("network-admin", node)
        bed.bind("network-storage", node)
    held = {
        (one["node"], one["network"], one["range"]): one["ip"] for one in web.get(f"{API}/network_allocations").json
    }
    assert held["n1.example.test", "admin", "host"] == "192.168.124.81"
    assert held["n2.example.test", "admin", "host"] == "192.168.124.83"
    assert held["n1.example.test", "storage", "host"] == "10.1.0.81"  # the host part of the admin address
    assert netaddr.IPAddress(held["n1.example.test", "admin", "host-v6"]) in prefix
    assert set(web.get(f"{API}/nodes/n1.example.test").json["addresses"]) == {
        "192.168.124.81",
        held["n1.example.test", "admin", "host-v6"],
    }
    refused = web.delete(f"{API}/networks/storage")
    assert refused.status_code == 409
    assert "it has addresses of n1.example.test, n2.example.test" in refused.json["detail"]
    for node in ("n1", "n2"):
        bed.unbind("network-storage", node)
    assert web.delete(f"{API}/networks/storage").status_code == 204
    assert web.get(f"{API}/network_allocations?network=storage").json == []


def test_a_full_range_is_refused_with_who_has_what(bed: Testbed) -> None:
    web = bed.web("operator")
    web.post(f"{API}/networks", json={**ADMIN, "v6prefix": None})
    for number in range(5):
        bed.add_node(f"n{number}")
    for number in range(4):
        bed.bind("network-admin", f"n{number}")
    web.post(f"{API}/nodes/n4.example.test/roles", json={"role_id": "network-admin"})
    refused = web.post(f"{API}/networks/admin/allocate_ip", json={"node_id": "n4.example.test"})
    assert refused.status_code == 409
    assert (
        "Network admin has no IPv4 address left for node n4.example.test: all 4 of host (192.168.124.81/24 to "
        "192.168.124.84/24) are taken, by n0.example.test, n1.example.test, n2.example.test, n3.example.test."
    ) in refused.json["detail"]


def test_a_hint_that_cannot_be_is_an_error_that_says_why(bed: Testbed) -> None:
    web = bed.web("operator")
    web.post(f"{API}/networks", json=ADMIN)
    bed.add_node("n1", hint={"hint-admin-v4addr": "192.168.124.82"})
    bed.add_node("n2", hint={"hint-admin-v4addr": "192.168.124.82"})
    bed.add_node("n3", hint={"hint-admin-v4addr": "10.0.0.1"})
    bed.bind("network-admin", "n1")
    for node, said in (
        ("n2", "192.168.124.82 is taken by node n1.example.test."),
        ("n3", "10.0.0.1 is in no range of"),
    ):
        with pytest.raises(Exception, match="The hint hint-admin-v4addr of node") as refused:
            bed.bind("network-admin", node)
        assert said in str(refused.value)


def test_what_is_given_back_is_free_again_and_gaps_are_joined(bed: Testbed) -> None:
    web = bed.web("operator")
    web.post(f"{API}/networks", json={"name": "a", "category": "x", "ranges": [
        {"name": "host", "first": "10.0.0.1/24", "last": "10.0.0.254/24"}]})  # fmt: skip
    taken = []
    for number in (5, 3, 4, 1, 254):
        answer = web.post(
            f"{API}/networks/a/allocate_ip", json={"suggestion": f"10.0.0.{number}", "reserved_for": "me"}
        )
        assert answer.status_code == 201, answer.json
        taken.append(answer.json[0]["id"])
    with bed.read() as session:
        assert [(one.first, one.last) for one in session.execute(select(gaps).order_by(gaps.c.first))] == [
            (key(2), key(2)), (key(6), key(253)),
        ]  # fmt: skip
    for one in taken:
        assert web.delete(f"{API}/network_allocations/{one}").status_code == 204
    with bed.read() as session:
        assert [(one.first, one.last) for one in session.execute(select(gaps))] == [(key(1), key(254))]
    assert pool.key_of(netaddr.IPAddress("10.0.0.1")) == key(1)


def key(number: int) -> str:
    return key_of(netaddr.IPAddress(f"10.0.0.{number}"))
