"""Addresses are given, held and given back: the same on both databases, in the same change as what they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import crowbar_jig_script
import crowbar_network
import netaddr
import pytest
from crowbar_network.addressing import id_of_name, of_key
from crowbar_network.tables import allocations, gaps, ranges
from sqlalchemy import func, select

from crowbar_core import Barclamp, Refused, hookimpl
from crowbar_core.testing import FakeJig, PostgresServer, Testbed

API = "/api/v2"


class Listener:
    """Another barclamp, which imports nothing of this one."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="listener", after=("network",))

    @hookimpl(optional=True)
    def on_network_create(self, network: Any) -> None:
        self.heard.append(("create", network))

    @hookimpl(optional=True)
    def on_network_change(self, network: Any) -> None:
        self.heard.append(("change", network))

    @hookimpl(optional=True)
    def on_network_delete(self, network: Any) -> None:
        self.heard.append(("delete", network))

    @hookimpl(optional=True)
    def on_network_allocation_create(self, allocation: Any) -> None:
        self.heard.append(("given", allocation))

    @hookimpl(optional=True)
    def on_network_allocation_delete(self, allocation: Any) -> None:
        self.heard.append(("given back", allocation))


LISTENER = Listener()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def bed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """One core for all tests on a database: each makes networks of its own there."""
    url = f"sqlite:///{tmp_path_factory.mktemp('crowbar')}/crowbar.db"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("crowbar_postgres")
        url = server.create_database()
    with Testbed(crowbar_jig_script, crowbar_network, LISTENER, jigs={"network": FakeJig()}, database_url=url) as made:
        yield made
    if request.param == "postgresql":
        server.drop_database(url)


@pytest.fixture(scope="module")
def web(bed: Testbed) -> Any:
    return bed.web("operator")


@pytest.fixture
def heard(bed: Testbed) -> Any:
    """What the listener hears from now on, when it is told."""
    bed.deliver()
    LISTENER.heard.clear()

    def listen() -> list[tuple[str, Any]]:
        bed.deliver()
        found, LISTENER.heard[:] = list(LISTENER.heard), []
        return found

    return listen


def network(web: Any, name: str, first: str, last: str, **more: Any) -> Any:
    """A network with one range, ``host``."""
    body = {"name": name, "category": "test", "ranges": [{"name": "host", "first": first, "last": last}], **more}
    made = web.post(f"{API}/networks", json=body)
    assert made.status_code == 201, made.json
    return made.json


def allocate(web: Any, name: str, **asked: Any) -> Any:
    answer = web.post(f"{API}/networks/{name}/allocate_ip", json=asked)
    assert answer.status_code == 201, answer.json
    return answer.json


def refused(answer: Any, status: int, pointer: str = "") -> str:
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json"), answer.json
    errors = answer.json.get("errors", [])
    assert [one["pointer"] for one in errors] == ([pointer] if pointer else [])
    return " ".join([str(answer.json["detail"]), *(one["detail"] for one in errors if pointer)])


def free(bed: Testbed, name: str) -> list[str]:
    """The gaps of a network, as ``first-last``."""
    wanted = select(gaps.c.first, gaps.c.last).join(ranges, ranges.c.id == gaps.c.range_id)
    with bed.read() as session:
        key = session.scalar(select(crowbar_network.tables.networks.c.id).filter_by(name=name))
        rows = session.execute(wanted.where(ranges.c.network_id == key).order_by(gaps.c.first)).all()
    return [f"{of_key(row.first)}-{of_key(row.last)}" for row in rows]


def held(web: Any, name: str) -> dict[str, str]:
    return {one["node"] or one["reserved_for"]: one["ip"] for one in web.get(f"{API}/networks/{name}/allocations").json}


def test_the_audit_trail_has_what_was_and_what_is_of_networks_ranges_and_interface_maps(bed: Testbed, web: Any) -> None:
    made = network(web, "noted", "10.60.0.1/24", "10.60.0.9/24", description="one")
    buses = {"pattern": "noted*", "buses": ["0000:02", "0000:01"]}
    assert web.post(f"{API}/interface_maps", json=buses).status_code == 201
    [its] = [one for one in web.get(f"{API}/interface_maps").json if one["pattern"] == buses["pattern"]]
    for place, values in (
        ("networks/noted", {"description": "two"}),
        (f"network_ranges/{made['ranges'][0]['id']}", {"last": "10.60.0.19/24"}),
        (f"interface_maps/{its['id']}", {"pattern": "told*"}),
    ):
        answer = web.patch(f"{API}/{place}", json=values)
        assert answer.status_code == 200, answer.json
    lines = bed.web("admin").get(f"{API}/audits?limit=100").json
    told = {one["action"]: one["detail"]["changed"] for one in reversed(lines) if one["action"].endswith(".change")}
    assert told["network.change"] == {"description": {"old": "one", "new": "two"}}
    assert told["network_range.change"] == {"last": {"old": "10.60.0.9/24", "new": "10.60.0.19/24"}}
    assert told["interface_map.change"] == {"pattern": {"old": "noted*", "new": "told*"}}


