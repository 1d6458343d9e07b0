"""What nodes are called: names, filters, claims and who has them; tables of cases."""

from __future__ import annotations

import random
from typing import Any

import pytest
from crowbar_dns.filters import Address, Filter, Host, check_template, conditions
from crowbar_dns.names import Record, domain_fault, host_name_fault, record_fault, reverse_name, reverse_zones, zone_of
from crowbar_dns.naming import Claim, claims_of, settle

from crowbar_core import BadInput

NAMES = {"web1.example.org": "", "a.b": "", "1.example.org": "", "xn--bcher-kva.example": "", "": "empty",
         "web1": "no domain", "web1.example.org.": "ends with a dot", "web_1.example.org": "'web_1'",
         "-web.example.org": "'-web'", "web..org": "two dots", "web.example.7": "7, is a number",
         f"{'a' * 63}.org": "", f"{'a' * 64}.org": "64 characters", f"{'a.' * 126}ab": "254 characters",
         "wéb.org": "'wéb'", "$(reboot).org": "'$(reboot)'", "a\n.org": "other characters"}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_host_name_is_one_or_it_is_said_why_not(name: str) -> None:
    said = host_name_fault(name)
    assert (NAMES[name] in said) if NAMES[name] else said == "", said


def test_zones_may_have_slashes_of_no_kind_and_underscores() -> None:
    assert domain_fault("_tcp.example.org") == domain_fault("0.0.10.in-addr.arpa") == ""
    for bad in ("Example.org", "example.org.", "a/b.org", "../x", 'a".org', ""):
        assert domain_fault(bad), bad


REVERSE = {
    ("10.0.5.0/24",): ["5.0.10.in-addr.arpa"],
    ("10.0.5.64/26", "10.0.5.0/26"): ["5.0.10.in-addr.arpa"],
    ("10.0.4.0/23",): ["4.0.10.in-addr.arpa", "5.0.10.in-addr.arpa"],
    ("10.77.0.0/16",): ["77.10.in-addr.arpa"],
    ("10.0.0.0/8",): ["10.in-addr.arpa"],
    ("fd00:77::/64",): ["0.0.0.0.0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa"],
    ("fd00:77::/62",): [f"{n}.0.0.0.0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa" for n in "0123"],
}


@pytest.mark.parametrize("networks", REVERSE)
def test_reverse_zones_end_at_whole_parts_of_a_name(networks: tuple[str, ...]) -> None:
    assert reverse_zones(networks) == REVERSE[networks]


def test_a_name_lies_in_the_longest_zone_that_it_ends_with() -> None:
    zones = {"example.org", "rack.example.org", "5.0.10.in-addr.arpa"}
    assert zone_of("a.rack.example.org", zones) == "rack.example.org"
    assert zone_of("rack.example.org", zones) == "rack.example.org"
    assert zone_of("a.myrack.example.org", zones) == "example.org"
    assert zone_of(reverse_name("10.0.5.9"), zones) == "5.0.10.in-addr.arpa"
    assert zone_of("example.com", zones) is None
    labels = ("a", "b", "aa", "example")
    chance = random.Random(5)

    def some(most: int) -> str:
        return ".".join(chance.choices(labels, k=chance.randint(1, most)))

    for _ in range(2000):
        name, zones = some(5), {some(3) for _ in range(chance.randrange(6))}
        ends = [".".join(name.split(".")[at:]) for at in range(name.count(".") + 1)]
        assert zone_of(name, zones) == next((one for one in ends if one in zones), None), (name, zones)


RECORDS = {
    ("web.example.org", "A", "10.0.0.1"): "",
    ("web.example.org", "A", "fd00::1"): "no IPv4 address",
    ("web.example.org", "AAAA", "fd00::1"): "",
    ("_http._tcp.example.org", "SRV", "0 5 80 web.example.org"): "",
    ("_http._tcp.example.org", "SRV", "0 5 80000 web.example.org"): "not a priority",
    ("_http._tcp.example.org", "SRV", "0 5 80 web_1.example.org"): "no name it can lead to",
    ("www.example.org", "CNAME", "web.example.org"): "",
    ("www.example.org", "CNAME", "web example"): "no name it can lead to",
    ("www.example.org", "TXT", 'says "hello" \\ '): "",
    ("www.example.org", "TXT", "a\nb"): "plain characters",
    ("www.example.org", "TXT", "x" * 2001): "plain characters",
    ("www.example.org", "MX", "10 mail.example.org"): "none of A",
    ("www", "TXT", "x"): "no domain",
}  # fmt: skip


@pytest.mark.parametrize("case", RECORDS, ids=lambda case: " ".join(case)[:40])
def test_a_record_can_be_or_it_is_said_why_not(case: tuple[str, str, str]) -> None:
    said = record_fault(Record(*case))
    assert (RECORDS[case] in said) if RECORDS[case] else said == "", said


WEB1 = Host(
    id=1,
    name="web1.example.org",
    deployment="shop",
    roles=frozenset({"web"}),
    attributes={"rack": "r7", "bios": {"vendor": "x"}},
)
WEB2 = Host(id=2, name="web2.example.org", deployment="system")
ADMIN = Address(node_id=1, ip="10.0.5.9", network="admin", category="admin", range="host")
STORE = Address(node_id=1, ip="fd00:77::9", network="store", category="storage", range="v6")
MATCHERS: dict[str, tuple[bool, bool]] = {
    "": (True, True),
    'network.category == "admin"': (True, False),
    'net.category == "admin"': (True, False),
    'network.name != "admin"': (False, True),
    'range.name == "v6" and network.name == "store"': (False, True),
    'node.role == "web"': (True, True),
    'node.role != "web"': (False, False),
    'deployment.name == "shop" and node.name == "web1.example.org"': (True, True),
    'node.attribute["rack"] == "r7"': (True, True),
    'node.attribute["rack"]!="r7"': (False, False),
    'node.attribute["bios/vendor"] == "x"': (True, True),
    'node.attribute["rack/vendor"] == ""': (True, True),
}


