"""Bad input about networks and addresses: refused with the field, the fact and the way out; nothing of it happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import crowbar_jig_script
import crowbar_network
import pytest

from crowbar_core.testing import FakeJig, Testbed

API = "/api/v2"


@pytest.fixture(scope="module")
def bed() -> Iterator[Testbed]:
    """With a network ``there``, of which node n1 and a reservation have addresses."""
    with Testbed(crowbar_jig_script, crowbar_network, jigs={"network": FakeJig()}) as made:
        web = made.web("operator")
        body = {
            "name": "there", "category": "x", "conduit": "1g1", "router": {"address": "10.80.0.1/24"},
            "ranges": [{"name": "host", "first": "10.80.0.10/24", "last": "10.80.0.99/24"}],
        }  # fmt: skip
        assert web.post(f"{API}/networks", json=body).status_code == 201
        made.add_node("n1")
        made.bind("network-there", "n1")
        web.post(f"{API}/networks/there/allocate_ip", json={"reserved_for": "the printer", "suggestion": "10.80.0.50"})
        yield made


@pytest.fixture(scope="module")
def web(bed: Testbed) -> Any:
    return bed.web("operator")


def refused(answer: Any, status: int, pointer: str, *said: str) -> None:
    """A problem with this field (or none), which says all of this."""
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json"), answer.get_data(as_text=True)
    errors = answer.json.get("errors", [])
    assert [one["pointer"] for one in errors][:1] == ([pointer] if pointer else []), answer.json
    told = " ".join([answer.json["detail"], *(one["detail"] for one in errors)])
    for one in said:
        assert one in told, told


@pytest.fixture
def unchanged(web: Any) -> Iterator[None]:
    """After the test there is what there was before."""

    def picture() -> Any:
        nouns = ("networks", "network_ranges", "network_routers", "network_allocations", "interface_maps")
        return {noun: web.get(f"{API}/{noun}").json for noun in nouns}

    before = picture()
    yield
    assert picture() == before


def ranged(first: str, last: str) -> dict[str, Any]:
    return {"ranges": [{"name": "host", "first": first, "last": last}]}


FIRST, LAST = "/ranges/0/first", "/ranges/0/last"
ADDRESSES: tuple[tuple[dict[str, Any], str, str, str], ...] = (
    # what is sent beside the name, the field, the fact, the way out
    (ranged("10.81.0.0/24", "10.81.0.9/24"), FIRST, "is the address of the subnet", "the first that a machine"),
    (ranged("10.81.0.9/24", "10.81.0.255/24"), LAST, "is the broadcast address", "the last that a machine can have"),
    (ranged("10.81.0.9/0", "10.81.0.10/0"), FIRST, "the prefix /0 has no room", "use /1 to /30"),
    (ranged("10.81.0.8/31", "10.81.0.9/31"), FIRST, "the prefix /31 has no room", "use /1 to /30"),
    (ranged("10.81.0.8/32", "10.81.0.8/32"), FIRST, "the prefix /32 has no room", "use /1 to /30"),
    (ranged("fd81::8/127", "fd81::9/127"), FIRST, "the prefix /127 has no room", "use /1 to /126"),
    (ranged("10.81.0.9", "10.81.0.10/24"), FIRST, "lacks the length of its prefix", "write it as 10.81.0.9/24"),
    (ranged("10.81.0.9/33", "10.81.0.10/33"), FIRST, "the length of the prefix", "a number up to 32"),
    (ranged("010.81.0.9/24", "10.81.0.10/24"), FIRST, "may be read as octal", "leave out the zero"),
    (ranged("10.81.0.9/24", "10.81.1.9/24"), LAST, "outside of 10.81.0.0/24", "a range is of one subnet: end it there"),
    (ranged("10.81.0.9/24", "10.81.0.10/25"), LAST, "different prefixes", "a range is of one subnet"),
    (ranged("10.81.0.9/24", "10.81.0.8/24"), LAST, "is before 10.81.0.9/24", "exchange them"),
    (ranged("10.81.0.9/24", "fd81::9/64"), LAST, "is IPv6 and 10.81.0.9/24 IPv4", "a range is of one family"),
    (ranged("10.80.0.99/24", "10.80.0.200/24"), FIRST, "overlaps with range host of network there", "choose addresses"),
    (ranged("224.0.0.5/24", "224.0.0.9/24"), FIRST, "is no address that a machine can have", "multicast"),
    (ranged("127.0.0.5/24", "127.0.0.9/24"), FIRST, "is no address that a machine can have", "loopback"),
    (ranged("$(id)/24", "10.81.0.9/24"), FIRST, "is not an IP address", "Write one such as"),
    (ranged("10.81.0.9\n/24", "10.81.0.10/24"), FIRST, "is not an IP address", "Write one such as"),
    ({**ranged("10.81.0.9/24", "10.81.0.99/24"), "router": {"address": "10.82.0.1/24"}}, "/router/address",
     "is in no subnet of the network, which has 10.81.0.0/24", "give it an address there, or add a range"),
    ({**ranged("10.81.0.9/24", "10.81.0.99/24"), "router": {"address": "10.81.0.1/16"}}, "/router/address",
     "is in 10.81.0.0/24", "so its prefix is /24"),
    ({**ranged("10.81.0.9/24", "10.81.0.99/24"), "router": {"address": "fd81::1/64"}}, "/router/address",
     "has no range of IPv6", "give it an address there, or add a range"),
    ({"v6prefix": "fd81::1/64"}, "/v6prefix", "has bits behind its first 64", "write fd81::/64"),
    ({"v6prefix": "fd81::/48"}, "/v6prefix", "is a /48", "is a /64"),
    ({"v6prefix": "10.81.0.0/24"}, "/v6prefix", "is no IPv6 prefix", "or auto"),
    ({"conduit": "mac=01:00:5e:00:00:01"}, "/conduit", "is a multicast address", "write the card's own"),
    ({"conduit": "mac=ff:ff:ff:ff:ff:ff"}, "/conduit", "is a multicast address", "write the card's own"),
    ({"conduit": "7g1"}, "/conduit", "There is no speed '7g'", "there are 10m"),
    ({"conduit": "1g1,10g1", "use_team": True}, "/conduit", "not all of one speed", "as '1g1' is"),
    ({"vlan": 0}, "/vlan", "0 is no VLAN", "from 1 to 4094"),
    ({"use_vlan": True}, "/vlan", "With use_vlan there must be a vlan", "from 1 to 4094"),
    ({"mtu": 67}, "/mtu", "67 is no MTU", "from 68 to 65535"),
    ({"mtu": 1279, "v6prefix": "auto"}, "/mtu", "too small for IPv6", "needs 1280"),
    ({"mtu": 1000, **ranged("fd81::9/64", "fd81::99/64")}, FIRST, "The MTU 1000 of network wrong is too small", "1280"),
    ({"use_team": True}, "/conduit", "A team is made of the cards of a conduit", "as 10g1,10g2"),
)  # fmt: skip


@pytest.mark.parametrize("body, pointer, fact, way_out", ADDRESSES)
def test_an_address_that_cannot_be_is_refused_with_field_fact_and_way_out(
    web: Any, unchanged: None, body: dict[str, Any], pointer: str, fact: str, way_out: str
) -> None:
    refused(web.post(f"{API}/networks", json={"name": "wrong", "category": "x", **body}), 422, pointer, fact, way_out)


NAMES = (
    "", " ", "x" * 65_536, "a\0b", "a\r\nb", "../etc", "$(id)", "; reboot", "{{7*7}}", "<script>", "'", '"',
    "a\u202eb", "\u0430dmin", "-a", "a-", "A", "1a", "a_b", "a.b",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_that_cannot_be_is_refused_with_the_field(web: Any, unchanged: None, name: str) -> None:
    answer = web.post(f"{API}/networks", json={"name": name, "category": "x"})
    assert answer.status_code in (400, 413, 422), answer.json
    assert answer.mimetype == "application/problem+json"
    if answer.json.get("errors"):
        assert answer.json["errors"][0]["pointer"] == "/name"


OF_ADDRESSES: tuple[tuple[dict[str, Any], int, str, str, str], ...] = (
    (
        {"suggestion": "10.80.0.50", "reserved_for": "me"},
        409,
        "/suggestion",
        "taken by the reservation for the printer",
        "choose",
    ),
    (
        {"suggestion": "10.80.0.1", "reserved_for": "me"},
        409,
        "/suggestion",
        "is in no range of network there",
        "which has host",
    ),
    ({"suggestion": "010.80.0.60", "reserved_for": "me"}, 422, "/suggestion", "may be read as octal", "leave out"),
    (
        {"suggestion": "10.80.0.60/16", "reserved_for": "me"},
        409,
        "/suggestion",
        "is in range host",
        "whose prefix is /24",
    ),
    (
        {"suggestion": "fd80::1", "reserved_for": "me"},
        409,
        "/suggestion",
        "is in no range of network there",
        "which has host",
    ),
    ({"suggestion": "10.80.0.60"}, 422, "/reserved_for", "what 10.80.0.60 is reserved for", "or which node"),
    ({"reserved_for": "me", "range": "hosts"}, 422, "/range", "has no range 'hosts'", "its ranges are host"),
    ({"node_id": "n9.example.test"}, 422, "/node_id", "There is no node", ""),
    ({}, 422, "/reserved_for", "Say what the address is reserved for", "or which node is to have one"),
)


@pytest.mark.parametrize("body, status, pointer, fact, way_out", OF_ADDRESSES)
def test_an_address_that_cannot_be_given_is_refused_with_why(
    web: Any, unchanged: None, body: dict[str, Any], status: int, pointer: str, fact: str, way_out: str
) -> None:
    refused(web.post(f"{API}/networks/there/allocate_ip", json=body), status, pointer, fact, way_out)


def test_an_address_of_the_other_family_in_a_hint_is_refused_with_the_hint(bed: Testbed, web: Any) -> None:
    bed.add_node("n2", hint={"hint-there-v4addr": "fd80::1"})
    answer = web.post(f"{API}/node_roles", json={"node_id": "n2.example.test", "role_id": "network-there"})
    refused(
        answer,
        409,
        "/hint/hint-there-v4addr",
        "The hint hint-there-v4addr of node n2",
        "is an IPv6 address",
        "Change the hint",
    )


def test_what_is_in_use_stays_and_says_by_whom(bed: Testbed, web: Any, unchanged: None) -> None:
    users = "n1.example.test, the reservation for the printer"
    [host] = web.get(f"{API}/networks/there/network_ranges").json
    refused(web.delete(f"{API}/networks/there"), 409, "", f"it has addresses of {users}", "Unbind network-there")
    refused(
        web.delete(f"{API}/network_ranges/{host['id']}"), 409, "", f"it has addresses of {users}", "Give those back"
    )
    shorter = web.patch(f"{API}/network_ranges/{host['id']}", json={"last": "10.80.0.40/24"})
    refused(shorter, 409, "", "10.80.0.50 of the reservation for the printer would be outside", "give it back first")
    router = web.post(f"{API}/networks/there/network_routers", json={"address": "10.80.0.50/24"})
    refused(router, 409, "", "is taken by the reservation for the printer", "an address that nobody has")


def test_a_deployment_with_networks_stays_and_names_them(bed: Testbed, web: Any) -> None:
    bed.add_deployment("lent")
    web.post(f"{API}/networks", json={"name": "lent", "category": "x", "deployment_id": "lent"})
    refused(web.delete(f"{API}/deployments/lent"), 409, "", "has the network lent", "or give it to another deployment")
