"""Wires for real: nodes that listen to a switch, and what is plugged in or set otherwise there is found by name: twenty
things, several of them at a time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_jig_script.jig import ScriptJig
from crowbar_lab import linux, lldp
from crowbar_lab.lab import Lab
from crowbar_lab.testing import rack_fixture
from crowbar_network import checking
from crowbar_network.jig import NetworkJig

from crowbar_core.testing import Testbed

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.xdist_group("wires")]

rack = rack_fixture(nodes=6, cards=3)
API = "/api/v2"
T = TypeVar("T")
NODES = ("admin.lab.test", *(f"node-{number}.lab.test" for number in range(1, 6)))
TRUNK: dict[str, Any] = {"vlan": 0, "tagged": [100], "lacp": 1, "mtu": 1500}
FRONT: dict[str, Any] = {"vlan": 30, "tagged": [40], "lacp": 0, "mtu": 1500}
NETWORKS: tuple[dict[str, Any], ...] = (
    {"name": "data", "category": "data", "conduit": "name=eth1,name=eth2", "use_team": True, "team_mode": 4,
     "use_vlan": True, "vlan": 100, "ranges": [{"name": "host", "first": "10.100.0.1/24", "last": "10.100.0.9/24"}]},
    {"name": "front", "category": "data", "conduit": "name=eth3", "vlan": 30, "mtu": 1500, "v6prefix": "fd00:30::/64"},
    {"name": "back", "category": "data", "conduit": "name=eth3", "use_vlan": True, "vlan": 40,
     "ranges": [{"name": "host", "first": "10.40.0.1/24", "last": "10.40.0.9/24"}]},
)  # fmt: skip
"""eth1 and eth2 are a bond with the tagged network ``data``; on eth3 are ``front`` and, with a tag, ``back``."""


class Site:
    """A core with six nodes and three networks."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._inside = ThreadPoolExecutor(1, initializer=self._enter)

    def _enter(self) -> None:
        network = os.open(self.lab.namespace, os.O_RDONLY)
        try:
            linux.setns(network, linux.CLONE_NEWNET)
        finally:
            os.close(network)

    def do(self, work: Callable[[], T]) -> T:
        """In the lab's network, where nodes are reached."""
        return self._inside.submit(work).result(timeout=600)

    def set_up(self) -> None:
        config = {"key_file": str(self.lab.private_key), "connect_timeout": 20.0}
        jigs = {"script": ScriptJig(config), "network": NetworkJig({})}
        tables = {"jig-script": config, "network": {"keep_within": 60, "lldp_wait": 2}}
        self.bed = Testbed(crowbar_jig_script, crowbar_network, jigs=jigs, config=tables).__enter__()
        web = self.bed.web("operator")
        for body in NETWORKS:
            assert web.post(f"{API}/networks", json=body).status_code == 201
        for node in self.lab.nodes:
            self.bed.add_node(node.name, hint={"hint-admin-v4addr": f"{node.ipv4}/16"}, host_keys=[node.host_key])
            for network in NETWORKS:
                self.bed.bind(f"network-{network['name']}", node.name)
        self.bed.commit()
        self.bed.anneal_until_quiet(within=300)
        lldp.announce(self.lab, name="leaf-7")
        for node in self.lab.nodes:
            self.bed.bind("network-lldpd", node.name)
        self.bed.commit()
        self.bed.anneal_until_quiet(within=300)
        assert set(self.bed.states().values()) == {"ACTIVE"}, self.bed.problems()

    def check(self) -> list[dict[str, Any]]:
        def ask() -> Any:
            with self.bed.change() as change:
                key = checking.ask(change, ())
            self.bed.periodic("network-check")
            self.bed.anneal_until_quiet(within=60)
            return self.bed.web().get(f"{API}/network_checks/{key}").json

        found = self.do(ask)
        assert (found["state"], found["unheard"]) == ("done", [])
        assert found["pings"] == len(NETWORKS) * len(NODES) * (len(NODES) - 1)
        return list(found["findings"])


@pytest.fixture(scope="module")
def site(rack: Lab) -> Iterator[Site]:
    for node in NODES:
        lldp.hand_out(rack, node)
        for nic, port in (("eth1", TRUNK), ("eth2", TRUNK), ("eth3", FRONT)):
            rack.port(node, nic, **port)
    site = Site(rack)
    try:
        site.do(site.set_up)
        yield site
    finally:
        if hasattr(site, "bed"):
            site.do(site.bed.close)


def eventually(what: Callable[[], Any], *, within: float = 120.0) -> None:
    deadline = time.monotonic() + within
    while (said := what()) is not True:
        assert time.monotonic() < deadline, said
        time.sleep(0.5)


