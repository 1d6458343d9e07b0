"""What cards are plugged into: as machines tell it, as an attribute, on pages and by command."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_network import checking, program
from crowbar_network.lldp import Neighbour, neighbours
from crowbar_network.wires import Bond, Wire, read
from sqlalchemy import select

from crowbar_core import PermanentError
from crowbar_core.testing import FakeJig, PostgresServer, Testbed

API = "/api/v2"
SWITCH = {
    "id": [{"type": "mac", "value": "00:11:22:33:44:55"}], "name": [{"value": "leaf-1"}],
    "capability": [{"type": "Bridge", "enabled": True}, {"type": "Router", "enabled": False}],
}  # fmt: skip
LLDP = {"lldp": [{"interface": [
    {
        "name": "eth1", "via": "LLDP", "chassis": [SWITCH],
        "port": [{"id": [{"type": "ifname", "value": "Ethernet7"}], "descr": [{"value": "to web1"}],
                  "mfs": [{"value": "9234"}]}],
        "vlan": [{"vlan-id": "7", "pvid": True, "value": "vlan7"}, {"vlan-id": "200", "pvid": False, "value": "b"},
                 {"vlan-id": "100", "pvid": False, "value": "a"}],
    },
    # A machine that is behind the same port, as on a bridge that lets LLDP through.
    {"name": "eth1", "chassis": [{"name": [{"value": "vm"}], "capability": [{"type": "Station", "enabled": True}]}],
     "port": [{"id": [{"type": "mac", "value": "52:54:00:00:00:09"}], "descr": [{"value": "eth0"}]}]},
    {"name": "eth2", "chassis": [{"id": [{"type": "local", "value": "sw"}]}],
     "port": [{"id": [{"type": "mac", "value": "00:11:22:33:44:57"}], "descr": [{"value": "port 8"}]}]},
    {"name": "eth3", "chassis": [SWITCH], "port": [{}]},
]}]}  # fmt: skip
LEAF = Neighbour(
    switch="leaf-1", chassis="leaf-1 00:11:22:33:44:55", port="Ethernet7", vlan=7, tagged=(100, 200), mtu=9216
)


def test_what_a_switch_tells_is_its_name_port_vlans_and_mtu() -> None:
    assert neighbours(json.dumps(LLDP)) == {
        "eth1": LEAF, "eth2": Neighbour(switch="sw", chassis="sw sw", port="port 8"),
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "{}", '{"lldp": [{}]}', '{"lldp": []}'])
def test_where_nobody_tells_anything_there_is_nothing(text: str) -> None:
    assert neighbours(text) == {}


def link(name: str, **more: Any) -> dict[str, Any]:
    return {"ifname": name, "link_type": "ether", "flags": ["UP", "LOWER_UP"], "mtu": 9000,
            "address": "52:54:00:00:00:0f", **more}  # fmt: skip


def slave(state: int, aggregator: int, mac: str) -> dict[str, Any]:
    return {"info_slave_kind": "bond", "info_slave_data": {
        "perm_hwaddr": mac, "ad_aggregator_id": aggregator, "ad_actor_oper_port_state": state,
    }}  # fmt: skip


LINKS = [
    link("eth0", flags=["NO-CARRIER", "UP"], permaddr="52:54:00:00:00:00"),
    link("eth1", master="bond0", linkinfo=slave(63, 1, "52:54:00:00:00:01")),
    link("eth2", master="bond0", linkinfo=slave(71, 2, "52:54:00:00:00:02")),
    link("eth4", flags=[]),
    link("veth1"),
    link("bond0", linkinfo={"info_kind": "bond", "info_data": {"mode": "802.3ad", "ad_info": {"aggregator": 1}}}),
    link("bond0.7", linkinfo={"info_kind": "vlan", "info_data": {"id": 7}}),
    {"ifname": "lo", "link_type": "loopback"},
]
SECTIONS = {
    "links": json.dumps(LINKS), "lldp": json.dumps(LLDP),
    "speeds": "eth0|-1||yes\neth1|25000|full|yes\neth2|1000|half|yes\neth4||unknown|yes\nveth1|10000|full|\nlo|||\n",
}  # fmt: skip


def test_cards_are_told_with_their_place_in_a_bond() -> None:
    machine = read("n1", SECTIONS)
    assert machine.bonds == {"bond0": Bond(mode="802.3ad", aggregator=1)}
    assert machine.listens
    assert [one.nic for one in machine.wires] == ["eth0", "eth1", "eth2", "eth4"]
    assert machine.wires[0] == Wire(nic="eth0", mac="52:54:00:00:00:00", carrier=False, mtu=9000)
    assert machine.wires[1] == Wire(
        nic="eth1", mac="52:54:00:00:00:01", speed=25_000, duplex="full", mtu=9000, master="bond0", aggregator=1,
        partner=True, neighbour=LEAF,
    )  # fmt: skip
    assert (machine.wires[2].partner, machine.wires[2].aggregator, machine.wires[2].duplex) == (False, 2, "half")
    assert (machine.wires[3].up, machine.wires[3].carrier) == (False, False)


def test_where_no_card_stands_on_a_bus_all_are_told() -> None:
    machine = read("n1", {"links": json.dumps(LINKS)})
    assert [one.nic for one in machine.wires] == ["eth0", "eth1", "eth2", "eth4", "veth1"]
    assert not machine.listens


@pytest.mark.parametrize("name, text", [("links", 'Object "foo" is unknown'), ("lldp", "[1]"), ("lldp", "<xml>")])
def test_what_is_no_such_text_is_refused(name: str, text: str) -> None:
    with pytest.raises(PermanentError, match="n1 tells of its cards what nobody understands"):
        read("n1", {**SECTIONS, name: text})


# ---------------------------------------------------------------- listening, where lldpd has to be brought

STUBS = {
    "lldpd": "touch /run/began",
    "lldpcli": "[ -e /run/began ]",
    "apt-get": """case "$*" in *install*lldpd) ;; *) exit 9;; esac