# ---------------------------------------------------------------- going


@pytest.mark.parametrize("bound", [True, False])
def test_the_addresses_of_a_node_that_is_deleted_are_free_again(
    bed: Testbed, web: Any, bound: bool, heard: Any
) -> None:
    name = f"gone-{bound}".lower()
    network(web, name, f"10.10.{int(bound)}.1/24", f"10.10.{int(bound)}.9/24")
    bed.add_node("gone")
    whole = free(bed, name)
    if bound:
        bed.bind(f"network-{name}", "gone")
    else:
        allocate(web, name, node_id="gone.example.test")
    assert list(held(web, name)) == ["gone.example.test"]
    assert free(bed, name) != whole
    bed.delete_node("gone")
    assert held(web, name) == {}
    assert free(bed, name) == whole
    told = [(what, one.node) for what, one in heard() if what.startswith("given")]
    assert told == [("given", "gone.example.test"), ("given back", "gone.example.test")]


def test_what_is_in_use_does_not_go_and_is_said_by_whom(bed: Testbed, web: Any) -> None:
    made = network(web, "used", "10.11.0.1/24", "10.11.0.9/24")
    bed.add_node("user")
    bed.bind("network-used", "user")
    allocate(web, "used", suggestion="10.11.0.7", reserved_for="the printer")
    by = "it has addresses of user.example.test, the reservation for the printer. "
    assert by + "Give those back first." in refused(web.delete(f"{API}/network_ranges/{made['ranges'][0]['id']}"), 409)
    said = refused(web.delete(f"{API}/networks/used"), 409)
    assert f"The network used cannot go: {by}Unbind network-used from nodes, and give back what is reserved" in said
    shorter = {"last": "10.11.0.6/24"}
    said = refused(web.patch(f"{API}/network_ranges/{made['ranges'][0]['id']}", json=shorter), 409)
    assert said.startswith("10.11.0.7 of the reservation for the printer would be outside of 10.11.0.1/24 to 10.11.0.6")
    bed.unbind("network-used", "user")
    assert held(web, "used") == {"the printer": "10.11.0.7"}
    assert web.delete(f"{API}/networks/used/deallocate_ip", json={"cidr": "10.11.0.7/24"}).status_code == 204
    assert free(bed, "used") == ["10.11.0.1-10.11.0.9"]
    assert web.delete(f"{API}/networks/used").status_code == 204
    assert "network-used" not in [one["name"] for one in web.get(f"{API}/roles?limit=500").json]


def test_a_full_range_says_all_who_have_something_of_it(bed: Testbed, web: Any) -> None:
    network(web, "full", "10.12.0.1/24", "10.12.0.9/24", router={"address": "10.12.0.5/24"})
    for number in range(8):
        allocate(web, "full", reserved_for=f"guest {number}")
    said = refused(web.post(f"{API}/networks/full/ip", json={"reserved_for": "one more"}), 409)
    guests = ", ".join(f"the reservation for guest {number}" for number in range(5))
    assert said == (
        "Network full has no address left: all 9 of host (10.12.0.1/24 to 10.12.0.9/24) are taken, by "
        f"{guests} and 3 more and a router. Add a range, make one longer, or give back what is not needed."
    )
    key = web.get(f"{API}/network_ranges?network=full").json[0]["id"]
    assert web.patch(f"{API}/network_ranges/{key}", json={"last": "10.12.0.10/24"}).status_code == 200
    assert allocate(web, "full", reserved_for="one more")[0]["ip"] == "10.12.0.10"


