"""Which rule gives a node its address, and what of a network stays as it is while that is in use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import crowbar_jig_script
import crowbar_network
import netaddr
import pytest
from crowbar_network.addressing import id_of_name, v6_address

from crowbar_core import Refused
from crowbar_core.testing import FakeJig, Testbed

API = "/api/v2"


@pytest.fixture(scope="module")
def bed() -> Iterator[Testbed]:
    """Node n1 has addresses of the admin network chief, in the group red, which its hints name."""
    with Testbed(crowbar_jig_script, crowbar_network, jigs={"network": FakeJig()}) as made:
        make(made, "chief", "10.75.0.1/24", "10.75.0.99/24", category="admin", group="red", v6prefix="fd00:75::/64")
        hint = {"hint-chief-v4addr": "10.75.0.50", "hint-chief-v6addr": "fd00:75::77"}
        made.add_node("n1", hint={**hint, "hint-wrong-v6addr": "fd00:79::1"})
        made.bind("network-chief", "n1")
        yield made


def make(bed: Testbed, name: str, first: str, last: str, **more: Any) -> Any:
    body = {"name": name, "category": "test", "ranges": [{"name": "host", "first": first, "last": last}], **more}
    made = bed.web("operator").post(f"{API}/networks", json=body)
    assert made.status_code == 201, made.json
    return made.json


def given(bed: Testbed, network: str) -> list[tuple[str, str]]:
    """What node n1 is given of a network, and by which rule."""
    answer = bed.web("operator").post(f"{API}/networks/{network}/allocate_ip", json={"node_id": "n1.example.test"})
    assert answer.status_code == 201, answer.json
    return [(one["ip"], one["how"]) for one in answer.json]


def test_a_node_has_the_host_part_of_its_admin_address_within_the_group_alone(bed: Testbed) -> None:
    make(bed, "red", "10.75.1.1/24", "10.75.1.99/24", group="red")
    make(bed, "blue", "10.75.2.1/24", "10.75.2.99/24", group="blue")
    assert given(bed, "red") == [("10.75.1.50", "like admin")]
    assert given(bed, "blue") == [("10.75.2.1", "first free")]


def test_of_ipv6_a_hint_goes_before_the_node_s_name_and_that_before_its_admin_address(bed: Testbed) -> None:
    allocated = bed.web().get(f"{API}/networks/chief/allocations").json
    assert {one["ip"] for one in allocated} == {"10.75.0.50", "fd00:75::77"}
    make(bed, "named", "10.75.3.1/24", "10.75.3.99/24", group="red", v6prefix="fd00:76::/64")
    own = v6_address(netaddr.IPNetwork("fd00:76::/64"), id_of_name("n1.example.test"))
    assert given(bed, "named")[1:] == [(str(own), "automatic")]
    make(bed, "ranged", "fd00:77::1/64", "fd00:77::ffff/64", group="red")
    assert given(bed, "ranged") == [("fd00:77::77", "like admin")]
    make(bed, "wrong", "fd00:78::1/64", "fd00:78::ffff/64")
    with pytest.raises(Refused, match=r"hint-wrong-v6addr of node n1\.example\.test cannot be: fd00:79::1 is in no"):
        bed.bind("network-wrong", "n1")


def test_the_prefix_of_a_network_stays_while_somebody_has_an_address_of_it(bed: Testbed) -> None:
    web = bed.web("operator")
    made = make(bed, "kept", "10.75.4.1/24", "10.75.4.99/24", v6prefix="fd00:80::/64")
    given(bed, "kept")
    refused = web.patch(f"{API}/networks/kept", json={"v6prefix": "fd00:81::/64"})
    assert refused.status_code == 409
    assert "The prefix fd00:80::/64 of network kept cannot change: it has addresses of n1." in refused.json["detail"]
    host = next(one["id"] for one in made["ranges"] if one["name"] == "host")
    other = {"first": "10.75.4.1/23", "last": "10.75.4.99/23"}
    refused = web.patch(f"{API}/network_ranges/{host}", json=other)
    assert refused.status_code == 409
    assert "10.75.4.1 of n1.example.test would be outside of 10.75.4.1/23" in refused.json["detail"]
    assert web.delete(f"{API}/networks/kept/ip", json={"node_id": "n1.example.test"}).status_code == 204
    assert web.patch(f"{API}/networks/kept", json={"v6prefix": "fd00:81::/64"}).json["v6prefix"] == "fd00:81::/64"
    assert web.patch(f"{API}/network_ranges/{host}", json=other).status_code == 200


def test_a_network_whose_ranges_may_overlap_is_not_configured_until_they_may_not(bed: Testbed) -> None:
    web = bed.web("operator")
    host = {"name": "host", "first": "10.75.5.1/24", "last": "10.75.5.9/24", "overlap": True}
    body = {"name": "loose", "category": "test", "configure": False, "ranges": [host]}
    made = web.post(f"{API}/networks", json=body)
    assert made.status_code == 201, made.json
    refused = web.patch(f"{API}/networks/loose", json={"configure": True, "conduit": "1g1"})
    assert (refused.status_code, [one["pointer"] for one in refused.json["errors"]]) == (422, ["/configure"])
    assert web.patch(f"{API}/network_ranges/{made.json['ranges'][0]['id']}", json={"overlap": False}).status_code == 200
    assert web.patch(f"{API}/networks/loose", json={"configure": True, "conduit": "1g1"}).status_code == 200


def test_an_admin_network_has_a_prefix_by_itself_unless_it_is_given_ranges_of_ipv6(bed: Testbed) -> None:
    four, six = ("10.75.6.1/24", "10.75.6.9/24"), ("fd00:82::1/64", "fd00:82::9/64")
    assert make(bed, "alone", *four, category="admin", group="green")["v6auto"] is True
    both = make(bed, "ranges", *six, category="admin", group="grey")
    assert (both["v6prefix"], [one["name"] for one in both["ranges"]]) == (None, ["host"])