Told = tuple[str, str, str, str]
"""What a check finds: kind, node, card and switch's port."""


def named(site: Site, *expected: Told) -> Callable[[], Any]:
    """True when a check finds just these."""

    def ask() -> Any:
        found = site.check()
        told = [(one["kind"], one["node"], one["nic"], one["port"]) for one in found]
        return sorted(told) == sorted(expected) or [one for one in told if one not in expected] or told

    return ask


def wait_for_the_role(site: Site, vlan: int) -> None:
    """Until it tells that the port of the first node's eth3 is in this VLAN."""

    def told() -> Any:
        wires = site.bed.value("network-wires", NODES[0], role="network-lldpd")
        return {one["nic"]: one.get("vlan") for one in wires}["eth3"] == vlan or wires

    def look() -> Any:
        site.bed.periodic("network-wires")
        site.bed.anneal_until_quiet(within=60)
        return told()

    eventually(lambda: site.do(look))


def test_each_node_tells_the_switch_the_port_and_the_vlan_of_its_cards(site: Site) -> None:
    wait_for_the_role(site, 30)
    for number, node in enumerate(NODES):
        told = {one["nic"]: one for one in site.bed.value("network-wires", node, role="network-lldpd")}
        for nic in ("eth1", "eth2", "eth3"):
            assert (told[nic]["switch"], told[nic]["port"]) == ("leaf-7", f"n{number}-{nic}")
        assert (told["eth3"]["vlan"], told["eth3"]["tagged"]) == (30, [40])
        assert told["eth1"]["master"] == told["eth2"]["master"] == "bond0"
    said = site.lab.console(NODES[1], ["sh", "-c", "ls /run/lldpd.socket; pgrep -c lldpd"], check=True).stdout
    assert said.split() == ["/run/lldpd.socket", "2"]


def on_node(node: str, program: str) -> Callable[[Lab], object]:
    return lambda lab: lab.console(node, ["sh", "-c", program], check=True)


def on_switch(*lines: str) -> Callable[[Lab], object]:
    return lambda lab: lab.run_in_switch(
        ["ip", "-batch", "-"], given="".join(f"{line}\n" for line in lines), check=True
    )


def renamed(*names: tuple[str, str]) -> Callable[[Lab], object]:
    """Ports take another name: to whoever listens, a cable ends elsewhere."""
    each = ("link set {one} down", "link set {one} name {other}", "link set {other} up")
    return on_switch(*(line.format(one=one, other=other) for one, other in names for line in each))


def swapped(one: str, other: str) -> Callable[[Lab], object]:
    """Each of two cables ends where the other did."""
    return renamed((one, "spare"), (other, one), ("spare", other))


def cable(node: str, nic: str, *, up: bool) -> Callable[[Lab], object]:
    return lambda lab: lab.cable(node, nic, up=up)


def port(node: str, nic: str, **changed: Any) -> Callable[[Lab], object]:
    return lambda lab: lab.port(node, nic, **changed)


def says(node: str, nic: str, **facts: str) -> Callable[[Lab], object]:
    """The card of the node tells otherwise of itself: no card of a rack runs slower than another."""
    lines = (f"echo {said} >/run/{nic}-{name} && mount --bind /run/{nic}-{name} /sys/class/net/{nic}/{name}"
             for name, said in facts.items())  # fmt: skip
    return on_node(node, " && ".join(lines))


def says_the_truth(node: str, nic: str, fact: str) -> Callable[[Lab], object]:
    return on_node(node, f"umount /sys/class/net/{nic}/{fact}")


def lldp_at(port: str, status: str) -> Callable[[Lab], object]:
    asked = ["/run/lldp/lldpcli", "-u", "/run/lldp/socket", "configure", "ports", port, "lldp", "status", status]
    return lambda lab: lab.run_in_switch(asked, check=True)


def forwards(port: str, state: int) -> Callable[[Lab], object]:
    """The switch has the port up, and with 0 lets nothing through."""
    return lambda lab: lab.run_in_switch(["bridge", "link", "set", "dev", port, "state", str(state)], check=True)


@dataclass(frozen=True)
class Planted:
    plant: Callable[[Lab], object]
    take_away: Callable[[Lab], object]
    told: Told
    times: int = 1
    """As often as there are networks, where it is of no one card."""