def test_a_network_is_for_its_deployment_and_those_below(bed: Testbed, web: Any) -> None:
    for name, parent in (("east", "system"), ("east-1", "east"), ("west", "system")):
        bed.add_deployment(name, parent=parent) if parent != "system" else bed.add_deployment(name)
    network(web, "eastern", "10.13.0.1/24", "10.13.0.9/24", deployment_id="east")
    for node in ("e1", "w1"):
        bed.add_node(node)
    bed.bind("network-eastern", "e1", deployment="east-1")
    with pytest.raises(Refused, match=r"can be used in that and those below it; west is none of them\."):
        bed.bind("network-eastern", "w1", deployment="west")
    assert list(held(web, "eastern")) == ["e1.example.test"]
    moved = web.patch(f"{API}/networks/eastern", json={"deployment_id": "west"})
    assert (moved.status_code, moved.json["errors"][0]["pointer"]) == (409, "/deployment_id")
    assert "node e1.example.test in east-1 has it" in moved.json["detail"]
    assert web.patch(f"{API}/networks/eastern", json={"deployment_id": "system"}).status_code == 200
    assert web.patch(f"{API}/networks/eastern", json={"deployment_id": "east"}).status_code == 200
    bed.unbind("network-eastern", "e1")
    bed.delete_deployment("east-1")
    with pytest.raises(Refused, match="Deployment east has the network eastern: remove what it has, or give it to"):
        bed.delete_deployment("east")
    assert web.patch(f"{API}/networks/eastern", json={"deployment_id": "system"}).status_code == 200
    bed.delete_deployment("east")
    assert web.get(f"{API}/networks/eastern").json["deployment"] == "system"


# ---------------------------------------------------------------- asking


def test_the_ancestor_s_calls_give_find_and_take_back(bed: Testbed, web: Any) -> None:
    made = network(web, "parity", "10.14.0.1/24", "10.14.0.9/24", v6prefix="fd12:3456:789a:e::/64")
    extra = {"network_id": "parity", "name": "dhcp", "first": "10.14.0.20/24", "last": "10.14.0.30/24"}
    assert web.post(f"{API}/network_ranges", json=extra).status_code == 201
    bed.add_node("p1")
    auto = web.get(f"{API}/networks/parity/auto_ranges/p1.example.test").json
    assert {one["name"] for one in auto} == {"host", "host-v6"}
    given = allocate(web, "parity", node_id="p1.example.test")
    assert (given[0]["address"], given[0]["how"]) == ("10.14.0.1/24", "first free")
    assert (given[1]["range"], given[1]["how"]) == ("host-v6", "automatic")
    again = allocate(web, "parity", node_id="p1.example.test")
    assert [one["id"] for one in again] == [one["id"] for one in given]
    listed = web.get(f"{API}/networks/parity/allocations?sort=address").json
    assert listed == web.get(f"{API}/networks/{made['id']}/network_allocations?sort=address").json
    assert listed == web.get(f"{API}/nodes/p1.example.test/network_allocations?sort=address").json
    assert set(listed[0]) == set(web.get(f"{API}/network_allocations/sample").json)
    assert {"id", "node_id", "network_id", "network_range_id", "address"} <= set(listed[0])
    assert web.post(f"{API}/network_allocations/match", json={"ip": "10.14.0.1"}).json == [listed[0]]
    assert web.get(f"{API}/network_allocations?ip=10.14.0.1").json == [listed[0]]
    assert allocate(web, "parity", range="dhcp", reserved_for="a guest")[0]["address"] == "10.14.0.20/24"
    plain = ("id", "name", "category", "group", "deployment_id", "conduit", "vlan", "use_vlan", "use_bridge",
             "use_team", "team_mode", "v6prefix", "configure", "mtu", "order")  # fmt: skip
    for noun, fields, which in (
        ("networks", plain, "name=parity"),
        ("network_ranges", ("id", "name", "network_id", "first", "last", "overlap"), "network=parity"),
        ("network_allocations", ("id", "node_id", "network_id", "network_range_id", "address"), "network=parity"),
    ):
        for one in web.get(f"{API}/{noun}?{which}").json:
            found = web.post(f"{API}/{noun}/match", json={name: one[name] for name in fields})
            assert (found.status_code, noun, found.json) == (200, noun, [one])
    for path, body in (("ip", {"cidr": "10.14.0.20"}), ("deallocate_ip", {"node_id": "p1.example.test"})):
        assert web.delete(f"{API}/networks/parity/{path}", json=body).status_code == 204
    assert held(web, "parity") == {}
    for noun in ("networks", "network_ranges", "network_routers", "interface_maps"):
        sample = web.get(f"{API}/{noun}/sample")
        assert (sample.status_code, sample.json["id"]) == (200, 1), noun
    router = web.post(f"{API}/network_routers", json={"network_id": "parity", "address": "10.14.0.9/24"}).json
    matched = web.post(f"{API}/network_routers/match", json={"address": "10.14.0.9/24", "pref": router["pref"]}).json
    assert [one["id"] for one in matched] == [router["id"]]


