"""A change of a network waits beside what counts until it is committed: on both databases, by every way there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import crowbar_jig_script
import crowbar_network
import pytest

from crowbar_core.testing import FakeJig, PostgresServer, Testbed

API = "/api/v2"
NICS = [
    {"name": f"eth{number}", "mac": f"52:54:00:00:00:0{number}", "path": f"0000:0{number}", "speed": 1000,
     "driver": "e1000", "altnames": []}
    for number in range(3)
]  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def bed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """Nodes n1 and n2 have the network wire, n3 has another."""
    url = f"sqlite:///{tmp_path_factory.mktemp('crowbar')}/crowbar.db"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("crowbar_postgres")
        url = server.create_database()
    jig = FakeJig()
    jig.always({"network": {"nics": NICS, "product": "Rack 7"}}, role="network-nics")
    with Testbed(crowbar_jig_script, crowbar_network, jigs={"network": jig}, database_url=url) as made:
        web = made.web("operator")
        for name, third in (("wire", 1), ("other", 2)):
            body = {
                "name": name, "category": "test", "conduit": f"1g{third}", "router": {"address": f"10.{third}.0.1/24"},
                "ranges": [{"name": "host", "first": f"10.{third}.0.10/24", "last": f"10.{third}.0.99/24"}],
            }  # fmt: skip
            assert web.post(f"{API}/networks", json=body).status_code == 201
        for node, network in (("n1", "wire"), ("n2", "wire"), ("n3", "other")):
            made.add_node(node)
            made.bind(f"network-{network}", node)
        made.commit()
        made.anneal_until_quiet()
        yield made
    if request.param == "postgresql":
        server.drop_database(url)


@pytest.fixture
def web(bed: Testbed) -> Iterator[Any]:
    """Nothing waits before a test, nor after it."""
    client = bed.web("operator")
    yield client
    assert client.put(f"{API}/networks/wire/discard").json["drafts"] == []
    bed.anneal_until_quiet()


def runs(bed: Testbed) -> Counter[str]:
    return Counter({
        one.node.name.partition(".")[0]: len(bed.runs(one.role, one.node.name))
        for one in bed.node_roles() if one.role in ("network-wire", "network-other")
    })  # fmt: skip


def ran(bed: Testbed, before: Counter[str]) -> dict[str, int]:
    """Of which nodes a network's role has run since then, and how often."""
    bed.anneal_until_quiet()
    return dict(runs(bed) - before)


def wire(web: Any) -> Any:
    return web.get(f"{API}/networks/wire").json


def wanted(bed: Testbed) -> Any:
    """What node n1 is given of the network when its role runs."""
    with bed.read() as session:
        [view] = bed.node_roles(role="network-wire", node="n1")
        [config] = crowbar_network.wanted_of([view], session)[view.id]["network"]["wanted-config"]
    return config


def drafted(web: Any) -> list[tuple[Any, ...]]:
    return [(one["of"], one["field"], one["old"], one["new"]) for one in wire(web)["drafts"]]


