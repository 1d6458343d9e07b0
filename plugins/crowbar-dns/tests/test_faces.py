"""Names by REST, commands, as a file and on pages; and without networks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import crowbar_dns
import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_dns import database
from crowbar_dns.listings import NO_ZONE

from crowbar_core.testing import FakeJig, Testbed, check_barclamp

API = "/api/v2"
PREVIEW = f"{API}/dns_name_filters/preview"


@pytest.fixture(scope="module")
def bed() -> Iterator[Testbed]:
    with Testbed(crowbar_jig_script, crowbar_network, crowbar_dns, jigs={"network": FakeJig()}) as made:
        ranges = [{"name": "host", "first": "10.50.0.1/24", "last": "10.50.0.99/24"}]
        body = {"name": "admin", "category": "admin", "ranges": ranges, "v6prefix": "fd00:50::/64"}
        assert made.web("operator").post(f"{API}/networks", json=body).status_code == 201
        for number in (1, 2):
            made.add_node(f"n{number}")
            made.bind("network-admin", f"n{number}")
        made.bind("dns-database")
        made.commit()
        made.anneal_until_quiet()
        yield made


def renewed(bed: Testbed) -> None:
    """As a run of dns-database begins; there is no server here to tell."""
    bed.anneal_until_quiet()
    with bed.change() as change:
        database.entries.renew(change)


def shown(bed: Testbed, *words: str) -> Any:
    answer = bed.cli(*words, "--format", "json")
    assert answer.exit_code == 0, answer.stderr
    return json.loads(answer.stdout)


def test_nothing_is_wrong_with_the_barclamp() -> None:
    assert check_barclamp(crowbar_dns) == []


def test_the_first_run_waits_for_a_server_and_says_so(bed: Testbed) -> None:
    said = bed.why("dns-database", "system-phantom.internal.local")
    assert "There is no DNS server to tell yet: bind dns-server to a node, or dns-service for one of your own" in said


def test_entries_are_listed_by_name_node_and_type_with_the_fields_of_old(bed: Testbed) -> None:
    renewed(bed)
    web = bed.web("viewer")
    [one] = web.get(f"{API}/dns_name_entries?node=n1.example.test&rr_type=A").json
    assert {name: one[name] for name in ("name", "rr_type", "value", "dns_name_filter", "served", "problem")} == {
        "name": "n1.example.test", "rr_type": "A", "value": "10.50.0.1", "dns_name_filter": "admin", "served": 0,
        "problem": NO_ZONE,
    }  # fmt: skip
    assert len(web.get(f"{API}/nodes/n1.example.test/dns_name_entries").json) == 4
    listed = shown(bed, "dns-name-entries", "list", "--name", "1.0.50.10.in-addr.arpa")
    assert [one["value"] for one in listed] == ["n1.example.test"]
    assert web.get(f"{API}/dns_services").json == []


def test_filters_are_made_changed_and_removed_and_names_follow(bed: Testbed) -> None:
    shown(bed, "dns-name-filters", "create", "short", "--template", "{{node.shortname}}.short.test", "--priority", "70")
    renewed(bed)
    entries = shown(bed, "dns-name-entries", "list", "--where", "dns_name_filter=short", "--sort", "name")
    assert [one["name"] for one in entries] == [f"n{n}.short.test" for n in (1, 1, 2, 2)]
    shown(bed, "dns-name-filters", "update", "short", "--matcher", 'node.name == "n2.example.test"')
    renewed(bed)
    entries = shown(bed, "dns-name-entries", "list", "--where", "dns_name_filter=short")
    assert {one["name"] for one in entries} == {"n2.short.test"}
    assert bed.cli("dns-name-filters", "destroy", "short", "--yes").exit_code == 0
    renewed(bed)
    assert shown(bed, "dns-name-entries", "list", "--name", "n2.short.test") == []


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no host name": ({"template": "{{node.shortname}}_x.test"}, "/template", "No host name has '_' in it"),
    "an unknown word": ({"template": "{{node.colour}}"}, "/template", "stands for nothing"),
    "half a matcher": ({"matcher": "network.name =="}, "/matcher", "is no condition"),
    "a name with a space": ({"name": "a b"}, "/name", ""),
    "an unknown field": ({"colour": "red"}, "/colour", ""),
    "no number": ({"priority": "high"}, "/priority", ""),
}


@pytest.mark.parametrize("case", BAD)
def test_a_filter_that_cannot_be_says_which_field(bed: Testbed, case: str) -> None:
    change, pointer, said = BAD[case]
    body = {"name": "new", "template": "{{node.name}}", **change}
    refused = bed.web("operator").post(f"{API}/dns_name_filters", json=body)
    assert refused.status_code == 422, refused.json
    assert [one["pointer"] for one in refused.json["errors"]] == [pointer]
    assert said in refused.json["detail"] + refused.json["errors"][0]["detail"]


def test_two_filters_of_one_name_are_refused(bed: Testbed) -> None:
    refused = bed.web("operator").post(f"{API}/dns_name_filters", json={"name": "admin", "template": "{{node.name}}"})
    assert refused.status_code == 409
    assert "There is a name filter admin already" in refused.json["detail"]


def test_a_preview_says_what_would_be_named_and_what_would_clash_and_changes_nothing(bed: Testbed) -> None:
    tried = {"template": "www.example.test", "matcher": 'network.name == "admin"'}
    found = bed.web("viewer").post(PREVIEW, json=tried).json
    assert [(one["node"], one["value"], one["problem"]) for one in found if one["rr_type"] == "A"] == [
        ("n1.example.test", "10.50.0.1", ""),
        ("n2.example.test", "10.50.0.2",
         "www.example.test is node n1.example.test's already: node n2.example.test cannot have it, too"),
    ]  # fmt: skip
    assert bed.web("viewer").post(PREVIEW, json={"template": "{{x}}"}).status_code == 422
    renewed(bed)
    assert bed.web("viewer").get(f"{API}/dns_name_entries?name=www.example.test").json == []


def test_further_records_by_attribute_go_with_the_node(bed: Testbed) -> None:
    bed.set("dns-records", [{"name": "WWW.example.test.", "type": "CNAME", "value": "n1.example.test."}], node="n1")
    renewed(bed)
    [one] = shown(bed, "dns-name-entries", "list", "--name", "www.example.test")
    assert (one["rr_type"], one["value"], one["dns_name_filter_id"]) == ("CNAME", "n1.example.test", None)
    bed.set("dns-records", [], node="n1")
    renewed(bed)
    assert shown(bed, "dns-name-entries", "list", "--name", "www.example.test") == []


def test_a_node_cannot_take_names_by_what_it_reports(bed: Testbed) -> None:
    taken = [{"name": "gateway.example.test", "type": "A", "value": "10.50.0.66"}]
    bed.add_node("n3", discovery={"dns-records": taken})
    renewed(bed)
    assert shown(bed, "dns-name-entries", "list", "--name", "gateway.example.test") == []
    bed.delete_node("n3")


def test_who_loses_a_name_gets_it_when_the_other_lets_go(bed: Testbed) -> None:
    made = bed.web("operator").post(f"{API}/dns_name_filters", json={"name": "one", "template": "one.example.test"})
    renewed(bed)
    of = {"name": "one.example.test", "rr_type": "A"}
    entries = bed.web().get(f"{API}/dns_name_entries", query_string=of).json
    assert sorted((one["node"], one["problem"] == NO_ZONE) for one in entries) == [
        ("n1.example.test", True), ("n2.example.test", False),
    ]  # fmt: skip
    assert "one.example.test is node n1.example.test&#39;s already" in bed.web().get("/").text
    assert "cannot have it, too" in bed.web().get("/dns?problems=true").text
    bed.unbind("network-admin", "n1")
    renewed(bed)
    entries = bed.web().get(f"{API}/dns_name_entries", query_string=of).json
    assert [(one["node"], one["problem"]) for one in entries] == [("n2.example.test", NO_ZONE)]
    bed.bind("network-admin", "n1")
    bed.commit()
    bed.web("operator").delete(f"{API}/dns_name_filters/{made.json['id']}")
    renewed(bed)


def test_what_is_exported_makes_the_same_filters_elsewhere(bed: Testbed) -> None:
    answer = bed.cli("export")
    assert answer.exit_code == 0, answer.stderr
    assert 'network.category == "admin"' in answer.stdout
    with Testbed(crowbar_jig_script, crowbar_network, crowbar_dns, jigs={"network": FakeJig()}) as other:
        only = "dns_name_filters:\n- name: store\n  template: 's-{{node.name}}'\n  matcher: ''\n  priority: 60\n"
        made = other.cli("apply", "-", stdin=only)
        assert made.exit_code == 0, made.stderr
        assert [one["name"] for one in shown(other, "dns-name-filters", "list")] == ["admin", "store"]


def test_pages_show_zones_records_and_filters_and_make_and_try_them(bed: Testbed) -> None:
    renewed(bed)
    browser = bed.browser("operator")
    page = browser.open("/dns")
    assert "There is no server yet. Bind dns-server to a node" in page
    assert "n1.example.test" in page
    assert "<h2>Names</h2>" in browser.open("/nodes/n1.example.test")
    browser.open("/dns-name-filters")
    page = browser.send(
        "/dns-name-filters", name="paged", matcher="", template="p-{{node.name}}", priority="90", ttl="60"
    )
    assert "The filter paged is made; names follow." in page
    page = browser.open("/dns-name-filters/paged")
    assert "It makes 4 records." in page or "It makes 8 records." in page
    page = browser.open("/dns-name-filters/paged?template=www.example.test&matcher=")
    assert "cannot be." in page
    assert "stands for nothing" in browser.open("/dns-name-filters/paged?template={{x}}")
    [one] = [one for one in bed.web().get(f"{API}/dns_name_filters").json if one["name"] == "paged"]
    browser.open("/dns-name-filters/paged")
    assert "taken from the DNS servers" in browser.send(f"/dns-name-filters/{one['id']}/remove")  # it asks
    page = browser.send(f"/dns-name-filters/{one['id']}/remove", typed=one["name"])
    assert "The filter is gone, and the names that it gave." in page


def test_without_networks_admin_addresses_have_names_and_it_is_said_what_is_missing() -> None:
    with Testbed(crowbar_jig_script, crowbar_dns) as bed:
        bed.add_node("n1", hint={"hint-admin-v4addr": "10.50.0.1/24", "hint-admin-v6addr": "fd00:50::1/64"})
        bed.bind("dns-database")
        bed.commit()
        renewed(bed)
        found = bed.web().get(f"{API}/dns_name_entries?sort=name").json
        assert {(one["name"], one["value"]) for one in found if one["rr_type"] != "PTR"} == {
            ("n1.example.test", "10.50.0.1"), ("n1.example.test", "fd00:50::1"),
        }  # fmt: skip
        assert "crowbar-network is not installed: only the admin addresses of nodes" in bed.web().get("/").text
        assert "crowbar-network is not installed" in bed.web().get("/dns").text