@pytest.mark.parametrize(
    "asked, status, pointer, said",
    [
        ({}, 422, "/reserved_for", "Say what the address is reserved for, or which node is to have one (node_id)."),
        ({"suggestion": "10.15.0.3"}, 422, "/reserved_for", "Say what 10.15.0.3 is reserved for"),
        ({"suggestion": "010.15.0.3", "reserved_for": "x"}, 422, "/suggestion", "leave out the zero"),
        (
            {"suggestion": "10.15.0.3/16", "reserved_for": "x"},
            409,
            "/suggestion",
            "is in range host, whose prefix is /24.",
        ),
        (
            {"suggestion": "10.16.0.3", "reserved_for": "x"},
            409,
            "/suggestion",
            "is in no range of network asked, which has host",
        ),
        (
            {"suggestion": "10.15.0.2", "reserved_for": "x"},
            409,
            "/suggestion",
            "10.15.0.2 is taken by a router: choose another",
        ),
        ({"suggestion": "224.0.0.1", "reserved_for": "x"}, 422, "/suggestion", "no address that a machine can have"),
        ({"range": "hots", "reserved_for": "x"}, 422, "/range", "has no range 'hots'; its ranges are host."),
        ({"node_id": "nobody"}, 422, "/node_id", "nobody"),
        ({"node_id": "a1.example.test", "reserved_for": "x"}, 422, "/reserved_for", "leave one out"),
        ({"node_id": True}, 422, "/node_id", ""),
        ({"colour": "red"}, 422, "/colour", ""),
        ({"node_id": "system-phantom.internal.local"}, 409, "", "stands for a deployment and is no machine"),
    ],
)
def test_an_address_that_cannot_be_had_says_why(
    bed: Testbed, web: Any, asked: Mapping[str, Any], status: int, pointer: str, said: str
) -> None:
    if web.get(f"{API}/networks/asked").status_code == 404:
        network(web, "asked", "10.15.0.1/24", "10.15.0.9/24", router={"address": "10.15.0.2/24"})
        bed.add_node("a1")
    assert said in refused(web.post(f"{API}/networks/asked/allocate_ip", json=asked), status, pointer)
    assert held(web, "asked") == {}


def test_a_hint_that_cannot_be_used_is_an_error_and_is_never_passed_over(bed: Testbed, web: Any) -> None:
    network(web, "hinted", "10.17.0.1/24", "10.17.0.9/24", router={"address": "10.17.0.2/24"})
    for number, (hint, said) in enumerate(
        (
            ("10.18.0.1", r"10\.18\.0\.1 is in no range of network hinted, which has host .*\."),
            ("10.17.0.2", r"10\.17\.0\.2 is taken by a router\."),
            ("10.17.0.3/16", r"whose prefix is /24\."),
            ("fd00::1", r"fd00::1 is an IPv6 address\."),
        )
    ):
        bed.add_node(f"h{number}", hint={"hint-hinted-v4addr": hint})
        way_out = f"The hint hint-hinted-v4addr of node h{number}.example.test cannot be: .*{said} Change the hint, or"
        with pytest.raises(Refused, match=way_out):
            bed.bind("network-hinted", f"h{number}")
    assert held(web, "hinted") == {}
    bed.change_node("h0", hint={"hint-hinted-v4addr": "10.17.0.8"})
    bed.bind("network-hinted", "h0")
    assert held(web, "hinted") == {"h0.example.test": "10.17.0.8"}
    bed.change_node("h0", hint={"hint-hinted-v4addr": "10.17.0.4"})
    said = refused(
        web.post(f"{API}/networks/hinted/ip", json={"node_id": "h0.example.test"}), 409, "/hint/hint-hinted-v4addr"
    )
    assert "says 10.17.0.4, but the node has 10.17.0.8/24 of network hinted already: give that back first" in said
    bed.unbind("network-hinted", "h0")
    bed.bind("network-hinted", "h0")
    assert held(web, "hinted") == {"h0.example.test": "10.17.0.4"}


FAULTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("host bits set", {"v6prefix": "fd00:1::5/64"}, "/v6prefix", "are no part of a prefix: write fd00:1::/64"),
    ("IPv4 in an IPv6 field", {"v6prefix": "10.0.0.0/8"}, "/v6prefix", "is no IPv6 prefix"),
    ("/48", {"v6prefix": "fd00:1::/48"}, "/v6prefix", "is a /48: what machines make their addresses from is a /64"),
    ("/0", {"first": "10.20.0.1/0", "last": "10.20.0.9/0"}, "/ranges/0/first", "no room for machines; use /1 to /30"),
    ("/31", {"first": "10.20.0.1/31", "last": "10.20.0.1/31"}, "/ranges/0/first", "no room for machines"),
    ("/32", {"first": "10.20.0.1/32", "last": "10.20.0.1/32"}, "/ranges/0/first", "no room for machines"),
    ("two families", {"last": "fd00::9/64"}, "/ranges/0/last", "a range is of one family"),
    ("octal", {"first": "010.20.0.1/24"}, "/ranges/0/first", "leave out the zero"),
    ("multicast", {"first": "224.0.0.1/24", "last": "224.0.0.9/24"}, "/ranges/0/first", "no address that a machine"),
    ("overlap", {"first": "10.19.0.9/24", "last": "10.19.0.20/24"}, "/ranges/0/first",
     "overlaps with range host of network there, 10.19.0.1/24 to 10.19.0.9/24: choose addresses that are in no other"),
    ("router outside", {"router": {"address": "10.21.0.1/24"}}, "/router/address",
     "is in no subnet of the network, which has 10.20.0.0/24"),
    ("IPv6 router", {"router": {"address": "fd00::1/64"}}, "/router/address", "which has no range of IPv6"),
    ("multicast MAC", {"conduit": "mac=01:00:5e:00:00:01"}, "/conduit", "which no card has: write the card's own"),
    ("VLAN", {"vlan": 4095, "use_vlan": True}, "/vlan", "they go from 1 to 4094"),
    ("2**63", {"mtu": 2**63}, "/mtu", ""),
    ("bool for int", {"vlan": True}, "/vlan", ""),
    ("name", {"name": "$(id)"}, "/name", "A network's name is a small letter"),
    ("two ranges of a name", {"ranges": [
        {"name": "a", "first": "10.20.0.1/24", "last": "10.20.0.2/24"},
        {"name": "a", "first": "10.20.0.3/24", "last": "10.20.0.4/24"},
    ]}, "/ranges/1/name", "has a range a already: choose another name"),
    ("overlap where configured", {"overlap": True}, "/ranges/0/overlap", "Only ranges of a network that is not config"),
    ("a range's own vlan", {"range_vlan": 0}, "/ranges/0/vlan", "0 is no VLAN"),
]  # fmt: skip


@pytest.mark.parametrize("what, given, pointer, said", FAULTS, ids=[one[0] for one in FAULTS])
def test_what_no_network_can_be_names_the_field_the_fact_and_the_way_out(
    bed: Testbed, web: Any, what: str, given: dict[str, Any], pointer: str, said: str
) -> None:
    if web.get(f"{API}/networks/there").status_code == 404:
        network(web, "there", "10.19.0.1/24", "10.19.0.9/24")
    given = dict(given)
    one = {"name": "host", "first": given.pop("first", "10.20.0.1/24"), "last": given.pop("last", "10.20.0.9/24")}
    one |= {"overlap": given.pop("overlap", False)} | (
        {"vlan": given.pop("range_vlan")} if "range_vlan" in given else {}
    )
    answer = web.post(f"{API}/networks", json={"name": "bad", "category": "test", "ranges": [one], **given})
    assert said in refused(answer, 422, pointer), what
    assert web.get(f"{API}/networks/bad").status_code == 404


# ---------------------------------------------------------------- hooks of its own


def test_on_network_create_on_network_change_and_on_network_delete_are_told_in_order(web: Any, heard: Any) -> None:
    made = network(web, "told", "10.30.0.1/24", "10.30.0.9/24", router={"address": "10.30.0.1/24", "pref": 10})
    assert web.patch(f"{API}/networks/told", json={"mtu": 9000}).status_code == 200
    key = made["ranges"][0]["id"]
    assert web.patch(f"{API}/network_ranges/{key}", json={"last": "10.30.0.99/24"}).status_code == 200
    assert web.delete(f"{API}/networks/told").status_code == 204
    told = heard()
    assert [(what, one.id, one.name) for what, one in told] == [
        (what, made["id"], "told") for what in ("create", "change", "change", "delete")
    ]
    first, last = told[0][1], told[-1][1]
    assert (first.ranges[0].first, first.ranges[0].last, first.mtu) == ("10.30.0.1/24", "10.30.0.9/24", None)
    assert (first.routers[0].address, first.routers[0].pref) == ("10.30.0.1/24", 10)
    assert (last.ranges[0].last, last.mtu) == ("10.30.0.99/24", 9000)