printf '#!/bin/sh\\n%s\\n' 'touch /run/began' >"$DIR/lldpd"
printf '#!/bin/sh\\n%s\\n' '[ -e /run/began ]' >"$DIR/lldpcli"
chmod 755 "$DIR/lldpd" "$DIR/lldpcli\"""",
    "no apt-get": "echo E: Unable to locate package lldpd >&2; exit 100",
}


def listens(place: Path, *programs: str, begun: bool = False) -> tuple[int, str]:
    """What the program that a node is given ends with, where only these are to be found, and a /run of its own."""
    for name in ("sh", "mkdir", "rm", "sleep", "touch", "chmod"):
        (place / name).symlink_to(str(shutil.which(name)))
    for name in programs:
        path = place / name.removeprefix("no ")
        path.write_text(f"#!/bin/sh\n{STUBS[name]}\n")
        path.chmod(0o755)
    inside = f"mount -t tmpfs none /run; {'touch /run/began; ' if begun else ''}PATH={place} DIR={place} exec sh -s"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", inside], input=program.listen(), capture_output=True, text=True, timeout=60
    )
    return done.returncode, (done.stdout + done.stderr).strip().splitlines()[-1]


@pytest.mark.parametrize("programs, begun, ends", [
    (("lldpd", "lldpcli"), True, (0, "ran")),
    (("lldpd", "lldpcli"), False, (0, "begun")),
    (("apt-get",), False, (0, "begun")),
    (("no apt-get",), False, (1, "apt-get cannot install lldpd: install it, or give the machine a mirror that has it")),
    ((), False, (1, "there is no lldpd, and no apt-get that could install it")),
])  # fmt: skip
def test_lldpd_is_started_where_it_is_and_installed_where_it_is_not(
    tmp_path: Path, programs: tuple[str, ...], begun: bool, ends: tuple[int, str]
) -> None:
    assert listens(tmp_path, *programs, begun=begun) == ends


# ---------------------------------------------------------------- faces


@pytest.fixture(scope="module")
def bed() -> Iterator[Testbed]:
    jig = FakeJig()
    wires = [one.told() for one in read("n1", SECTIONS).wires]
    jig.always({"network": {"wires": wires}}, role="network-lldpd")
    with Testbed(crowbar_jig_script, crowbar_network, jigs={"network": jig}) as made:
        made.add_node("n1", alive=True)
        made.add_node("n2")
        made.bind("network-lldpd", "n1")
        made.commit()
        made.anneal_until_quiet()
        yield made


def test_a_node_s_page_shows_its_wires_and_one_that_does_not_listen_shows_none(bed: Testbed) -> None:
    page = bed.browser("viewer").open(f"/nodes/{bed.node('n1').id}")
    assert "<h2>Wires</h2>" in page
    row = page.partition('<span class="mono">eth1</span>')[2].partition("</tr>")[0]
    for said in ("52:54:00:00:00:01", "25g", "in bond0", "leaf-1", "Ethernet7", "VLAN 7, ", "100, 200"):
        assert said in row
    assert "no carrier" in page.partition('<span class="mono">eth0</span>')[2].partition("</tr>")[0]
    assert "<h2>Wires</h2>" not in bed.browser("viewer").open(f"/nodes/{bed.node('n2').id}")


