"""The switch of a rack: a VLAN-filtering bridge in a network namespace, with a port for each further card of each node.

A port is one end of a veth, the card the other: a port that is down is a cable that is out, and the card loses its
carrier. Ports in an LACP group are members of a bond of the switch's own, since a Linux bridge never forwards LACP: the
bond is the partner that a bond on the node finds. What is set at one port of a group holds for the group.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from crowbar_lab.boot import BootError, run_ip
from crowbar_lab.nodes import BadRequest, run_program
from crowbar_lab.wires import BRIDGE, Wires

if TYPE_CHECKING:
    from crowbar_lab.nodes import Node

NAMESPACE = "switch"
SWITCH = "sw0"
UPLINK = "vec0"
RACK_MAC = "02:77:00:00:00:02"


@dataclass(frozen=True, kw_only=True)
class Port:
    """How the switch treats a card."""

    cable: bool = True
    vlan: int = 1
    """That of untagged frames; 0: they are dropped."""
    tagged: tuple[int, ...] = ()
    lacp: int = 0
    """The LACP group of the node that it is in; 0: none."""
    mtu: int = 1500


class Switch(Wires):
    """The wires of a rack: the bridge for the management cards, and the switch for all others."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        super().__init__(wanted)
        self._ports: dict[tuple[int, str], Port] = {}
        self._bonds: set[str] = set()

    def make(self) -> None:
        self.make_bridge(RACK_MAC)
        self.ip(f"link set {UPLINK} master {BRIDGE} up")
        self._run(["ip", "netns", "add", NAMESPACE])
        self._inside(
            "link set lo up",
            f"link add {SWITCH} type bridge stp_state 0 forward_delay 0 mcast_snooping 0 vlan_filtering 1 "
            "vlan_default_pvid 0",
            f"link set {SWITCH} up",
        )

    # ---- cards come and go with a node's power; what is set at their ports stays

    def plug_in(self, nodes: Sequence[Node]) -> None:
        super().plug_in(nodes)
        self.ip(
            *(
                f"link add {_port(node, nic)} netns {NAMESPACE} type veth "
                f"peer name {nic} address {mac} netns {node.init}"
                for node in nodes
                for nic, mac in node.cards.items()
            )
        )
        self._settle([(node, nic) for node in nodes for nic in node.cards])

    def unplug(self, node: Node) -> None:
        super().unplug(node)
        for nic in node.cards:
            try:
                self._inside(f"link del {_port(node, nic)}")
            except BootError:
                pass  # as above

    def cards(self, node: Node) -> list[dict[str, Any]]:
        return [{"name": nic, "mac": mac, **asdict(self._port_of(node, nic))} for nic, mac in node.cards.items()]

    # ---- what can be asked for

    def cable(self, node: Node, nic: str, *, up: bool) -> dict[str, Any]:
        self._ports[node.number, nic] = replace(self._port_of(node, nic), cable=up)
        if node.powered:
            self._inside(f"link set {_port(node, nic)} {'up' if up else 'down'}")
        return {"cards": self.cards(node)}

    def change_port(self, node: Node, nic: str, changed: Mapping[str, Any]) -> dict[str, Any]:
        """``changed`` has what is to be another way: ``vlan``, ``tagged``, ``lacp``, ``mtu``."""
        if "tagged" in changed:
            changed = {**changed, "tagged": tuple(changed["tagged"])}
        before = self._port_of(node, nic)
        after = replace(before, **changed)
        if after.vlan in after.tagged:
            raise BadRequest(f"VLAN {after.vlan} cannot be both tagged and untagged at {nic}: say which.")
        fellows = self._group(node, after.lacp) - {nic}
        if fellows and before.lacp != after.lacp:
            # A port that joins is treated as the group is, but for what is said now.
            after = replace(self._port_of(node, min(fellows)), **{**changed, "cable": after.cable, "lacp": after.lacp})
        self._ports[node.number, nic] = after
        for fellow in fellows:
            self._ports[node.number, fellow] = replace(after, cable=self._port_of(node, fellow).cable)
        if node.powered:
            self._settle([(node, nic)], rewire=before.lacp != after.lacp)
            if before.lacp and before.lacp != after.lacp and not self._group(node, before.lacp):
                self._inside(f"link del {_bond(node, before.lacp)}")
                self._bonds.remove(_bond(node, before.lacp))
        return {"cards": self.cards(node)}

    def run(self, argv: Sequence[str], given: str) -> dict[str, Any]:
        """Run a program in the switch's namespace."""
        return run_program(["ip", "netns", "exec", NAMESPACE, *argv], given, where="in the switch")

    # ---- from what is set to what is

    def _settle(self, ports: Sequence[tuple[Node, str]], *, rewire: bool = True) -> None:
        """Make the switch treat these ports, and the groups they are in, as set."""
        links, vlans, done = [], [], set()
        for node, nic in ports:
            port, name = self._port_of(node, nic), _port(node, nic)
            state = "up" if port.cable else "down"
            device = name
            if port.lacp:
                device = _bond(node, port.lacp)
                if device not in self._bonds:
                    links.append(f"link add {device} type bond mode 802.3ad miimon 50 lacp_rate fast")
                    self._bonds.add(device)
            if rewire and port.lacp:
                # A bond takes in only what is down.
                links += [f"link set {name} nomaster", f"link set {name} down", f"link set {name} master {device}"]
            if device not in done:
                # To leave the bridge and to come back forgets the VLANs.
                links += [f"link set {device} nomaster", f"link set {device} master {SWITCH}"]
                links.append(f"link set {device} mtu {port.mtu}")
                if port.lacp:
                    links.append(f"link set {device} up")
                if port.vlan:
                    vlans.append(f"vlan add dev {device} vid {port.vlan} pvid untagged")
                vlans += [f"vlan add dev {device} vid {vlan}" for vlan in port.tagged]
            done.add(device)
            links.append(f"link set {name} {state}")
        if links:
            self._inside(*links)
        if vlans:
            self._run(["bridge", "-n", NAMESPACE, "-batch", "-"], "".join(f"{line}\n" for line in vlans))

    def _port_of(self, node: Node, nic: str) -> Port:
        if nic not in node.cards:
            known = ", ".join(node.cards) or "none"
            raise BadRequest(f"The node {node.name} has no card {nic} at the switch, which has: {known}.")
        return self._ports.get((node.number, nic), Port())

    def _group(self, node: Node, lacp: int) -> set[str]:
        return {nic for nic in node.cards if lacp and self._port_of(node, nic).lacp == lacp}

    def _inside(self, *lines: str) -> None:
        run_ip(self.wanted["ip"], lines, "-n", NAMESPACE)

    @staticmethod
    def _run(argv: Sequence[str], given: str = "") -> None:
        done = subprocess.run(argv, input=given, capture_output=True, text=True)
        if done.returncode != 0:
            raise BootError(f"{argv[0]}: {' '.join(done.stderr.split())}")


def _port(node: Node, nic: str) -> str:
    return f"n{node.number}-{nic}"


def _bond(node: Node, lacp: int) -> str:
    return f"n{node.number}-lacp{lacp}"