def test_on_network_change_is_not_told_of_a_change_that_was_refused(web: Any, heard: Any) -> None:
    network(web, "quiet", "10.31.0.1/24", "10.31.0.9/24")
    heard()
    assert web.patch(f"{API}/networks/quiet", json={"mtu": 9000, "vlan": 9999}).status_code == 422
    assert heard() == []


def test_on_network_allocation_create_and_on_network_allocation_delete_name_node_and_address(
    bed: Testbed, web: Any, heard: Any
) -> None:
    network(web, "leased", "10.32.0.1/24", "10.32.0.9/24")
    bed.add_node("l1")
    heard()
    bed.bind("network-leased", "l1")
    allocate(web, "leased", node_id="l1.example.test")
    bed.unbind("network-leased", "l1")
    told = [(what, one.network, one.range, one.node, one.address, one.how) for what, one in heard()]
    assert told == [
        ("given", "leased", "host", "l1.example.test", "10.32.0.1/24", "first free"),
        ("given back", "leased", "host", "l1.example.test", "10.32.0.1/24", "had"),
    ]


def test_plan_lines_say_which_addresses_a_commit_gives(bed: Testbed, web: Any) -> None:
    network(web, "planned", "10.33.0.1/24", "10.33.0.9/24")
    bed.add_node("planned")
    bed.bind("network-planned", "planned")
    said = [line.text for line in bed.plan().lines]
    assert any(line.startswith("planned.example.test has 10.33.0.1/24 of network planned") for line in said), said


def test_a_network_without_ipv4_gives_addresses_of_ipv6_alone(bed: Testbed, web: Any) -> None:
    for name, v6id in (("six", "name"), ("opaque", "stable")):
        made = web.post(f"{API}/networks", json={"name": name, "category": "test", "v6prefix": "auto", "v6id": v6id})
        prefix = netaddr.IPNetwork(made.json["v6prefix"])
        assert ([one["name"] for one in made.json["ranges"]], prefix.prefixlen) == (["host-v6"], 64)
        bed.add_node(f"{name}1")
        bed.bind(f"network-{name}", f"{name}1")
        (address,) = held(web, name).values()
        assert netaddr.IPAddress(address) in prefix
        by_name = int(prefix.network) | id_of_name(f"{name}1.example.test")
        assert (int(netaddr.IPAddress(address)) == by_name) is (v6id == "name")
        bed.unbind(f"network-{name}", f"{name}1")
        bed.bind(f"network-{name}", f"{name}1")
        assert list(held(web, name).values()) == [address]


def test_an_admin_node_is_given_addresses_of_the_ranges_called_admin(bed: Testbed, web: Any) -> None:
    network(web, "ranks", "10.34.0.20/24", "10.34.0.29/24")
    for name, first in (("admin", 1), ("dhcp", 10)):
        body = {"name": name, "first": f"10.34.0.{first}/24", "last": f"10.34.0.{first + 5}/24"}
        assert web.post(f"{API}/networks/ranks/network_ranges", json=body).status_code == 201
    bed.add_node("chief", admin=True)
    bed.add_node("plain")
    given = [allocate(web, "ranks", node_id=f"{name}.example.test")[0]["range"] for name in ("chief", "plain")]
    assert given == ["admin", "host"]


def test_what_is_free_and_what_is_given_are_all_of_every_range(bed: Testbed, web: Any) -> None:
    """After all that the other tests did: no address is in a gap and given, and none is in neither."""
    network(web, "counted", "10.97.0.1/24", "10.97.0.40/24")
    with bed.read() as session:
        for one in session.execute(select(ranges)).all():
            mine = select(gaps.c.first, gaps.c.last).where(gaps.c.range_id == one.id)
            room = sum(int(of_key(gap.last)) - int(of_key(gap.first)) + 1 for gap in session.execute(mine).all())
            count = session.scalar(
                select(func.count()).select_from(allocations).where(allocations.c.range_id == one.id)
            )
            routers = len(re.findall(r"/", ",".join(
                router["address"] for router in web.get(f"{API}/network_routers?network_id={one.network_id}").json
                if int(of_key(one.first)) <= int(netaddr.IPAddress(router["ip"])) <= int(of_key(one.last))
            )))  # fmt: skip
            assert room + count + routers == int(of_key(one.last)) - int(of_key(one.first)) + 1, one.name
