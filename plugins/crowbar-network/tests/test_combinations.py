"""Every way to stack layers, for real: bonds, VLANs and bridges of nodes at a switch, each changed into the next."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_jig_script.jig import ScriptJig
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside, rack_fixture
from crowbar_network import program
from crowbar_network.jig import NetworkJig

from crowbar_core import Done, NodeView, PermanentError, Role, Task
from crowbar_core.testing import Testbed

pytestmark = pytest.mark.lab

rack = rack_fixture(nodes=2, cards=2)
NODE = "node-1"
VLAN = 100
PEER = f"""
addr add 10.{VLAN + 1}.0.2/24 dev sw0
addr add fd00:{VLAN + 1}::2/64 dev sw0 nodad
link add link sw0 name sw0.{VLAN} type vlan id {VLAN}
link set sw0.{VLAN} up
addr add 10.{VLAN}.0.2/24 dev sw0.{VLAN}
addr add fd00:{VLAN}::2/64 dev sw0.{VLAN} nodad
"""
"""The switch itself answers, untagged and with the tag."""
RUNS = itertools.count(1)

STACKS = ("plain", "vlan", "active-backup", "802.3ad", "active-backup vlan", "802.3ad vlan")
MODES = {"active-backup": 1, "802.3ad": 4}
COMBINATIONS = [
    (stacked, bridge, families)
    for stacked in STACKS
    for bridge in ("", "bridge")
    for families in ("4", "6", "46")
]  # fmt: skip


def eventually(what: Callable[[], Any], *, within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not what():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.2)


class Site:
    """The jig, without the graph around it: given what the networks want, as the hook gives it."""

    def __init__(self, lab: Lab, bed: Testbed, view: NodeView) -> None:
        self.lab, self.bed, self.jig, self.view = lab, bed, NetworkJig({}), view
        self.log: list[str] = []

    def configure(self, *networks: dict[str, Any], role: str = "data", **given: Any) -> Done:
        log = self.log = []
        wanted = {"wanted-config": list(networks), "maps": [], "writer": given.pop("writer", "iproute2")}
        task = Task(
            run_id=next(RUNS), node_role_id=1, attempt=1, node=self.view, address=self.view.addresses[0],
            role=Role(name=f"network-{role}", jig="network"), barclamp="network", package="crowbar_network",
            deployment="d", data={"network": wanted}, timeout=120.0, refresh=False, cancelled=threading.Event(),
            log=lambda line, stream="crowbar": log.append(line), **given,
        )  # fmt: skip

        def run() -> Done:
            with self.bed.serving():
                outcome = self.jig.run(task)
            assert isinstance(outcome, Done)
            return outcome

        try:
            found = inside(self.lab, run)
        finally:
            print("\n".join(log))
        assert isinstance(found, Done)
        return found


def site_of(lab: Lab, view: NodeView, *, keep_within: int) -> Iterator[Site]:
    config = {"key_file": str(lab.private_key), "connect_timeout": 20.0}
    jigs = {"script": ScriptJig(config), "network": NetworkJig({})}
    tables = {"jig-script": config, "network": {"keep_within": keep_within}}
    with Testbed(crowbar_jig_script, crowbar_network, jigs=jigs, config=tables) as bed:
        yield Site(lab, bed, view)


def view_of(rack: Lab) -> NodeView:
    known = rack.node(NODE)
    return NodeView(id=known.number, name=known.name, addresses=(known.ipv4, known.ipv6), host_keys=(known.host_key,))


@pytest.fixture(scope="module")
def site(rack: Lab) -> Iterator[Site]:
    rack.run_in_switch(["ip", "-batch", "-"], given=PEER, check=True)
    for vlan in (("1", "pvid", "untagged"), (str(VLAN),)):
        rack.run_in_switch(["bridge", "vlan", "add", "dev", "sw0", "self", "vid", *vlan], check=True)
    yield from site_of(rack, view_of(rack), keep_within=60)


@pytest.fixture(scope="module")
def hasty(rack: Lab, site: Site, pytestconfig: pytest.Config) -> Iterator[Site]:
    """One that waits no longer than it must to know that something is broken."""
    yield from site_of(rack, view_of(rack), keep_within=8 if pytestconfig.getoption("--broken", 0) else 12)


def network(stacked: str = "plain", bridge: str = "", families: str = "4", **more: Any) -> dict[str, Any]:
    """The network ``data`` as the node has it, with the switch itself as its router."""
    words = stacked.split()
    mode = next((MODES[word] for word in words if word in MODES), None)
    here = VLAN if "vlan" in words else VLAN + 1
    addresses = [
        text for family, text in (("4", f"10.{here}.0.1/24"), ("6", f"fd00:{here}::1/64")) if family in families
    ]
    routers = [(text, 10) for family, text in zip("46", peers(stacked), strict=True) if family in families]
    return {
        "name": "data", "id": 7, "category": "data", "addresses": addresses, "routers": routers,
        "conduit": "name=eth1" if mode is None else "name=eth1,name=eth2", "team_mode": mode,
        "vlan": VLAN if "vlan" in words else None, "bridge": bool(bridge), "mtu": 0, "pbr": False, "active": False,
        "peers": [], **more,
    }  # fmt: skip


def peers(stacked: str) -> tuple[str, str]:
    here = VLAN if "vlan" in stacked.split() else VLAN + 1
    return f"10.{here}.0.2", f"fd00:{here}::2"


def set_ports(lab: Lab, stacked: str) -> None:
    tagged = "vlan" in stacked.split()
    for card in ("eth1", "eth2"):
        lab.port(NODE, card, vlan=0 if tagged else 1, tagged=[VLAN] if tagged else [], lacp="802.3ad" in stacked)


def answers(lab: Lab, address: str) -> bool:
    """Whether the node answers the switch."""
    return lab.run_in_switch(["ping", "-n", "-c1", "-W1", address]).returncode == 0


@pytest.mark.parametrize("stacked, bridge, families", COMBINATIONS)
def test_traffic_passes(rack: Lab, site: Site, stacked: str, bridge: str, families: str) -> None:
    set_ports(rack, stacked)
    wanted = network(stacked, bridge, families)
    shown = site.configure(wanted).wall["network"]["current-config"]
    here = VLAN if "vlan" in stacked.split() else VLAN + 1
    for family, address in (("4", f"10.{here}.0.1"), ("6", f"fd00:{here}::1")):
        assert answers(rack, address) == (family in families)
    if "vlan" in stacked:
        learnt = rack.run_in_switch(["bridge", "fdb", "show", "br", "sw0", "dynamic"], check=True).stdout
        assert f"vlan {VLAN} " in learnt, learnt
    made = {one["name"] for one in shown if one["kind"] != "nic"}
    bond = {"bond0"} if wanted["team_mode"] is not None else set()
    base = "bond0" if bond else "eth1"
    assert made == bond | ({f"{base}.{VLAN}"} if wanted["vlan"] else set()) | ({"br-data"} if bridge else set())
    if bond:
        there = wanted["addresses"][0].partition("/")[0]
        rack.cable(NODE, "eth1", up=False)
        eventually(lambda: answers(rack, there))
        rack.cable(NODE, "eth1", up=True)


# ---------------------------------------------------------------- what does not work is taken back


def admin(lab: Lab, **more: Any) -> dict[str, Any]:
    """The network by which the node is reached, on its management card."""
    known = lab.node(NODE)
    addresses = [f"{known.ipv4}/16", f"{known.ipv6}/64"]
    return network(**{"name": "admin", "id": 1, "category": "admin", "conduit": "name=eth0", "addresses": addresses,
                      "routers": [], "bridge": True, **more})  # fmt: skip


BROKEN: dict[str, tuple[Callable[[Lab], dict[str, Any]], str]] = {
    "a wrong VLAN": (lambda lab: admin(lab, vlan=77), "no new connection to an admin address"),
    "a wrong gateway": (lambda lab: admin(lab, routers=[("10.77.9.9", 1)]), "router 10.77.9.9 of network admin"),
    "a wrong mode of a bond": (lambda _: network("802.3ad"), "no partner that speaks LACP"),
    "no carrier": (lambda _: network(conduit="name=eth2"), "has no carrier"),
    "an MTU too large": (lambda _: network(mtu=9000), "full size"),
    "a doubled address": (lambda _: network(addresses=["10.101.0.2/24"], routers=[]), "another machine on eth1"),
    "a missing card": (lambda _: network(conduit="name=eth7"), "name=eth7"),
}
KINDS = len(BROKEN) + 1
"""A power cut in the middle is one, too."""


def interfaces(lab: Lab) -> str:
    shown = "ip -br addr show scope global | sed 's/@[^ ]*//; s/  */ /g'; ip route; ip rule; ip -6 rule"
    shown += "; ip -6 route show default"
    asked = lab.exec(lab.ssh(NODE, [shown]), capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0, asked.stderr
    return str(asked.stdout)


def often(pytestconfig: pytest.Config) -> int:
    """How often each kind is tried: ``--broken`` counts all of them."""
    return max(1, -(-int(pytestconfig.getoption("--broken", 0)) // KINDS))


LedBack = Callable[[float, str, bool], None]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", BROKEN)
def test_nobody_is_locked_out_by(
    rack: Lab, site: Site, hasty: Site, kind: str, led_back: LedBack, pytestconfig: pytest.Config
) -> None:
    wanted, said = BROKEN[kind]
    kept = network("plain", "bridge", "46", active=True)
    set_ports(rack, "plain")
    site.configure(kept)
    rack.cable(NODE, "eth2", up=kind != "no carrier")
    before = interfaces(rack)
    for _ in range(often(pytestconfig)):
        broken = wanted(rack)
        with pytest.raises(PermanentError) as failed:
            hasty.configure(broken, *([kept] if broken["name"] == "admin" else []), role=broken["name"])
        named = said in failed.value.detail
        assert named or pytestconfig.getoption("--broken", 0), failed.value.detail
        assert interfaces(rack) == before
        told = [line for line in hasty.log if line.startswith("led back ")]
        assert bool(told) == (kind != "a missing card"), "which is seen before anything is touched"
        led_back(float(told[0].split()[2]) if told else 0.0, kind, named)
    rack.cable(NODE, "eth2", up=True)


def test_nobody_is_locked_out_by_a_power_cut(rack: Lab, led_back: LedBack, pytestconfig: pytest.Config) -> None:
    """The node is as at its start again, of which this is the last test."""
    rack.power(NODE, "reset")
    before = interfaces(rack)
    there = rack.node(NODE).ipv4
    for _ in range(often(pytestconfig)):
        forward = [f"addr del {there}/16 dev eth0", "addr replace 10.250.0.9/24 dev eth0"]
        text = program.begin("0123456789abcdef", limit=600, forward=forward, backward=[], trial=program.Trial())
        begun = rack.exec(rack.ssh(NODE, ["sh -s; cat /proc/uptime"]), input=text, capture_output=True, text=True,
                          timeout=60)  # fmt: skip
        word, uptime = begun.stdout.splitlines()
        assert word == "begun", begun.stderr
        eventually(lambda: not answers(rack, there))
        rack.power(NODE, "reset")
        eventually(lambda: interfaces(rack) == before)
        now = rack.console(NODE, ["cat", "/proc/uptime"], check=True).stdout
        led_back(float(now.split()[0]) - float(uptime.split()[0]), "a power cut", True)
