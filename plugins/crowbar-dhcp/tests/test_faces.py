"""What nodes are told, on pages, over REST and on the command line; and what is said where nothing can be."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import crowbar_dhcp
import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_dhcp import services
from crowbar_dhcp.drivers.kea import Kea
from crowbar_dhcp.tables import foreign
from sqlalchemy import insert

from crowbar_core import Barclamp, Json, NodeView, hookimpl
from crowbar_core.testing import FakeClock, Testbed, check_barclamp

API = "/api/v2"
HOW_TO = Path(__file__).parents[3].joinpath("docs/how-to/dhcp.md").read_text(encoding="utf-8")
MAC, PHANTOM = "52:54:00:00:00:01", "system-phantom.internal.local"


class Files:
    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="files", help="Boot files.")

    @hookimpl
    def node_boot(self, node: NodeView) -> Mapping[str, Json]:
        return {"dhcp4": {"ipxe": "http://10.0.0.1/<a>"}} if node.bootenv == "debian-13" else {}


@pytest.fixture
def bed(fake_clock: FakeClock) -> Iterator[Testbed]:
    with Testbed(crowbar_jig_script, crowbar_network, crowbar_dhcp, Files(), clock=fake_clock) as bed:
        made = bed.web("operator").post(f"{API}/networks", json={
            "name": "admin", "category": "admin", "conduit": "?1g1", "ranges": [
                {"name": "host", "first": "10.0.0.10/24", "last": "10.0.0.99/24"},
                {"name": "dhcp", "first": "10.0.0.100/24", "last": "10.0.0.199/24"},
            ],
        })  # fmt: skip
        assert made.status_code == 201, made.json
        bed.bind("dhcp-database")
        bed.add_node("n1", hint={"hint-admin-macs": [MAC], "hint-admin-v4addr": "10.0.0.11/24"}, bootenv="debian-13")
        bed.bind("network-admin", "n1")
        bed.add_node("n2")
        bed.commit()
        bed.anneal_until_quiet()
        yield bed


def test_nothing_is_wrong_with_the_barclamp() -> None:
    assert check_barclamp(crowbar_dhcp) == []


def test_a_node_is_known_by_the_cards_that_its_attribute_names(bed: Testbed) -> None:
    lines = re.findall(r"^crowbar (attribs .*hint-admin-macs.*)$", HOW_TO, re.MULTILINE)
    assert [line.split()[1] for line in lines] == ["set", "explain"]
    for line in lines:
        done = bed.cli(*shlex.split(line.replace("web1.rack2.example.com", "n2.example.test")), user="operator")
        assert done.exit_code == 0, done.stderr
    assert "52:54:00:12:34:57" in done.stdout
    named = ["52:54:00:12:34:56", "52:54:00:12:34:57"]
    assert bed.value("hint-admin-macs", "n2") == named
    bed.anneal_until_quiet()
    assert bed.web().get(f"{API}/dhcp/n2.example.test").json["mac_addrs"] == named
    for wrong in ('["52:54:00"]', '["01:00:5e:00:00:01"]', '"52:54:00:12:34:56"'):
        refused = bed.cli("attribs", "set", "hint-admin-macs", wrong, "--node", "n2.example.test", "--now")
        assert refused.exit_code != 0, wrong
        assert "hint-admin-macs" in refused.stderr
    assert bed.value("hint-admin-macs", "n2") == named


def test_what_a_node_is_told_and_why_is_shown_everywhere(bed: Testbed) -> None:
    web = bed.web()
    one = web.get(f"{API}/dhcp/n1.example.test").json
    why = "Its boot environment is debian-13, and the barclamp files says that it is told these files."
    assert (one["mac_addrs"], one["v4addr"], one["bootenv"], one["why"]) == ([MAC], "10.0.0.11", "debian-13", why)
    assert one["dhcp4"] == {}
    assert one["problem"].startswith("ipxe boots nothing over DHCPv4: 'http://10.0.0.1/<a>' is no URL")
    two = web.get(f"{API}/dhcp/n2.example.test").json
    assert two["why"].startswith("It is not known by any MAC")
    assert [each["name"] for each in web.get(f"{API}/dhcp").json] == ["n1.example.test", "n2.example.test"]
    assert web.get(f"{API}/dhcp_leases").json == web.get(f"{API}/dhcp_servers").json == []
    assert why in web.get("/nodes/n1.example.test").text
    assert "http://10.0.0.1/&lt;a&gt;" in web.get(f"/dhcp/{one['id']}").text
    assert "There is no server yet. Bind dhcp-server" in web.get("/dhcp").text
    assert "No machine has an address" in web.get("/dhcp-leases").text
    listed = json.loads(bed.cli("dhcp", "list", "--format", "json").stdout)
    assert [each["name"] for each in listed] == ["n1.example.test", "n2.example.test"]
    for words in (("dhcp-leases", "list"), ("dhcp-servers", "list"), ("dhcp-servers", "compare")):
        assert bed.cli(*words, user="operator").exit_code == 0
    person = bed.browser("operator")
    assert "What the servers have is compared." in person.send("/dhcp/compare")


def test_without_a_server_the_database_says_so(bed: Testbed) -> None:
    said = "There is no DHCP server to tell yet: bind dhcp-server to a node, or dhcp-service"
    assert any(said in line for line in bed.log("dhcp-database", PHANTOM))
    assert said in bed.web().get("/").text
    assert bed.node("n1").served_bootenv == ""


def test_without_names_the_database_says_what_machines_are_not_told(bed: Testbed) -> None:
    def told() -> str:
        bed.anneal_until_quiet()
        return str(bed.log("dhcp-database", PHANTOM))

    assert "Machines are told no DNS servers" in told()
    bed.set("dhcp-dns-servers", ["10.0.0.53"], node=PHANTOM, role="dhcp-database")
    assert "Machines are told no DNS servers" not in told()
    bed.set("dhcp-dns-servers", [], node=PHANTOM, role="dhcp-database")
    assert "Machines are told no DNS servers" in told()


def test_there_is_one_database_for_all_deployments(bed: Testbed) -> None:
    bed.add_deployment("d1")
    with pytest.raises(Exception, match="Role dhcp-database is bound in deployment system already"):
        bed.bind("dhcp-database", deployment="d1")


WRONG = {
    "no url": ({}, "set dhcp-service-url"),
    "an unknown driver": (
        {"url": "http://127.0.0.1:1/", "driver": "isc"},
        "There is no DHCP driver isc; there are dnsmasq, kea.",
    ),
    "another database": (
        {"url": "http://127.0.0.1:1/", "database": "mysql://a@b/c"},
        "dhcp-service-database is no URL as postgresql://kea:password@10.0.0.5/kea.",
    ),
    "nobody there": ({"url": "http://127.0.0.1:1/"}, "Kea at http://127.0.0.1:1/ does not answer: Connection refused."),
    "an interface alone": ({"url": "http://127.0.0.1:1/", "interfaces": ["eth0"]}, "names each with an address"),
}


def test_a_server_of_ones_own_says_what_is_wrong_with_it(bed: Testbed, fake_clock: FakeClock) -> None:
    bed.bind("dhcp-service")
    for values, said in WRONG.values():
        for name, value in {"driver": "kea", "interfaces": [], "database": "", **values}.items():
            bed.set(f"dhcp-service-{name}", value, node=PHANTOM, role="dhcp-service")
        bed.commit()
        fake_clock.advance(86400)  # it is tried for ever, ever more seldom
        bed.anneal_until_quiet()
        assert said in bed.runs("dhcp-service", PHANTOM)[-1].exit_reason


def test_what_a_server_is_told_with_is_sealed_and_reaches_its_driver(bed: Testbed) -> None:
    bed.bind("dhcp-service")
    [noderole] = bed.node_roles(role="dhcp-service")
    secrets = {"secret": "the-password", "database": "postgresql://kea:s3cret@127.0.0.1/kea"}
    given: dict[str, Any] = {"name": "mine", "driver": "kea", "url": "http://127.0.0.1:1/", "options": {}}
    with bed.change() as change:
        assert services.register(change, noderole.id, **secrets, **given)
        assert not services.register(change, noderole.id, **secrets, **given)
        [kept] = services.all_services(change.session)
        assert "password" not in kept.secret
        assert "s3cret" not in kept.database
        [one] = services.ready(change)
    server = cast(Kea, one.connect())._server
    assert (server.password, server.database) == tuple(secrets.values())


def test_a_foreign_server_is_a_problem_unless_others_are_to_serve(bed: Testbed, fake_clock: FakeClock) -> None:
    heard = {"card": "eth0", "family": 4, "address": "10.0.0.66", "mac": "52:54:00:00:00:66", "network": "admin"}
    with bed.change() as change:
        for name in ("n1.example.test", "n2.example.test"):
            change.session.execute(insert(foreign).values(node_id=bed.node(name).id, since=change.now, **heard))
    told = f"in network admin since {fake_clock.now:%Y-%m-%d %H:%M:%S} UTC: 10.0.0.66 (52:54:00:00:00:66)."
    assert bed.web().get("/").text.count(told) == 1
    assert told in bed.web().get("/dhcp").text
    bed.set("dhcp-mode", "none", node=PHANTOM, role="dhcp-database")
    bed.commit()
    bed.anneal_until_quiet()
    assert told not in bed.web().get("/").text
    assert bed.web().get(f"{API}/dhcp/n1.example.test").json["why"].startswith("Others serve its network (dhcp none)")
    assert [one["node"] for one in bed.web().get(f"{API}/dhcp_foreign_servers").json] == [
        "n1.example.test", "n2.example.test",
    ]  # fmt: skip


def test_who_serves_a_network_is_said_of_it_everywhere_and_followed(bed: Testbed, fake_clock: FakeClock) -> None:
    web, operator = bed.web(), bed.web("operator")

    def settle() -> None:
        fake_clock.advance(1)
        bed.anneal_until_quiet()

    def told() -> list[str]:
        settle()
        return web.get("/dhcp").text.partition("<h2>Networks")[2].partition("</section>")[0].split("<td>")[1::2]

    assert [one.partition("<")[0] for one in told()] == ["Crowbar", "Crowbar"]  # of IPv4, and of its own prefix of IPv6
    bed.bind("dhcp-service")
    [noderole] = bed.node_roles(role="dhcp-service")
    with bed.change() as change:
        services.register(
            change, noderole.id, secret="", name="mine", driver="kea", url="http://127.0.0.1:1/", options={}
        )
    cli = bed.cli("networks", "update", "admin", "--dhcp", "proxy", user="operator")
    assert cli.exit_code == 0, cli.output
    assert web.get(f"{API}/networks/admin").json["dhcp"] == "proxy"
    assert [one.partition("<")[0] for one in told()] == ["others (proxy)", "others (proxy)"]
    said = "others give its addresses, and no server here can tell machines beside them what to boot: Kea cannot. Set"
    assert said in web.get("/dhcp").text
    person = bed.browser("operator")
    network = web.get(f"{API}/networks/admin").json["id"]
    assert "It is changed." in person.send(f"/networks/{network}/change", dhcp="none")
    bed.change_node("n2", bootenv="local")
    bed.change_node("n1", bootenv="discovery")  # no barclamp knows it, and strangers boot nothing, either
    assert [one.partition("<")[0] for one in told()] == ["others (none)", "others (none)"]
    assert bed.node("n1").served_bootenv == "local"
    assert "others (none)" in web.get("/dhcp").text
    assert "no DHCP server to tell yet" not in web.get("/").text
    assert operator.patch(f"{API}/networks/admin", json={"dhcp": ""}).status_code == 200
    bed.set("dhcp-mode", "proxy", node=PHANTOM, role="dhcp-database")
    bed.commit()
    assert [one.partition("<")[0] for one in told()] == ["others (proxy)", "others (proxy)"]
    assert "--dhcp" in bed.cli("networks", "update", "--help").stdout


WRONG_WAYS = {
    "beside others without IPv4": ({"dhcp": "proxy", "v6prefix": "fd00:5::/64"}, "/dhcp", "only DHCP of IPv4"),
    "no such way": ({"dhcp": "relay"}, "/dhcp", ""),
}


@pytest.mark.parametrize("what", WRONG_WAYS)
def test_a_way_to_serve_a_network_that_cannot_be_is_refused_at_its_field(bed: Testbed, what: str) -> None:
    values, pointer, said = WRONG_WAYS[what]
    web = bed.web("operator")
    body = {"name": "six", "category": "admin", "conduit": "1g1", **values}
    answer = web.post(f"{API}/networks", json=body)
    assert answer.status_code == 422
    [error] = answer.json["errors"]
    assert error["pointer"] == pointer
    assert said in error["detail"]
    assert web.post(f"{API}/networks", json={**body, "dhcp": "own", "v6prefix": "fd00:5::/64"}).status_code == 201
    assert web.patch(f"{API}/networks/six", json={"dhcp": values["dhcp"]}).status_code == 422


def test_without_networks_it_says_so() -> None:
    with Testbed(crowbar_jig_script, crowbar_dhcp) as bed:
        bed.bind("dhcp-database")
        bed.commit()
        bed.anneal_until_quiet()
        said = "No barclamp keeps networks (crowbar-network is not installed): there is nothing to serve."
        assert said in bed.web().get("/").text
        assert said in bed.web().get("/dhcp").text
