"""Ranges, routers, prefixes and interface ids."""

from __future__ import annotations

import random

import netaddr
import pytest
from crowbar_network import addressing

from crowbar_core import BadInput


@pytest.mark.parametrize(
    "first, last, size, subnet",
    [
        ("192.168.124.10/24", "192.168.124.20/24", 11, "192.168.124.0/24"),
        ("10.0.0.1/30", "10.0.0.2/30", 2, "10.0.0.0/30"),
        ("10.0.0.5/8", "10.255.255.254/8", (1 << 24) - 6, "10.0.0.0/8"),
        ("fd00::10/64", "fd00::10/64", 1, "fd00::/64"),
        ("fd00::1/64", "fd00::ffff:ffff:ffff:ffff/64", (1 << 64) - 1, "fd00::/64"),
    ],
)
def test_a_range_is_what_it_says(first: str, last: str, size: int, subnet: str) -> None:
    made = addressing.span(first, last)
    assert (made.size, str(made.subnet)) == (size, subnet)
    assert made.first in made
    assert made.last in made


@pytest.mark.parametrize(
    "first, last, field, said",
    [
        (
            "192.168.124.10",
            "192.168.124.20/24",
            "first",
            "lacks the length of its prefix: write it as 192.168",
        ),
        ("fd00::1", "fd00::2/64", "first", "write it as fd00::1/64"),
        ("192.168.124.10/24", "192.168.124.20/25", "last", "different prefixes"),
        ("192.168.124.10/24", "192.168.125.20/24", "last", "outside of 192.168.124.0/24"),
        ("192.168.124.20/24", "192.168.124.10/24", "last", "is before 192.168.124.20/24: exchange them"),
        ("192.168.124.0/24", "192.168.124.10/24", "first", "the first that a machine can have is 192.168.124.1."),
        ("192.168.124.1/24", "192.168.124.255/24", "last", "the last that a machine can have is 192.168.124.254."),
        ("fd00::/64", "fd00::9/64", "first", "the first that a machine can have is fd00::1."),
        ("192.168.124.10/24", "fd00::9/64", "last", "is IPv6 and 192.168.124.10/24 IPv4"),
        ("10.0.0.1/0", "10.0.0.2/0", "first", "no room for machines; use /1 to /30"),
        ("10.0.0.1/31", "10.0.0.2/31", "first", "no room for machines"),
        ("10.0.0.1/32", "10.0.0.1/32", "first", "no room for machines"),
        ("fd00::1/127", "fd00::1/127", "first", "use /1 to /126"),
        ("010.0.0.1/8", "10.0.0.2/8", "first", "may be read as octal: leave out the zero"),
        ("10.0.0.1/024", "10.0.0.2/24", "first", "is a number up to 32"),
        ("10.0.0.1/33", "10.0.0.2/33", "first", "is a number up to 32"),
        ("10.0.0.1/-1", "10.0.0.2/24", "first", "is a number up to 32"),
        ("10.0.0.1/\u0662\u0664", "10.0.0.2/24", "first", "is a number up to 32"),
        ("10.0.0/24", "10.0.0.2/24", "first", "is not an IP address"),
        ("224.0.0.1/24", "224.0.0.2/24", "first", "no address that a machine can have"),
        ("127.0.0.1/8", "127.0.0.2/8", "first", "no address that a machine can have"),
        ("fe80::1%eth0/64", "fe80::2/64", "first", "leave out what is behind %"),
        ("::ffff:10.0.0.1/112", "::ffff:10.0.0.2/112", "first", "leave out"),
        ("10.0.0.1/24; reboot", "10.0.0.2/24", "first", "is a number up to 32"),
        ("", "", "first", "is not an IP address"),
    ],
)
def test_a_range_that_cannot_be_says_which_end_and_why(first: str, last: str, field: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        addressing.span(first, last)
    assert said in refused.value.detail
    assert refused.value.errors[0].pointer == f"/{field}"


def test_ranges_meet_when_they_share_an_address() -> None:
    one = addressing.span("10.0.0.10/24", "10.0.0.20/24")
    assert one.meets(addressing.span("10.0.0.20/24", "10.0.0.30/24"))
    assert not one.meets(addressing.span("10.0.0.21/24", "10.0.0.30/24"))
    assert not one.meets(addressing.span("fd00::a/64", "fd00::f/64"))


@pytest.mark.parametrize(
    "address, said",
    [
        ("10.0.1.1/24", "is in no subnet of the network, which has 10.0.0.0/24: give it"),
        ("10.0.0.1/16", "so its prefix is /24"),
        ("10.0.0.255/24", "broadcast"),
        ("10.0.0.0/24", "address of the subnet"),
        ("fd01::1/64", "is in no subnet"),
    ],
)
def test_a_router_is_in_the_subnet_of_a_range(address: str, said: str) -> None:
    spans = [addressing.span("10.0.0.10/24", "10.0.0.20/24"), addressing.span("fd00::10/64", "fd00::20/64")]
    assert addressing.router("10.0.0.1/24", spans) == (netaddr.IPAddress("10.0.0.1"), 24)
    with pytest.raises(BadInput) as refused:
        addressing.router(address, spans)
    assert said in refused.value.detail


def test_an_installations_prefix_begins_with_fd_and_has_its_forty_bits() -> None:
    assert str(addressing.ula_prefix(0)) == "fd00::/48"
    assert str(addressing.ula_prefix(0x123456789A)) == "fd12:3456:789a::/48"
    assert str(addressing.ula_subnet(addressing.ula_prefix(0x123456789A), 0xBEEF)) == "fd12:3456:789a:beef::/64"
    for wrong in (-1, 1 << 40):
        with pytest.raises(ValueError, match="40 bits"):
            addressing.ula_prefix(wrong)
    with pytest.raises(ValueError, match="65536"):
        addressing.ula_subnet(addressing.ula_prefix(1), 1 << 16)


def test_the_interface_id_is_the_end_of_the_md5_of_the_name() -> None:
    # printf %s node-1.example.com | md5sum
    assert f"{addressing.id_of_name('node-1.example.com'):016x}" == "194b85084410576e"
    prefix = netaddr.IPNetwork("fd12:3456:789a:1::/64")
    address = addressing.v6_address(prefix, addressing.id_of_name("node-1.example.com"))
    assert address in prefix


def test_stable_ids_differ_by_all_that_they_are_made_of_and_are_never_reserved() -> None:
    prefix = netaddr.IPNetwork("fd00::/64")
    base = {"interface": "bond0", "fqdn": "a.b", "counter": 0, "secret": b"s"}
    one = addressing.stable_id(prefix, **base)  # type: ignore[arg-type]
    assert one == addressing.stable_id(prefix, **base)  # type: ignore[arg-type]
    others = [
        addressing.stable_id(netaddr.IPNetwork("fd01::/64"), **base),  # type: ignore[arg-type]
        *(
            addressing.stable_id(prefix, **{**base, key: value})  # type: ignore[arg-type]
            for key, value in (("interface", "bond1"), ("fqdn", "a.c"), ("counter", 1), ("secret", b"t"))
        ),
    ]
    assert len({one, *others}) == 6
    for reserved in (0, 0x02005EFFFE005212, 0xFDFFFFFFFFFFFF80, 0xFDFFFFFFFFFFFFFF):
        assert addressing.is_reserved(reserved)
    assert not addressing.is_reserved(one)


@pytest.mark.parametrize(
    "text", ["fd00::/48", "fd00::1/64", "ff02::/64", "fe80::/64", "::/64", "10.0.0.0/24", "auto", ""]
)
def test_what_is_no_prefix_for_a_network_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        addressing.parse_v6prefix(text)
    assert refused.value.errors[0].pointer == "/v6prefix"


def test_keys_sort_as_addresses_do() -> None:
    chance = random.Random(7)
    found = [netaddr.IPAddress(chance.getrandbits(32), version=4) for _ in range(200)]
    found += [netaddr.IPAddress(chance.getrandbits(128), version=6) for _ in range(200)]
    keys = sorted(map(addressing.key_of, found))
    assert list(map(addressing.of_key, keys)) == sorted(found)