def lines(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.json
    return [one["text"] for one in answer.json["lines"]]


def test_a_change_of_a_network_that_nodes_have_does_nothing_until_it_is_committed(bed: Testbed, web: Any) -> None:
    before, config = runs(bed), wanted(bed)
    answer = web.patch(f"{API}/networks/wire", json={"vlan": 7, "use_vlan": True, "mtu": 9000, "description": "fast"})
    assert (answer.status_code, answer.json["vlan"], answer.json["description"]) == (200, None, "fast")
    assert drafted(web) == [
        ("network", "mtu", None, 9000), ("network", "use_vlan", None, True), ("network", "vlan", None, 7),
    ]  # fmt: skip
    assert ran(bed, before) == {}
    assert wanted(bed) == config
    web.patch(f"{API}/networks/wire", json={"mtu": None})  # what is as it was waits for nothing
    assert {field for _, field, _, _ in drafted(web)} == {"use_vlan", "vlan"}
    assert web.put(f"{API}/networks/wire/commit").json["vlan"] == 7
    assert drafted(web) == []
    assert ran(bed, before) == {"n1": 1, "n2": 1}
    assert wanted(bed) == {**config, "vlan": 7, "active": True}
    web.patch(f"{API}/networks/wire", json={"vlan": None, "use_vlan": None, "now": True})
    assert ran(bed, before) == {"n1": 2, "n2": 2}
    assert wanted(bed) == config


def test_the_plan_says_for_each_node_what_it_has_and_what_it_will_have(bed: Testbed, web: Any) -> None:
    before = runs(bed)
    web.patch(f"{API}/networks/wire", json={"vlan": 8, "use_vlan": True, "use_bridge": True, "mtu": 1400})
    said = [
        f"{node}.example.test, network wire: interface eth0 -> br-wire over eth0.8 over eth0; MTU as it is -> 1400"
        for node in ("n1", "n2")
    ]
    planned = web.put(f"{API}/networks/wire/commit?dry_run=true")
    assert lines(planned) == said
    assert {(one["node"], one["kind"]) for one in planned.json["steps"]} == {
        ("n1.example.test", "refresh"), ("n2.example.test", "refresh"),
    }  # fmt: skip
    assert lines(web.get(f"{API}/deployments/system/plan")) == said
    assert ran(bed, before) == {}
    assert len(drafted(web)) == 4
    told = bed.cli("networks", "commit", "wire", "--plan").stdout
    assert "network: n1.example.test, network wire: interface eth0 -> br-wire over eth0.8 over eth0" in told


def test_a_deployment_is_committed_with_what_waits_of_its_networks(bed: Testbed, web: Any) -> None:
    before = runs(bed)
    web.patch(f"{API}/networks/wire", json={"mtu": 1450})
    bed.commit()
    assert (wire(web)["mtu"], drafted(web)) == (1450, [])
    assert ran(bed, before) == {"n1": 1, "n2": 1}
    assert bed.cli("networks", "update", "wire", "--mtu", "1500", "--now").exit_code == 0
    assert (wire(web)["mtu"], ran(bed, before)) == (1500, {"n1": 2, "n2": 2})


def test_what_waits_goes_back_with_its_deployment(bed: Testbed, web: Any) -> None:
    [system] = [one for one in web.get(f"{API}/deployments").json if one["name"] == "system"]
    bed.add_deployment("rack")
    bind_in(bed, "rack")
    before = runs(bed)
    assert web.patch(f"{API}/networks/wire", json={"deployment_id": "rack", "mtu": 1450}).status_code == 200
    bed.commit("rack")
    web.patch(f"{API}/networks/wire", json={"mtu": 1400})
    assert web.put(f"{API}/deployments/system/drafts/discard").status_code == 200
    assert drafted(web) == [("network", "mtu", 1450, 1400)], "it is another deployment's"
    assert web.put(f"{API}/deployments/rack/recall").status_code == 200
    assert (drafted(web), wire(web)["mtu"], ran(bed, before)) == ([], 1450, {"n1": 1, "n2": 1})
    web.patch(f"{API}/networks/wire", json={"mtu": 1400})
    assert web.put(f"{API}/deployments/rack/drafts/discard").status_code == 200
    assert drafted(web) == []
    web.patch(f"{API}/networks/wire", json={"deployment_id": system["id"], "mtu": None, "now": True})
    bind_in(bed, None)
    bed.delete_deployment("rack")


def bind_in(bed: Testbed, deployment: str | None) -> None:
    """Both nodes have the network there from now on."""
    for node in ("n1", "n2"):
        bed.unbind("network-wire", node)
    bed.anneal_until_quiet()
    for node in ("n1", "n2"):
        bed.bind("network-wire", node, deployment=deployment)
    bed.commit(deployment or "system")
    bed.anneal_until_quiet()


def test_what_waits_is_thrown_away_with_the_addresses_that_it_had_taken(bed: Testbed, web: Any) -> None:
    before, config = runs(bed), wanted(bed)
    [keep] = web.get(f"{API}/networks/wire/network_routers").json
    [home] = wire(web)["ranges"]
    web.patch(f"{API}/networks/wire", json={"conduit": "1g2"})
    web.patch(f"{API}/network_ranges/{home['id']}", json={"use_bridge": True})
    web.patch(f"{API}/network_routers/{keep['id']}", json={"pref": 3})
    added = web.post(f"{API}/networks/wire/network_routers", json={"address": "10.1.0.50/24"}).json
    assert added["standing"] == "new"
    assert drafted(web) == [
        ("network", "conduit", "1g1", "1g2"), ("range host", "use_bridge", None, True),
        ("router 10.1.0.1", "pref", 65536, 3), ("router 10.1.0.50", "", None, "preference 65536"),
    ]  # fmt: skip
    taken = {"suggestion": "10.1.0.50", "reserved_for": "me"}
    assert "10.1.0.50 is taken by a router" in web.post(f"{API}/networks/wire/allocate_ip", json=taken).json["detail"]
    assert wanted(bed) == config
    assert bed.cli("networks", "discard", "wire").exit_code == 0
    assert drafted(web) == []
    assert [one["id"] for one in web.get(f"{API}/networks/wire/network_routers").json] == [keep["id"]]
    [reserved] = web.post(f"{API}/networks/wire/allocate_ip", json=taken).json
    assert web.delete(f"{API}/network_allocations/{reserved['id']}").status_code == 204
    assert (wanted(bed), ran(bed, before)) == (config, {})


def test_routers_come_and_go_with_the_commit(bed: Testbed, web: Any) -> None:
    before = runs(bed)
    [old] = web.get(f"{API}/networks/wire/network_routers").json
    assert web.delete(f"{API}/network_routers/{old['id']}").status_code == 204
    assert web.post(f"{API}/network_routers", json={"network_id": "wire", "address": "10.1.0.2/24"}).status_code == 201
    assert wire(web)["router"]["address"] == "10.1.0.1/24"
    assert wanted(bed)["routers"] == [["10.1.0.1", 65536]]
    [line, _] = lines(web.put(f"{API}/networks/wire/commit?dry_run=true"))
    assert "routes default via 10.1.0.1 -> default via 10.1.0.2" in line
    assert "routers 10.1.0.1 (preference 65536) -> 10.1.0.2 (preference 65536)" in line
    assert web.post(f"{API}/networks/wire/network_routers", json={"address": "10.1.0.1/24"}).status_code == 201
    assert drafted(web) == [("router 10.1.0.2", "", None, "preference 65536")]  # one that was to go stays after all
    web.delete(f"{API}/network_routers/{old['id']}")
    web.put(f"{API}/networks/wire/commit")
    assert [one["address"] for one in web.get(f"{API}/networks/wire/network_routers").json] == ["10.1.0.2/24"]
    assert wanted(bed)["routers"] == [["10.1.0.2", 65536]]
    assert ran(bed, before) == {"n1": 1, "n2": 1}
    [new] = web.get(f"{API}/networks/wire/network_routers").json
    assert web.delete(f"{API}/network_routers/{new['id']}?now=true").status_code == 204
    body = {"network_id": "wire", "address": "10.1.0.1/24", "now": True}
    assert web.post(f"{API}/network_routers", json=body).status_code == 201
    assert ran(bed, before) == {"n1": 2, "n2": 2}


def test_what_only_together_cannot_be_is_refused_when_it_is_committed(bed: Testbed, web: Any) -> None:
    [home] = wire(web)["ranges"]
    web.patch(f"{API}/network_ranges/{home['id']}", json={"conduit": "1g1"})
    web.patch(f"{API}/networks/wire", json={"conduit": "1g1,1g3", "use_team": True})
    for path in ("networks/wire/commit", "deployments/system/commit"):
        refused = web.put(f"{API}/{path}")
        assert refused.status_code == 409, refused.json
        assert (
            "What waits of network wire cannot be committed: 1g1 is one card; a team has 2 to 8."
            in (refused.json["detail"])
        )
        assert "crowbar networks discard wire" in refused.json["detail"]


def test_small_things_and_networks_that_no_node_has_are_changed_at_once(bed: Testbed, web: Any) -> None:
    before = runs(bed)
    web.patch(f"{API}/networks/wire", json={"group": "racks", "description": "slow"})
    assert (wire(web)["group"], drafted(web)) == ("racks", [])
    more = {"name": "more", "first": "10.1.0.110/24", "last": "10.1.0.120/24"}
    made = web.post(f"{API}/networks/wire/network_ranges", json=more).json
    assert web.delete(f"{API}/network_ranges/{made['id']}").status_code == 204
    assert ran(bed, before) == {}
    web.post(f"{API}/networks", json={"name": "idle", "category": "test", "conduit": "1g1"})
    assert web.patch(f"{API}/networks/idle", json={"conduit": "1g3"}).json["conduit"] == "1g3"
    assert web.delete(f"{API}/networks/idle").status_code == 204


def test_a_file_is_applied_as_drafts_once(bed: Testbed, web: Any) -> None:
    before = runs(bed)
    told = str(bed.cli("export").stdout)
    assert bed.cli("apply", "-", stdin=told).stdout == ""
    [section] = [part for part in told.split("- ") if "name: wire\n" in part and "conduit" in part]
    changed = told.replace(section, section.replace("conduit: 1g1\n", "conduit: 1g2\n"))
    assert "conduit: 1g1 -> 1g2" in bed.cli("apply", "-", stdin=changed).stdout
    assert ("network", "conduit", "1g1", "1g2") in drafted(web)
    assert bed.cli("apply", "-", stdin=changed).stdout == ""
    assert ran(bed, before) == {}


def test_drafts_are_planned_committed_and_discarded_on_pages(bed: Testbed, web: Any) -> None:
    before, person = runs(bed), bed.browser("operator")
    key = wire(web)["id"]
    url = f"/networks/{key}"
    person.open("/networks/wire")
    assert "It is kept as a draft: commit it" in person.send(f"{url}/change", vlan="12", use_vlan="true")
    page = person.open("/networks/wire")
    assert '<h2>Drafts <span class="count">2</span></h2>' in page
    assert '<th scope="row" class="name">network</th><td>VLAN</td>' in page
    assert '<input type="number" name="vlan" value="12"' in page
    assert "Networks that were changed" in person.open("/deployments/1")
    planned = person.send(f"{url}/drafts", rehearse="yes")
    assert "n1.example.test, network wire: interface eth0 -&gt; eth0.12 over eth0" in planned
    assert ran(bed, before) == {}
    assert "Network wire stays as it is." in person.send(f"{url}/drafts", do="discard")
    assert drafted(web) == []
    person.send(f"{url}/change", mtu="1460")
    told = person.send(f"{url}/drafts", do="commit")
    assert "1 change is committed; the nodes that have network wire follow." in told
    assert ran(bed, before) == {"n1": 1, "n2": 1}
    web.patch(f"{API}/networks/wire", json={"mtu": 1500, "now": True})


def test_nodes_whose_conduits_mean_other_cards_by_an_interface_map_are_planned_and_run(bed: Testbed, web: Any) -> None:
    maps, before = f"{API}/interface_maps", runs(bed)
    body = {"pattern": "Rack*", "buses": ["0000:02", "0000:01"]}
    planned = web.post(f"{maps}?dry_run=true", json=body)
    assert sorted((one["node"], one["role"], one["kind"]) for one in planned.json["steps"]) == [
        (f"{node}.example.test", "network-wire", "refresh") for node in ("n1", "n2")
    ], "n3 has its network on the second card, before and after"
    assert [text.partition("; routes")[0] for text in lines(planned)] == [
        f"{node}.example.test, network wire: interface eth0 -> eth2" for node in ("n1", "n2")
    ]
    assert web.get(maps).json == []
    made = web.post(maps, json=body).json
    assert ran(bed, before) == {"n1": 1, "n2": 1}
    assert wanted(bed)
    assert web.patch(f"{maps}/{made['id']}", json={"order": 7}).status_code == 200
    assert web.post(maps, json={"pattern": "Blade*", "buses": ["0000:02"]}).status_code == 201
    assert ran(bed, before) == {"n1": 1, "n2": 1}, "nothing is otherwise on any node"
    assert bed.cli("interface-maps", "update", "Rack*", "--buses", "0000:00").exit_code == 0
    assert ran(bed, before) == {"n1": 2, "n2": 2}
    page = bed.browser("operator")
    page.open("/interface-maps")
    said = page.send("/interface-maps", rehearse="plan", pattern="Rack 7", buses="0000:02", order="1")
    assert "interface eth0 -&gt; eth2" in said
    assert "interface eth1 -&gt; eth0" in said, "of n3"
    shown = bed.cli("interface-maps", "create", "Rack 7", "--buses", "0000:02", "--order", "1", "--plan")
    assert "network wire: interface eth0 -> eth2" in shown.stdout
    for one in web.get(maps).json:
        assert web.delete(f"{maps}/{one['id']}").status_code == 204
    assert ran(bed, before) == {"n1": 2, "n2": 2}, "the order of the paths is that of the map"
