"""Names and addresses of a lab's nodes, decided without a lab."""

from __future__ import annotations

import pytest
from crowbar_lab.errors import LabError
from crowbar_lab.keys import make_key
from crowbar_lab.plan import check_lab_name, check_node_name, place, places, subnets

NETS = subnets("10.77.0.0/16", "fd00:77::/64")


def test_the_bridge_has_the_first_address_and_nodes_count_from_sixteen() -> None:
    assert (NETS.server_ipv4, NETS.server_ipv6) == ("10.77.0.1", "fd00:77::1")
    planned = places(3, NETS, domain="lab.test")
    assert [(one.name, one.ipv4, one.ipv6, one.admin) for one in planned] == [
        ("admin.lab.test", "10.77.0.16", "fd00:77::10", True),
        ("node-1.lab.test", "10.77.0.17", "fd00:77::11", False),
        ("node-2.lab.test", "10.77.0.18", "fd00:77::12", False),
    ]


def test_a_thousand_nodes_have_names_addresses_and_macs_of_their_own() -> None:
    planned = places(1000, NETS, domain="lab.test")
    for field in ("name", "ipv4", "ipv6", "mac"):
        assert len({getattr(one, field) for one in planned}) == 1000
    # Unicast and locally administered.
    assert all(int(one.mac[:2], 16) & 3 == 2 for one in planned)


def test_more_nodes_follow_those_that_are_there() -> None:
    assert [one.number for one in places(2, NETS, domain="lab.test", taken=places(3, NETS, domain="lab.test"))] == [
        3,
        4,
    ]


def test_the_thousand_and_first_node_is_refused() -> None:
    with pytest.raises(LabError, match="at most 1000 nodes"):
        places(1001, NETS, domain="lab.test")


def test_a_full_subnet_is_refused_before_its_broadcast_address() -> None:
    small = subnets("192.0.2.0/27", "2001:db8::/64")
    assert place(14, small, domain="lab.test").ipv4 == "192.0.2.30"
    with pytest.raises(LabError, match=r"192\.0\.2\.0/27 .*no address left for node 15"):
        place(15, small, domain="lab.test")


@pytest.mark.parametrize(
    "ipv4, ipv6, fact",
    [
        ("10.77.0.1/16", "fd00::/64", "is not an IPv4 subnet"),
        ("fd00::/64", "fd00::/64", "is not an IPv4 subnet"),
        ("10.0.0.0/8", "10.0.0.0/8", "is not an IPv6 subnet"),
        ("10.0.0.0/28", "fd00::/64", "too small"),
        ("", "fd00::/64", "is not an IPv4 subnet"),
    ],
)
def test_what_is_no_subnet_is_refused(ipv4: str, ipv6: str, fact: str) -> None:
    with pytest.raises(LabError, match=fact):
        subnets(ipv4, ipv6)


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a b", "a" * 64, "x\n", "ü"])
def test_a_lab_name_that_could_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="A lab cannot be called"):
        check_lab_name(name)


@pytest.mark.parametrize(
    "name", ["node", "node.test", "Node-1.lab.test", "-a.b.c", "a..b.c", "a.b.c\n", "a.b." + "c" * 64, "a_b.c.d"]
)
def test_a_node_name_that_is_no_full_host_name_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="A node cannot be called"):
        check_node_name(name)


def test_a_domain_that_makes_no_full_names_is_refused() -> None:
    with pytest.raises(LabError, match=r"admin\.test"):
        places(1, NETS, domain="test")


def test_keys_differ_and_do_not_show_their_secret() -> None:
    one, other = make_key(), make_key()
    assert one.public != other.public
    assert one.public.startswith("ssh-ed25519 AAAA")
    assert one.private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert one.private not in repr(one)