def test_wires_are_told_by_switch_by_command_and_over_rest(bed: Testbed) -> None:
    page = bed.browser("viewer").open("/network-wires")
    assert page.index("Ethernet7") < page.index("port 8") < page.index(">no carrier")
    assert "Accept the wires" not in page
    told = json.loads(bed.cli("networks", "wires", "--node", "n1.example.test", "--format", "json").stdout)
    assert [(one["node"], one["nic"], one["switch"], one["port"]) for one in told][:2] == [
        ("n1.example.test", "eth0", None, None), ("n1.example.test", "eth1", "leaf-1", "Ethernet7"),
    ]  # fmt: skip
    assert bed.web().get(f"{API}/network_wires").json == told
    assert bed.value("network-wires", "n1", role="network-lldpd")[1]["tagged"] == [100, 200]


def test_wires_that_were_accepted_are_shown_when_they_are_elsewhere(bed: Testbed) -> None:
    assert bed.cli("networks", "accept-wires", user="viewer").exit_code != 0
    said = bed.cli("networks", "accept-wires", "n1.example.test")
    assert "Wires accepted, of nodes: 1." in said.stderr + said.stdout
    person = bed.browser("operator")
    assert "not as accepted" not in person.open("/network-wires")
    with bed.change() as change:
        change.session.execute(
            crowbar_network.tables.accepted_wires.update().values(
                places={"52:54:00:00:00:01": ["leaf-1 00:11:22:33:44:55", "Ethernet9"]}
            )
        )
    assert person.open("/network-wires").count("not as accepted") == 1
    assert "Wires accepted, of nodes: 1." in person.send("/network-wires/accept")
    assert "not as accepted" not in person.open("/network-wires")


def test_a_check_is_asked_for_and_carried_out_by_the_periodic_job(bed: Testbed) -> None:
    person = bed.browser("operator")
    person.open("/network-wires")
    assert "The check is asked for" in person.send("/network-wires/check")
    assert "Look again" in person.open("/network-wires")
    bed.periodic("network-check")
    assert "Nothing was found." in person.open("/network-wires")
    [one] = bed.web().get(f"{API}/network_checks?limit=1").json
    assert (one["state"], one["networks"], one["findings"], one["nodes"]) == ("done", [], [], 0)
    wrong = bed.web().post(f"{API}/network_checks", json={"networks": ["nowhere"]})
    assert wrong.status_code == 422
    assert "/networks/0" in json.dumps(wrong.json)
    said = bed.cli("networks", "check", "--timeout", "0")
    assert said.exit_code == 1
    assert "nobody has begun it" in said.stderr


def test_the_command_waits_for_the_check_and_ends_with_1_for_whom_nobody_could_ask(bed: Testbed) -> None:
    web = bed.web("operator")
    span = {"name": "host", "first": "10.60.0.1/24", "last": "10.60.0.9/24"}
    assert web.post(f"{API}/networks", json={"name": "far", "category": "x", "conduit": "?1g1", "ranges": [span]}).json
    bed.bind("network-far", "n1")
    bed.commit()
    bed.anneal_until_quiet()
    with ThreadPoolExecutor(1) as aside:
        asked = aside.submit(bed.cli, "networks", "check", "far")
        while not asked.done():
            bed.periodic("network-check")
    said = asked.result()
    assert said.exit_code == 1
    assert "n1.example.test" in said.stdout
    assert "has no address" in " ".join(said.stdout.split())
    assert "0 nodes told of cards, pings: 0, faults found: 0." in said.stderr + said.stdout


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_of_all_checks_the_last_twenty_are_kept(database: str, request: pytest.FixtureRequest) -> None:
    url = None
    if database == "postgresql":
        server: PostgresServer = request.getfixturevalue("crowbar_postgres")
        url = server.create_database()
    jig = FakeJig()
    jig.always({"network": {"wires": [one.told() for one in read("n1", SECTIONS).wires]}}, role="network-lldpd")
    with Testbed(crowbar_jig_script, crowbar_network, jigs={"network": jig}, database_url=url) as bed:
        bed.add_node("n1")
        bed.bind("network-lldpd", "n1")
        bed.commit()
        bed.anneal_until_quiet()
        for _ in range(22):
            with bed.change() as change:
                checking.ask(change, ())
                assert checking.accept(change) == 1
            bed.periodic("network-check")
        with bed.read() as session:
            kept = session.execute(select(crowbar_network.tables.checks)).all()
            assert checking.accepted(session) == {"n1.example.test": {
                "52:54:00:00:00:01": ("leaf-1 00:11:22:33:44:55", "Ethernet7"),
                "52:54:00:00:00:02": ("sw sw", "port 8"),
            }}  # fmt: skip
        assert [(one.state, one.findings) for one in kept] == [("done", [])] * 20


def test_no_network_is_called_like_the_role_that_listens(bed: Testbed) -> None:
    made = bed.web().post(f"{API}/networks", json={"name": "lldpd", "category": "x"})
    assert made.status_code == 422, made.json