N0, N1, N2, N3, N4, N5 = NODES
FIRST = (
    Planted(port(N0, "eth3", vlan=31), port(N0, "eth3", **FRONT), ("wrong VLAN", N0, "eth3", "n0-eth3")),
    Planted(says(N0, "eth1", speed="1000"), says_the_truth(N0, "eth1", "speed"),
            ("wrong speed", N0, "eth1", "n0-eth1")),
    Planted(cable(N1, "eth2", up=False), cable(N1, "eth2", up=True), ("half a bond", N1, "eth2", "")),
    Planted(says(N1, "eth3", duplex="half"), says_the_truth(N1, "eth3", "duplex"),
            ("wrong speed", N1, "eth3", "n1-eth3")),
    Planted(swapped("n2-eth1", "n2-eth2"), swapped("n2-eth1", "n2-eth2"),
            ("swapped", N2, "eth1, eth2", "n2-eth2")),
    Planted(cable(N2, "eth3", up=False), cable(N2, "eth3", up=True), ("no carrier", N2, "eth3", "")),
    Planted(port(N3, "eth1", lacp=0), port(N3, "eth1", **TRUNK), ("half a bond", N3, "eth1", "n3-eth1")),
    Planted(port(N3, "eth3", tagged=[41]), port(N3, "eth3", **FRONT), ("wrong VLAN", N3, "eth3", "n3-eth3")),
    Planted(port(N4, "eth2", lacp=2), port(N4, "eth2", **TRUNK), ("half a bond", N4, "eth2", "n4-eth2")),
    Planted(renamed(("n4-eth3", "n9-eth3")), renamed(("n9-eth3", "n4-eth3")), ("moved", N4, "eth3", "n9-eth3")),
    Planted(on_node(N5, "ip link set eth2 nomaster && ip link set eth2 up"),
            on_node(N5, "ip link set eth2 down && ip link set eth2 master bond0"),
            ("half a bond", N5, "eth2", "n5-eth2")),
    Planted(lldp_at("n5-eth3", "disabled"), lldp_at("n5-eth3", "rx-and-tx"), ("silent", N5, "eth3", "")),
)  # fmt: skip
SECOND = (
    Planted(swapped("n0-eth3", "n1-eth3"), swapped("n0-eth3", "n1-eth3"), ("swapped", N0, "eth3", "n1-eth3")),
    Planted(forwards("n0-lacp1", 0), forwards("n0-lacp1", 3), ("unreachable", N0, "eth1, eth2", "n0-eth1")),
    Planted(on_node(N1, "ip link set eth1 down"), on_node(N1, "ip link set eth1 up"),
            ("half a bond", N1, "eth1", "")),
    Planted(on_node(N2, "ip link set eth3 mtu 1300"),
            on_node(N2, "ip link set eth3 mtu 1500 && ip link set eth3.40 mtu 1500"),
            ("small MTU", N2, "eth3", "n2-eth3")),
    Planted(port(N3, "eth3", mtu=1400), port(N3, "eth3", **FRONT), ("small MTU", N3, "eth3", "n3-eth3")),
    Planted(forwards("n5-eth3", 0), forwards("n5-eth3", 3), ("unreachable", N5, "eth3", "n5-eth3")),
)  # fmt: skip


def at_all(change: Callable[[int, str], Callable[[Lab], object]]) -> Callable[[Lab], None]:
    def do(lab: Lab) -> None:
        for number, node in enumerate(NODES):
            change(number, node)(lab)

    return do


def isolated(number: int, word: str) -> Callable[[Lab], object]:
    """The group of this node's ports, with ``on``, lets nothing through to other such groups."""
    line = ["bridge", "link", "set", "dev", f"n{number}-lacp1", "isolated", word]
    return lambda lab: lab.run_in_switch(line, check=True)


THIRD = (
    Planted(at_all(lambda _, node: port(node, "eth3", mtu=1400)),
            at_all(lambda _, node: port(node, "eth3", **FRONT)),
            ("small MTU", "", "", ""), times=2),
    Planted(at_all(lambda number, _: isolated(number, "on")), at_all(lambda number, _: isolated(number, "off")),
            ("unreachable", "", "", "")),
)  # fmt: skip


def test_where_all_is_well_nothing_is_found_and_the_wires_can_be_accepted(site: Site) -> None:
    eventually(named(site))
    assert site.bed.web().post(f"{API}/network_wires/accept", json={}).json == {"nodes": len(NODES)}


def test_twenty_are_planted() -> None:
    assert len(FIRST) + len(SECOND) + len(THIRD) == 20


@pytest.mark.parametrize("several", [FIRST, SECOND, THIRD], ids=["of twelve", "of six", "of two"])
def test_each_that_is_planted_is_named_and_nothing_else(rack: Lab, site: Site, several: Sequence[Planted]) -> None:
    for one in several:
        one.plant(rack)
    try:
        eventually(named(site, *(one.told for one in several for _ in range(one.times))))
        if several is FIRST:
            wait_for_the_role(site, 31)
    finally:
        for one in several:
            one.take_away(rack)
    eventually(named(site))
    if several is FIRST:
        wait_for_the_role(site, 30)
