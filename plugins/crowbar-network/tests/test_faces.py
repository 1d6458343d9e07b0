"""Networks by the command line, as a file, and on pages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import crowbar_jig_script
import crowbar_network
import netaddr
import pytest
from crowbar_network import commands
from crowbar_network.addressing import key_of
from crowbar_network.bars import bar
from crowbar_network.drift import Drift, keep
from crowbar_network.drift import problems as drift_problems

from crowbar_core.testing import FakeJig, Testbed

API = "/api/v2"
NICS = [
    {"name": "eth0", "mac": "52:54:00:00:00:01", "path": "0000:01", "speed": 1000, "driver": "e1000", "altnames": []},
    {"name": "eth1", "mac": "52:54:00:00:00:02", "path": "0000:02", "speed": 10000, "driver": "ixgbe", "altnames": []},
    {"name": "eth2", "mac": "52:54:00:00:00:03", "path": "0000:03", "speed": 10000, "driver": "ixgbe", "altnames": []},
]


@pytest.fixture(scope="module")
def bed() -> Iterator[Testbed]:
    jig = FakeJig()
    jig.always({"network": {"nics": NICS, "product": "Rack 7"}}, role="network-nics")
    with Testbed(crowbar_jig_script, crowbar_network, jigs={"network": jig}) as made:
        yield made


def done(bed: Testbed, *words: str, stdin: str | None = None) -> str:
    answer = bed.cli(*words, stdin=stdin)
    assert answer.exit_code == 0, answer.stderr
    return str(answer.stdout)


def shown(bed: Testbed, *words: str) -> Any:
    return json.loads(done(bed, *words, "--format", "json"))


def refused(bed: Testbed, code: int, *words: str) -> str:
    answer = bed.cli(*words)
    assert (answer.exit_code, answer.stdout) == (code, ""), answer.stdout
    return str(answer.stderr)


def test_a_network_is_made_with_ranges_and_router_by_one_command(bed: Testbed) -> None:
    made = json.loads(
        done(
            bed, "networks", "create", "one", "--category", "admin", "--conduit", "1g1", "--format", "json",
            "--range", "host=10.40.0.81-10.40.0.90/24", "--range", "dhcp=10.40.0.21/24-10.40.0.80/24",
            "--router", "10.40.0.1/24", "--router-pref", "10",
        )
    )  # fmt: skip
    assert {one["name"]: (one["first"], one["last"]) for one in made["ranges"] if one["name"] != "host-v6"} == {
        "host": ("10.40.0.81/24", "10.40.0.90/24"),
        "dhcp": ("10.40.0.21/24", "10.40.0.80/24"),
    }
    assert (made["router"]["address"], made["router"]["pref"]) == ("10.40.0.1/24", 10)
    said = refused(bed, 1, "networks", "create", "two", "--range", "host=10.41.0.9/24")
    assert "write it as NAME=FIRST-LAST/PREFIX" in said
    said = refused(bed, 1, "networks", "create", "two", "--range", "host=10.41.0.0-10.41.0.9/24")
    assert "the first that a machine can have is 10.41.0.1." in said
    assert "name that, too" in refused(bed, 2, "networks", "create", "two", "--router-pref", "7")


def test_who_makes_a_network_is_told_how_a_node_gets_its_role_and_that_one_unmanaged_sets_up_nothing(
    bed: Testbed,
) -> None:
    said = bed.cli("networks", "create", "told", "--range", "host=10.47.0.1-10.47.0.9/24").stderr
    assert (
        "`crowbar nodes bind NODE network-told`. It is unmanaged: nodes have addresses of it, and no interfaces."
        in said
    )
    bed.add_node("told-1")
    done(bed, "nodes", "bind", "told-1.example.test", "network-told")
    done(bed, "nodes", "destroy", "told-1.example.test", "--yes")
    done(bed, "networks", "destroy", "told", "--yes")


def test_addresses_are_given_reserved_listed_and_released_by_commands(bed: Testbed) -> None:
    done(bed, "networks", "create", "given", "--range", "host=10.42.0.1-10.42.0.9/24")
    for name in ("g1", "g2"):
        bed.add_node(name)
    given = shown(bed, "networks", "allocate", "given", "--node", "g1.example.test", "--node", "g2.example.test")
    assert [(one["node"], one["ip"]) for one in given] == [
        ("g1.example.test", "10.42.0.1"),
        ("g2.example.test", "10.42.0.2"),
    ]
    done(bed, "networks", "allocate", "given", "--reserve", "the printer", "--address", "10.42.0.7")
    listed = shown(bed, "network-allocations", "list", "--network", "given", "--sort", "address")
    assert [one["address"] for one in listed] == ["10.42.0.1/24", "10.42.0.2/24", "10.42.0.7/24"]
    assert "Say what the address is reserved for" in refused(bed, 1, "networks", "allocate", "given")
    assert "Say what is given back" in refused(bed, 2, "networks", "release", "given")
    done(bed, "networks", "release", "given", "--node", "g1.example.test")
    done(bed, "networks", "release", "given", "--address", "10.42.0.7/24")
    assert "There is no such allocation" in refused(bed, 1, "networks", "release", "given", "--address", "10.42.0.7")
    bed.bind("network-given", "g1.example.test")
    [held] = bed.web().get("/api/v2/network_allocations?network=given&node=g1.example.test").json
    for words in (("--node", "g1.example.test"), ("--address", held["ip"])):
        said = refused(bed, 1, "networks", "release", "given", *words)
        assert "g1.example.test has the role network-given" in said.replace("\n", " ")
    assert bed.web("operator").delete(f"/api/v2/network_allocations/{held['id']}").status_code == 409
    bed.unbind("network-given", "g1.example.test")
    assert [one["node"] for one in shown(bed, "network-allocations", "list", "--network", "given")] == [
        "g2.example.test"
    ]


def test_ranges_routers_and_interface_maps_are_nouns_of_their_own(bed: Testbed) -> None:
    done(bed, "networks", "create", "nouns", "--range", "host=10.43.0.1-10.43.0.9/24")
    more = json.loads(
        done(bed, "network-ranges", "create", "more", "--network", "nouns", "--first", "10.43.0.20/24",
             "--last", "10.43.0.30/24", "--format", "json")
    )  # fmt: skip
    done(bed, "network-ranges", "update", str(more["id"]), "--last", "10.43.0.40/24")
    listed = shown(bed, "network-ranges", "list", "--where", "network=nouns")
    assert [(one["name"], one["last"]) for one in listed] == [("host", "10.43.0.9/24"), ("more", "10.43.0.40/24")]
    done(bed, "network-routers", "create", "nouns", "10.43.0.254/24", "--pref", "5")
    routers = shown(bed, "network-routers", "list", "--where", "network=nouns")
    assert [(one["address"], one["pref"]) for one in routers] == [("10.43.0.254/24", 5)]
    done(bed, "interface-maps", "create", "Rack 9*", "--buses", "0000:03", "--buses", "0000:01")
    assert [one["buses"] for one in shown(bed, "interface-maps", "list")] == [["0000:03", "0000:01"]]
    done(bed, "network-ranges", "destroy", str(more["id"]), "--yes")
    done(bed, "network-routers", "destroy", str(routers[0]["id"]), "--yes")
    done(bed, "interface-maps", "destroy", "Rack 9*", "--yes")
    done(bed, "networks", "destroy", "nouns", "--yes")
    assert shown(bed, "network-ranges", "list", "--where", "network=nouns") == []


def test_what_is_exported_makes_the_same_networks_elsewhere_and_nothing_where_it_is_so(bed: Testbed) -> None:
    done(bed, "networks", "create", "file", "--range", "host=10.44.0.1-10.44.0.9/24", "--router", "10.44.0.9/24",
         "--conduit", "1g1,1g2", "--use-team", "--team-mode", "4", "--vlan", "7", "--use-vlan",
         "--v6prefix", "auto")  # fmt: skip
    done(bed, "interface-maps", "create", "Rack 8*", "--buses", "0000:03")
    done(bed, "networks", "allocate", "file", "--reserve", "the printer", "--address", "10.44.0.5")
    told = done(bed, "export")
    assert "reserved_for: the printer" in told
    assert bed.cli("apply", "-", stdin=told).stdout == ""
    with Testbed(crowbar_jig_script, crowbar_network, jigs={"network": FakeJig()}) as other:
        done(other, "apply", "-", stdin=told)
        assert other.cli("apply", "-", stdin=told).stdout == ""
        kept = other.web().get(f"{API}/networks/file").json
        assert kept == bed.web().get(f"{API}/networks/file").json | {
            name: kept[name] for name in ("id", "ranges", "routers", "router", "v6auto")
        }
        assert [(one["reserved_for"], one["ip"]) for one in shown(other, "network-allocations", "list")] == [
            ("the printer", "10.44.0.5")
        ]
        changed = told.replace("vlan: 7\n", "vlan: 8\n").replace("the printer", "the plotter")
        said = done(other, "apply", "-", stdin=changed)
        assert "vlan: 7 -> 8" in said
        assert "reserved_for: the printer -> the plotter" in said
        [reserved] = shown(other, "network-allocations", "list")
        assert reserved["reserved_for"] == "the plotter"
        assert "Say what 10.44.0.5 is reserved for" in refused(
            other, 1, "network-allocations", "update", str(reserved["id"]), "--reserved-for", ""
        )
        assert other.web().get(f"{API}/networks/file").json["vlan"] == 8
    done(bed, "interface-maps", "destroy", "Rack 8*", "--yes")


def test_each_conduit_says_which_cards_it_means_on_each_node_or_why_none(bed: Testbed) -> None:
    for name, conduit in (("c-fast", "10g1"), ("c-none", "40g1")):
        done(bed, "networks", "create", name, "--category", "data", "--conduit", conduit, "--order", "5")
    done(bed, "networks", "create", "c-bare", "--category", "data")
    done(
        bed,
        "networks",
        "create",
        "c-team",
        "--category",
        "data",
        "--conduit",
        "10g1,10g2",
        "--use-team",
        "--order",
        "6",
    )
    bed.add_node("told")
    bed.add_node("silent")
    bed.bind("network-nics", "told")
    bed.commit()
    bed.anneal_until_quiet()
    found = {
        (one["node"].partition(".")[0], one["network"]): (one["nics"], one["problem"])
        for one in shown(bed, "networks", "conduits")
    }
    assert found["told", "c-fast"] == (["eth1"], "")
    assert found["told", "c-none"][1].startswith(
        "40g1 wants card 1 of just that speed, and there is none: the machine has"
    )
    assert found["told", "c-team"][0] == ["eth1", "eth2"]
    assert "It shares eth1 with network c-fast, but not all cards" in found["told", "c-team"][1]
    assert "Its cards are not known yet: they are told by the role network-nics" in found["silent", "c-fast"][1]
    assert "Network c-bare has no conduit that means a card" in found["told", "c-bare"][1]
    cards = {one["name"]: one["networks"] for one in bed.web().get("/api/v2/interfaces?node=told.example.test").json}
    assert (cards["eth1"][:1], len(cards)) == (["c-fast"], 3)
    few = shown(bed, "networks", "conduits", "--node", "told.example.test", "--problems")
    assert {one["network"] for one in few} >= {"c-none", "c-team"}
    assert {one["node"] for one in few} == {"told.example.test"}


def test_the_readme_names_every_call_and_every_command(bed: Testbed) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `crowbar ([a-z-]+)` \| (.+) \|$", readme, re.MULTILINE))
    nouns = (commands.networks, commands.ranges, commands.routers, commands.allocations, commands.maps)
    groups = {group.name: group for group in nouns}
    assert {name: set(re.sub(r" \(.*?\)", "", verbs).split(", ")) for name, verbs in told.items()} == {
        name: set(group.commands) for name, group in groups.items()
    }
    rules = {
        rule.rule.removeprefix("/api/v2/")
        for rule in bed.web().application.url_map.iter_rules()
        if rule.endpoint.partition(".")[0] in ("network_rest", "network_allocations_rest", "network_wires_rest")
    }
    assert {one for one in rules if not one.endswith(("/sample", "/match", "/losses"))} == {
        path for line in readme.splitlines() if line.startswith(("| `n", "| `i"))
        for path in re.findall(r"`([a-z_/<>]+)`", line.split("|")[1])
    }  # fmt: skip


# ---------------------------------------------------------------- pages


def test_each_node_tells_of_its_own_cards(bed: Testbed) -> None:
    done(bed, "networks", "create", "own", "--conduit", "1g1", "--range", "host=10.45.0.1-10.45.0.9/24")
    for name in ("own1", "own2"):
        bed.add_node(name)
        bed.bind("network-own", name)
        assert {one.role for one in bed.node_roles(node=name)} == {"network-own", "network-nics"}


def test_a_network_is_made_and_shown_on_pages(bed: Testbed) -> None:
    person = bed.browser("operator")
    form = {"name": "paged", "category": "pages", "conduit": "1g1", "vlan": "12", "first": "10.46.0.10/24",
            "last": "10.46.0.19/24", "router": "10.46.0.12/24"}  # fmt: skip
    person.open("/networks")
    assert "Network paged is made, and its role network-paged." in person.send("/networks", **form)
    assert "There is a network paged already: choose another name" in person.send("/networks", **form)
    assert "A network&#39;s name is a small letter" in person.send("/networks", **{**form, "name": "7"})
    assert "10.46.0.0 is the address of the subnet" in person.send(
        "/networks", **{**form, "name": "other", "first": "10.46.0.0/24"}
    )
    page = person.open("/networks/paged")
    assert 'aria-label="host: 0 used, 0 reserved, 1 of routers, 9 free"' in page
    assert '<rect class="proposed" x="200.0" y="0" width="100.0" height="10"/>' in page
    assert "<dt>VLAN</dt><dd>12</dd><dt>Tagged</dt><dd>yes</dd>" in page
    assert "<code>POST /api/v2/networks/paged/allocate_ip" in page


def test_addresses_are_given_reserved_and_released_on_the_network_s_page(bed: Testbed) -> None:
    done(bed, "networks", "create", "desk", "--range", "host=10.47.0.1-10.47.0.10/24")
    node = bed.add_node("desk1")
    key = bed.web().get(f"{API}/networks/desk").json["id"]
    person, url = bed.browser("operator"), f"/networks/{key}"
    person.open(url)
    assert "The node has 10.47.0.1/24." in person.send(f"{url}/allocate", node_id="desk1.example.test")
    assert "10.47.0.5 is reserved." in person.send(
        f"{url}/reserve", reserved_for="a <b>", suggestion="10.47.0.5"
    ).replace("/24 is", " is")
    assert "10.47.0.5 is taken by the reservation for a &lt;b&gt;: choose another" in person.send(
        f"{url}/reserve", reserved_for="me", suggestion="10.47.0.5"
    )
    page = person.open(url)
    assert '<td class="name">a &lt;b&gt;</td>' in page
    assert 'aria-label="host: 1 used, 1 reserved, 0 of routers, 8 free"' in page
    assert (
        "desk1.example.test"
        not in person.open(f"{url}?ip=10.47.0.5").partition("<h2>Addresses</h2>")[2].partition("</table>")[0]
    )
    assert '<a href="/networks/desk">desk</a>' in person.open(f"/nodes/{node.id}")
    assert "10.47.0.1/24" in person.page
    assert "cannot go: it has addresses of desk1.example.test" in person.send(f"{url}/remove")
    for one in bed.web().get(f"{API}/networks/desk/allocations").json:
        assert f"{one['address']} is free again." in person.send(f"/network-allocations/{one['id']}/release")
    assert "The network is gone, and its role." in person.send(f"{url}/remove", back=url)
    assert bed.browser("viewer").send(f"{url}/reserve", reserved_for="x").count("This needs the role operator") == 1


def test_the_server_has_addresses_of_all_admin_networks_of_before_and_after(bed: Testbed) -> None:
    def admin(name: str, third: int) -> None:
        own, others = f"admin=10.{third}.0.2-10.{third}.0.9/24", f"host=10.{third}.0.10-10.{third}.0.19/24"
        done(
            bed,
            "networks",
            "create",
            name,
            "--category",
            "admin",
            "--conduit",
            "1g1",
            "--range",
            own,
            "--range",
            others,
        )

    admin("before", 51)
    bed.add_node("server", admin=True)
    bed.bind("network-server", "server")
    admin("after", 52)
    bed.deliver()
    assert {one.role for one in bed.node_roles(node="server")} >= {"network-before", "network-after", "network-server"}
    bed.commit()
    bed.anneal_until_quiet()
    addresses = bed.value("network-server-addresses", "server", role="network-server")
    assert {"10.51.0.2/24", "10.52.0.2/24"} <= set(addresses)
    for name in ("nics", "server"):
        assert "keeps for itself: choose another name" in refused(bed, 1, "networks", "create", name)


def test_what_was_found_otherwise_is_proposed_and_repaired_when_it_is_accepted(bed: Testbed) -> None:
    done(bed, "networks", "create", "drift", "--conduit", "1g1", "--range", "host=10.50.0.1-10.50.0.9/24")
    node = bed.add_node("drift1")
    bed.bind("network-drift", "drift1")
    bed.commit()
    bed.anneal_until_quiet()
    said = "eth0 has 10.99.0.1/24, which is not wanted"
    wrong = Drift(node=node, said=(said,), commands=("addr del 10.99.0.1/24 dev eth0",))

    def found(one: Drift) -> list[Any]:
        """What is proposed, once that was found."""
        views = [view for view in bed.node_roles(node="drift1") if view.role == "network-drift"]
        with bed.change() as change:
            keep(change, [one], {node.id: views})
        return [one["proposed"] for one in bed.web().get(f"{API}/network_drifts?node={node.name}").json]

    assert found(wrong) == [{}]
    assert "No repair is proposed for the interfaces of node drift1" in refused(bed, 1, "networks", "repair", node.name)
    bed.set("network-drift-drift", "propose", node="drift1", role="network-drift")
    bed.commit()
    bed.anneal_until_quiet()
    assert found(Drift(node=node, said=("eth0 has no carrier",))) == [{}]
    assert found(wrong) == [{"role": "network-drift", "commands": ["addr del 10.99.0.1/24 dev eth0"]}]
    bed.anneal_until_quiet()
    before = len(bed.runs("network-drift", "drift1"))
    [told] = shown(bed, "networks", "drift")
    assert (told["node"], told["said"]) == (node.name, [said])
    with bed.serving(), bed.read() as session:
        [problem] = drift_problems(session)
    assert f"crowbar networks repair {node.name} accepts it." in problem.detail
    assert "ip addr del 10.99.0.1/24 dev eth0" in bed.browser("viewer").open(f"/nodes/{node.id}")
    planned = bed.web("operator").put(f"{API}/network_drifts/{node.name}/accept?dry_run=true").json
    assert [(one["role"], one["kind"]) for one in planned["steps"]] == [("network-drift", "refresh")]
    assert f"The interfaces of node {node.name} are set up again." in bed.cli("networks", "repair", node.name).stderr
    bed.anneal_until_quiet()
    assert len(bed.runs("network-drift", "drift1")) == before + 1
    assert shown(bed, "networks", "drift") == []
    found(wrong)
    assert f"it was found that {said}" in bed.browser("operator").send(f"/network-drifts/{node.id}/accept")
    bed.set("network-drift-drift", "repair", node="drift1", role="network-drift")
    bed.commit()
    bed.anneal_until_quiet()
    before = len(bed.runs("network-drift", "drift1"))
    assert found(wrong) == [{}]
    bed.anneal_until_quiet()
    assert len(bed.runs("network-drift", "drift1")) == before + 1


def test_what_is_wrong_with_one_network_is_not_repaired_since_another_on_the_node_says_so(bed: Testbed) -> None:
    node = bed.add_node("each1")
    for name, policy in (("each-show", "show"), ("each-propose", "propose"), ("each-repair", "repair")):
        done(bed, "networks", "create", name, "--conduit", "1g1")
        bed.bind(f"network-{name}", "each1")
        bed.set(f"network-{name}-drift", policy, node="each1", role=f"network-{name}")
    bed.commit()
    bed.anneal_until_quiet()

    def found(of: str, *, mends: bool = True) -> tuple[Any, int]:
        """What is proposed, and how many runs are made, when something of these networks is found otherwise."""
        drift = Drift(
            node=node, said=("it is otherwise",), commands=("link set eth0 up",) if mends else (),
            of={"it is otherwise": of.split() if mends else ()},
        )  # fmt: skip
        before = sum(len(bed.runs(view.role, "each1")) for view in bed.node_roles(node="each1"))
        views = [view for view in bed.node_roles(node="each1") if view.role.startswith("network-each-")]
        with bed.change() as change:
            keep(change, [drift], {node.id: views})
        bed.anneal_until_quiet()
        after = sum(len(bed.runs(view.role, "each1")) for view in bed.node_roles(node="each1"))
        [row] = bed.web().get(f"{API}/network_drifts?node={node.name}").json
        return row["proposed"], after - before

    proposal = {"role": "network-each-propose", "commands": ["link set eth0 up"]}
    assert found("each-show") == ({}, 0)
    assert found("each-propose each-show") == (proposal, 0)
    assert found("each-repair each-show each-propose") == ({}, 1)
    assert found("each-repair", mends=False) == ({}, 0), "no run puts a cable in"


def test_the_map_and_the_conduits_are_grids_of_nodes_and_networks(bed: Testbed) -> None:
    done(bed, "networks", "create", "grid", "--conduit", "40g1", "--range", "host=10.48.0.1-10.48.0.9/24")
    bed.add_node("grid1", discovery={"note": "<script>"})
    done(bed, "networks", "allocate", "grid", "--node", "grid1.example.test")
    bed.bind("network-nics", "grid1")
    bed.commit()
    bed.anneal_until_quiet()
    person = bed.browser("viewer")
    assert "10.48.0.1" in person.open("/network-map")
    page = person.open("/network-conduits")
    assert (
        "40g1 wants card 1 of just that speed, and there is none: the machine has eth0 1g, eth1 10g, eth2 10g." in page
    )


def test_interface_maps_are_previewed_made_changed_and_removed_on_their_page(bed: Testbed) -> None:
    node = bed.add_node("maps1")
    bed.bind("network-nics", "maps1")
    bed.commit()
    bed.anneal_until_quiet()
    person = bed.browser("operator")
    person.open("/interface-maps")
    form = {"pattern": "rack ?", "buses": "0000:03, 0000:02", "order": "7"}
    page = person.send("/interface-maps", rehearse="yes", **form)
    assert f'href="/nodes/{node.id}"' in page
    assert "eth0, eth1, eth2" in page
    assert "<b>eth2, eth1, eth0</b>" in page
    assert shown(bed, "interface-maps", "list") == []
    assert "It fits no node that has told its product; those are Rack 7." in person.send(
        "/interface-maps", rehearse="yes", **{**form, "pattern": "Blade*"}
    )
    assert "is no beginning of a bus path" in person.send("/interface-maps", rehearse="yes", **{**form, "buses": "a$"})
    assert "The interface map is kept" in person.send("/interface-maps", **form)
    [made] = shown(bed, "interface-maps", "list")
    assert (made["pattern"], made["buses"], made["order"]) == ("rack ?", ["0000:03", "0000:02"], 7)
    assert ">maps1</a>" in person.open("/interface-maps")
    assert 'value="0000:03 0000:02"' in person.open(f"/interface-maps?map={made['id']}")
    assert "There is an interface map for rack ? already" in person.send("/interface-maps", **form)
    person.send(f"/interface-maps/{made['id']}", **{**form, "buses": "0000:02"})
    assert [one["buses"] for one in shown(bed, "interface-maps", "list")] == [["0000:02"]]
    assert bed.browser("viewer").send(f"/interface-maps/{made['id']}/remove").count("This needs the role operator") == 1
    assert "The interface map is gone" in person.send(f"/interface-maps/{made['id']}/remove")


def test_a_node_whose_hint_says_otherwise_shows_it_on_its_page(bed: Testbed) -> None:
    done(bed, "networks", "create", "wish", "--range", "host=10.49.0.1-10.49.0.9/24")
    node = bed.add_node("wish1")
    done(bed, "networks", "allocate", "wish", "--node", "wish1.example.test")
    bed.change_node("wish1", hint={"hint-wish-v4addr": "10.49.0.7"})
    assert "The hint hint-wish-v4addr says 10.49.0.7: unbind network-wish and bind it again" in bed.browser(
        "viewer"
    ).open(f"/nodes/{node.id}")


def test_a_bar_shows_what_is_taken_where_it_is() -> None:
    row = SimpleNamespace(id=1, name="host", first=at("10.0.0.1"), last=at("10.0.0.10"), prefix=24)
    drawn = bar(
        row, [at("10.0.0.1"), at("10.0.0.2"), at("10.0.0.9")], [at("10.0.0.3")], [at("10.0.0.10"), at("10.0.0.99")]
    )
    assert [(one.kind, one.x, one.width) for one in drawn.pieces] == [
        ("used", 0, 200), ("reserved", 200, 100), ("used", 800, 100), ("router", 900, 100),
    ]  # fmt: skip
    assert (drawn.used, drawn.reserved, drawn.routers, drawn.free) == (3, 1, 1, "5")
    whole = SimpleNamespace(id=2, name="v6", first=at("fd00::1"), last=at("fd00::ffff:ffff:ffff:ffff"), prefix=64)
    wide = bar(whole, [at("fd00::8000:0:0:0")], [], [])
    assert [(one.x, one.width) for one in wide.pieces] == [(498, 2)]
    assert wide.free == "about 2^64"


def at(address: str) -> str:
    return key_of(netaddr.IPAddress(address))
