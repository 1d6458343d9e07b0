"""The network by which a lab's nodes are managed: a bridge, and a card of each node at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crowbar_lab.boot import BootError, run_ip

if TYPE_CHECKING:
    from crowbar_lab.nodes import Node

BRIDGE = "lab0"
BRIDGE_MAC = "02:77:00:00:00:01"
"""That of the bridge that the server is at."""
MANY = 100
"""From this node on, neighbours are written down instead of asked for: the kernel's table of those it asked for is one
for all namespaces and full at 1,024."""


class Wires:
    """What nodes are plugged into. All of it is in the network namespace of this process."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self.wanted = wanted

    def ip(self, *lines: str) -> None:
        """Run ``ip -batch`` in the lab's network namespace; ``BootError`` has its words."""
        run_ip(self.wanted["ip"], lines)

    def make_bridge(self, mac: str = BRIDGE_MAC) -> None:
        self.ip(
            "link set lo up",
            f"link add {BRIDGE} address {mac} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {BRIDGE} up",
        )

    def make_server_side(self) -> None:
        """The bridge with the server's addresses."""
        self.make_bridge()
        self.ip(
            f"addr add {self.wanted['server_ipv4']} dev {BRIDGE}",
            f"addr add {self.wanted['server_ipv6']} dev {BRIDGE} nodad",
        )

    def neighbours(self, places: Sequence[Mapping[str, Any]]) -> None:
        """What the server's side has to know of nodes before it can reach them."""
        lines = [
            f"neigh replace {place[family]} lladdr {place['mac']} dev {BRIDGE} nud permanent"
            for place in places
            if place["number"] >= MANY
            for family in ("ipv4", "ipv6")
        ]
        if lines:
            self.ip(*lines)

    def plug_in(self, nodes: Sequence[Node]) -> None:
        """Give each node its card. The port's name says the boot: one still being torn down is not in the way."""
        lines = []
        for node in nodes:
            port = self._port(node)
            lines.append(f"link add {port} type veth peer name eth0 address {node.mac} netns {node.init}")
            lines.append(f"link set {port} master {BRIDGE} up")
        self.ip(*lines)

    def unplug(self, node: Node) -> None:
        """After the node's end."""
        try:
            self.ip(f"link del {self._port(node)}")
        except BootError:
            pass  # the kernel was faster: the card goes with the node's network namespace

    def cards(self, node: Node) -> list[dict[str, Any]]:
        """What a node has besides eth0, as lab.json shows it."""
        return []

    @staticmethod
    def _port(node: Node) -> str:
        return f"n{node.number}b{node.boots}"

    def inside(self, place: Mapping[str, Any]) -> tuple[str, ...]:
        """Lines for ``ip -batch`` on the node itself."""
        four, six = self.wanted["server_ipv4"], self.wanted["server_ipv6"]
        lines = [
            "link set lo up",
            "link set eth0 up",
            f"addr add {place['ipv4']}/{four.partition('/')[2]} dev eth0",
            f"addr add {place['ipv6']}/{six.partition('/')[2]} dev eth0 nodad",
        ]
        if place["number"] >= MANY:
            for server in (four, six):
                lines.append(f"neigh replace {server.partition('/')[0]} lladdr {BRIDGE_MAC} dev eth0 nud permanent")
        return tuple(lines)