@pytest.mark.parametrize("matcher", MATCHERS)
def test_a_matcher_chooses_addresses(matcher: str) -> None:
    one = Filter(id=1, name="f", matcher=matcher, template="{{node.name}}")
    assert (one.matches(WEB1, ADMIN), one.matches(WEB1, STORE)) == MATCHERS[matcher]


BAD_MATCHERS = {
    "admin": "is no condition",
    'network.colour == "red"': "nothing to ask for",
    'node.attribute == "x"': "Write node.attribute",
    'network.name["x"] == "x"': "Write node.attribute",
    'network.name == "a" or network.name == "b"': "joined with the word and",
    'network.name == "a" and ': "is no condition",
    "network.name == \"a'": "is no condition",
}


@pytest.mark.parametrize("matcher", BAD_MATCHERS)
def test_a_matcher_that_asks_for_nothing_is_refused(matcher: str) -> None:
    with pytest.raises(BadInput, match=BAD_MATCHERS[matcher]) as refused:
        conditions(matcher)
    assert refused.value.errors[0].pointer == "/matcher"


@pytest.mark.parametrize(
    "template,said",
    [("{{node.nam}}", "stands for nothing"), ("web_{{node.name}}", "No host name has '_'"), ("", "before and after"),
     ("{{node.name}}.", "before and after"), ("a..b", "before and after"), ("{{7*7}}", "No host name has '{'"),
     ("a b", "No host name has ' '")],
)  # fmt: skip
def test_a_template_that_makes_no_host_name_is_refused(template: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        check_template(template)


def made(
    *filters: tuple[str, str], hosts: Any = (WEB1, WEB2), addresses: Any = (ADMIN, STORE)
) -> list[tuple[str, ...]]:
    known = [Filter(id=n, name=f"f{n}", matcher=m, template=t, priority=n) for n, (m, t) in enumerate(filters, 1)]
    settled = settle(claims_of(hosts, addresses, known), lambda key: f"web{key}")
    return [(one.record.name, one.record.type, one.record.value, one.problem) for one in settled]


def test_every_filter_that_matches_names_an_address_and_the_first_names_it_in_reverse() -> None:
    found = made(
        ('network.category == "admin"', "{{node.name}}"),
        ("", "{{node.shortname}}.{{network.name}}.{{range.name}}.{{deployment.name}}.{{node.domain}}"),
    )
    assert found == [
        ("web1.example.org", "A", "10.0.5.9", ""),
        ("9.5.0.10.in-addr.arpa", "PTR", "web1.example.org", ""),
        ("web1.admin.host.shop.example.org", "A", "10.0.5.9", ""),
        ("web1.store.v6.shop.example.org", "AAAA", "fd00:77::9", ""),
        (reverse_name("fd00:77::9"), "PTR", "web1.store.v6.shop.example.org", ""),
    ]


def test_of_two_nodes_that_want_one_name_the_first_has_it_and_the_other_is_told_who() -> None:
    second = Address(node_id=2, ip="10.0.5.10", network="admin")
    found = made(("", "www.{{node.domain}}"), addresses=[second, ADMIN])
    assert found == [
        ("www.example.org", "A", "10.0.5.9", ""),
        ("9.5.0.10.in-addr.arpa", "PTR", "www.example.org", ""),
        ("www.example.org", "A", "10.0.5.10", "www.example.org is node web1's already: node web2 cannot have it, too"),
        ("10.5.0.10.in-addr.arpa", "PTR", "www.example.org",
         "www.example.org is node web1's: it does not lead back to web2"),
    ]  # fmt: skip


def test_a_name_that_is_none_is_said_on_its_filter_and_node() -> None:
    [(name, kind, _, said)] = made(("", "{{node.shortname}}." + "x" * 64), addresses=[ADMIN])
    assert kind == "A"
    assert said.startswith(f"filter f1 calls node web1.example.org '{name}', which is no host name: its part xxx")


def test_further_records_come_by_attribute_and_beside_an_alias_there_is_nothing() -> None:
    records = [
        {"name": "www.example.org.", "type": "cname", "value": "WEB1.example.org."},
        {"name": "web1.example.org", "type": "CNAME", "value": "other.example.org"},
        {"name": "_ssh._tcp.example.org", "type": "SRV", "value": "0  0 22 web1.example.org", "ttl": 60},
        {"name": "bad_name.example.org", "type": "A", "value": "10.0.0.1"},
    ]
    host = Host(id=1, name="web1.example.org", deployment="d", attributes={"dns-records": records})
    found = made(("", "{{node.name}}"), hosts=[host], addresses=[ADMIN])
    assert found[2:] == [
        ("www.example.org", "CNAME", "web1.example.org", ""),
        ("web1.example.org", "CNAME", "other.example.org", "web1.example.org cannot be an alias: it has other records"),
        ("_ssh._tcp.example.org", "SRV", "0 0 22 web1.example.org", ""),
        ("bad_name.example.org", "A", "10.0.0.1",
         "node web1.example.org asks for bad_name.example.org A, which cannot be: its name bad_name.example.org is "
         "none: its part 'bad_name' has other characters than letters, digits and inner hyphens"),
    ]  # fmt: skip


def test_what_nobody_else_wants_is_nobodys_problem() -> None:
    claim = Claim(node_id=2, filter_id=1, record=Record("a.b", "A", "10.0.0.1"))
    assert settle([claim], str) == [claim]
