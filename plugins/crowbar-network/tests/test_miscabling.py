"""What is plugged in or set otherwise than it should be is named, once, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from crowbar_network.lldp import Neighbour
from crowbar_network.miscabling import Finding, Meant, find
from crowbar_network.pinging import SMALL, Ping, targets
from crowbar_network.wires import Bond, Machine, Wire

NODES = [f"n{number}" for number in range(1, 7)]
CARDS = {"eth0": "green", "eth1": "left", "eth2": "right", "eth3": "green"}
"""Card -> the switch that it is at. eth1 and eth2 are a bond to two switches that are one to LACP."""
NETWORKS: dict[str, dict[str, Any]] = {
    "admin": {"nics": ("eth0",), "vlan": 1},
    "storage": {"nics": ("eth1", "eth2"), "vlan": 100, "tagged": True, "mode": 4, "mtu": 9000, "speed": 10_000},
    "public": {"nics": ("eth3",)},
}


def neighbour(node: str, nic: str, **more: Any) -> Neighbour:
    switch, vlan = CARDS[nic], {"eth0": 1, "eth3": 30}.get(nic, 7)
    trunk = {"tagged": (100, 200), "mtu": 9216} if nic in ("eth1", "eth2") else {}
    said = {"switch": switch, "chassis": f"{switch} 00:11", "port": f"{node}{nic}", "vlan": vlan, **trunk}
    return Neighbour(**{**said, **more})


@dataclass
class Site:
    """A site in which all is well: six nodes, three switches."""

    wires: dict[tuple[str, str], Wire] = field(default_factory=dict)
    bonds: dict[str, Bond] = field(default_factory=dict)
    meant: list[Meant] = field(default_factory=list)
    accepted: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    dead: set[tuple[str, str]] = field(default_factory=set)
    """(network, end) that answers nobody."""
    small: set[tuple[str, str]] = field(default_factory=set)
    """(network, end) to which no packet of the full size gets through."""
    between: Callable[[str, str], bool] = lambda one, other: False
    """Whether no packet of the full size gets through from one node to another."""

    def __post_init__(self) -> None:
        for node in NODES:
            self.bonds[node] = Bond(mode="802.3ad", aggregator=1)
            for nic in CARDS:
                bond = {"master": "bond0", "aggregator": 1, "partner": True} if nic in ("eth1", "eth2") else {}
                self.wires[node, nic] = Wire(
                    nic=nic, mac=f"{node}:{nic}", speed=10_000 if bond else 1_000, duplex="full",
                    mtu=9000 if bond else 1500, neighbour=neighbour(node, nic), **bond,
                )  # fmt: skip
            self.meant += [Meant(node=node, network=name, **said) for name, said in NETWORKS.items()]

    def set(self, node: str, nic: str, **changed: Any) -> None:
        self.wires[node, nic] = replace(self.wires[node, nic], **changed)

    def at(self, node: str, nic: str, **changed: Any) -> None:
        """The port of the card is another way."""
        there = self.wires[node, nic].neighbour
        assert there is not None
        self.set(node, nic, neighbour=replace(there, **changed))

    def swap(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        mine, theirs = self.wires[one].neighbour, self.wires[other].neighbour
        self.set(*one, neighbour=theirs)
        self.set(*other, neighbour=mine)

    def accept(self) -> None:
        for (node, _), wire in self.wires.items():
            assert wire.neighbour is not None
            self.accepted.setdefault(node, {})[wire.mac] = wire.neighbour.place

    def found(self) -> tuple[Finding, ...]:
        machines = [
            Machine(node=node, wires=tuple(self.wires[node, nic] for nic in CARDS), bonds={"bond0": self.bonds[node]})
            for node in NODES
        ]
        pings = []
        for network in dict.fromkeys(one.network for one in self.meant):
            for node in NODES:
                for to in (*NODES, "10.0.0.1"):
                    if to != node:
                        ends = {(network, node), (network, to)}
                        small = not ends & self.dead
                        full = small and not ends & self.small and not (network == "storage" and self.between(node, to))
                        pings.append(Ping(node=node, network=network, to=to, small=small, full=full))
        return find(machines, self.meant, pings, self.accepted)


def swapped_against_accepted(site: Site) -> None:
    site.accept()
    site.swap(("n2", "eth1"), ("n2", "eth2"))


def swapped_by_pattern(site: Site) -> None:
    site.swap(("n2", "eth1"), ("n2", "eth2"))


def swapped_between_networks(site: Site) -> None:
    site.swap(("n2", "eth0"), ("n2", "eth1"))


def swapped_between_nodes(site: Site) -> None:
    site.accept()
    site.swap(("n2", "eth0"), ("n3", "eth0"))


def moved(site: Site) -> None:
    site.accept()
    site.at("n4", "eth3", port="99")


def on_another_switch(site: Site) -> None:
    site.at("n5", "eth2", switch="left", chassis="left 00:11", port="77")


def untagged_vlan(site: Site) -> None:
    site.at("n1", "eth0", vlan=30)
    site.dead.add(("admin", "n1"))


def untagged_vlan_by_pattern(site: Site) -> None:
    site.at("n6", "eth3", vlan=31)
    site.dead.add(("public", "n6"))


def no_tag(site: Site) -> None:
    site.at("n1", "eth2", tagged=(200,))


def tag_taken_off(site: Site) -> None:
    site.at("n3", "eth1", tagged=(200,), vlan=100)


def only_an_access_port(site: Site) -> None:
    site.at("n3", "eth1", tagged=(), vlan=7)
    site.dead.add(("storage", "n3"))


def member_out(site: Site) -> None:
    site.set("n1", "eth2", carrier=False, speed=0, neighbour=None)


def member_without_partner(site: Site) -> None:
    site.set("n1", "eth2", partner=False, aggregator=2)


def member_elsewhere(site: Site) -> None:
    site.set("n6", "eth1", aggregator=2)


def backup_out(site: Site) -> None:
    site.meant = [replace(one, mode=1) if one.network == "storage" else one for one in site.meant]
    for node in NODES:
        site.bonds[node] = Bond(mode="active-backup")
        for nic in ("eth1", "eth2"):
            site.set(node, nic, partner=None, aggregator=None)
    site.set("n4", "eth1", carrier=False, neighbour=None)


def too_slow(site: Site) -> None:
    site.set("n2", "eth1", speed=1_000)


def half_duplex(site: Site) -> None:
    site.set("n2", "eth0", speed=100, duplex="half")


def port_says_small(site: Site) -> None:
    site.at("n2", "eth2", mtu=1500)
    site.small.add(("storage", "n2"))


def port_is_small(site: Site) -> None:
    site.small.add(("public", "n5"))


def switch_is_small(site: Site) -> None:
    site.small |= {("public", node) for node in (*NODES, "10.0.0.1")}


def card_is_small(site: Site) -> None:
    site.set("n2", "eth1", mtu=1500)
    site.small.add(("storage", "n2"))


def between_switches(site: Site) -> None:
    site.meant = [replace(one, nics=("eth1",), mode=None) if one.network == "storage" else one for one in site.meant]
    for node in NODES[3:]:
        site.at(node, "eth1", switch="right", chassis="right 00:11")
    site.between = lambda one, other: (one in NODES[3:]) != (other in NODES[3:]) and "10.0.0.1" not in (one, other)


def router_is_small(site: Site) -> None:
    site.small.add(("admin", "10.0.0.1"))


def cable_out(site: Site) -> None:
    site.set("n6", "eth0", carrier=False, neighbour=None, speed=0)
    site.dead.add(("admin", "n6"))


def at_nobody(site: Site) -> None:
    site.set("n6", "eth3", neighbour=None)


def at_a_machine(site: Site) -> None:
    site.at("n6", "eth3", switch="n7", chassis="n7 52:54", port="eth0", vlan=None, bridge=False)


def vlan_behind_the_port(site: Site) -> None:
    site.dead.add(("storage", "n4"))


def nobody_answers(site: Site) -> None:
    site.dead |= {("public", node) for node in (*NODES, "10.0.0.1")}


PLANTED: list[tuple[Callable[[Site], None], str, str, str, str]] = [
    (swapped_against_accepted, "swapped", "n2", "eth1, eth2", "eth1 and eth2 of n2 are swapped: eth1 is at switch r"),
    (swapped_by_pattern, "swapped", "n2", "eth1, eth2", "on the other nodes it is the other way round"),
    (swapped_between_networks, "swapped", "n2", "eth0, eth1", "eth0 is at switch left"),
    (swapped_between_nodes, "swapped", "n2", "eth0", "eth0 of n2 and eth0 of n3 are swapped"),
    (moved, "moved", "n4", "eth3", "at switch green, port 99; it was accepted at switch green, port n4eth3"),
    (on_another_switch, "wrong switch", "n5", "eth2", "On n5 eth2 is at switch left, port 77"),
    (untagged_vlan, "wrong VLAN", "n1", "eth0", "in VLAN 30 (switch green, port n1eth0); network admin is in VLAN 1"),
    (untagged_vlan_by_pattern, "wrong VLAN", "n6", "eth3", "the other ports of network public are in VLAN 30"),
    (no_tag, "wrong VLAN", "n1", "eth2", "has not VLAN 100 of network storage"),
    (tag_taken_off, "wrong VLAN", "n3", "eth1", "has VLAN 100 untagged"),
    (only_an_access_port, "wrong VLAN", "n3", "eth1", "its tagged VLANs are none, and the untagged one is 7"),
    (member_out, "half a bond", "n1", "eth2", "bond0 of n1 is not whole: eth2 has no carrier"),
    (member_without_partner, "half a bond", "n1", "eth2", "has no LACP partner"),
    (member_elsewhere, "half a bond", "n6", "eth1", "is in another aggregator"),
    (backup_out, "half a bond", "n4", "eth1", "eth1 has no carrier"),
    (too_slow, "wrong speed", "n2", "eth1", "runs at 1g; network storage wants 10g (switch left, port n2eth1)"),
    (half_duplex, "wrong speed", "n2", "eth0", "half duplex"),
    (port_says_small, "small MTU", "n2", "eth2", "takes packets of 1,500 bytes (switch right, port n2eth2)"),
    (port_is_small, "small MTU", "n5", "eth3", "to n5 on network public: n5 is at switch green, port n5eth3 (eth3)"),
    (switch_is_small, "small MTU", "", "", "anywhere on network public at switch green"),
    (card_is_small, "small MTU", "n2", "eth1", "eth1 of n2 itself has an MTU of 1,500"),
    (between_switches, "small MTU", "", "", "between switch left and switch right on network storage"),
    (router_is_small, "small MTU", "", "", "to the router 10.0.0.1 of network admin"),
    (cable_out, "no carrier", "n6", "eth0", "its cable is out"),
    (at_nobody, "silent", "n6", "eth3", "Nobody announces himself at eth3 of n6"),
    (at_a_machine, "silent", "n6", "eth3", "is plugged into the machine n7"),
    (vlan_behind_the_port, "unreachable", "n4", "eth1, eth2", "n4 is at switch left, port n4eth1 (eth1), switch right"),
    (nobody_answers, "unreachable", "", "", "No node of network public answers any other at switch green"),
]  # fmt: skip


@pytest.mark.parametrize("plant, kind, node, nic, said", PLANTED, ids=[one[0].__name__ for one in PLANTED])
def test_what_is_planted_is_named_and_nothing_else(
    plant: Callable[[Site], None], kind: str, node: str, nic: str, said: str
) -> None:
    site = Site()
    plant(site)
    found = site.found()
    assert [(one.kind, one.node, one.nic) for one in found] == [(kind, node, nic)], found
    assert said in found[0].said
    assert found[0].said.endswith(".")


def test_where_all_is_well_nothing_is_said() -> None:
    site = Site()
    assert site.found() == ()
    site.accept()
    assert site.found() == ()


def test_where_no_switch_tells_anything_nothing_is_said_of_switches() -> None:
    site = Site()
    for (node, nic), _ in list(site.wires.items()):
        site.set(node, nic, neighbour=None)
    assert site.found() == ()
    site.small.add(("public", "n5"))
    [one] = site.found()
    assert (one.node, one.said) == ("n5", "Packets of the full size do not get through to n5 on network public.")


def test_several_things_are_named_each() -> None:
    site = Site()
    for plant in (swapped_by_pattern, untagged_vlan, member_elsewhere, port_is_small, half_duplex, cable_out):
        plant(site)
    # The sixth is n6's: two of its cards have something each.
    assert sorted((one.kind, one.node) for one in site.found()) == sorted([
        ("swapped", "n2"), ("wrong VLAN", "n1"), ("half a bond", "n6"), ("small MTU", "n5"), ("wrong speed", "n2"),
        ("no carrier", "n6"),
    ])  # fmt: skip


@pytest.mark.parametrize("kind", ["unreachable", "small MTU"])
def test_what_all_networks_of_a_card_suffer_from_is_named_once(kind: str) -> None:
    site = Site()
    site.meant += [Meant(node=node, network="second", nics=("eth3",), vlan=40, tagged=True) for node in NODES]
    for node in NODES:
        site.at(node, "eth3", tagged=(40,))
    assert site.found() == ()
    ends = {("public", "n5"), ("second", "n5")}
    site.dead, site.small = (ends, set()) if kind == "unreachable" else (set(), ends)
    assert [(one.kind, one.node, one.nic) for one in site.found()] == [(kind, "n5", "eth3")]


def test_a_site_of_several_racks_has_no_pattern_to_break() -> None:
    site = Site()
    for node in NODES[3:]:
        for nic, there in (("eth1", "third"), ("eth2", "fourth")):
            site.at(node, nic, switch=there, chassis=there)
    site.at("n6", "eth1", switch="fifth", chassis="fifth")
    assert site.found() == ()


@pytest.mark.parametrize("count", [2, SMALL, SMALL + 1, 100, 1000])
def test_everybody_is_asked_and_nobody_asks_too_many(count: int) -> None:
    nodes = [f"n{number}" for number in range(count)]
    asked = targets(nodes, {node: f"s{number % 40}" for number, node in enumerate(nodes)})
    assert {other for others in asked.values() for other in others} == set(nodes)
    assert all(node not in others for node, others in asked.items())
    assert max(map(len, asked.values())) <= SMALL
