"""What ``crowbar demo`` shows of names: BIND on the admin node, and every node asked for by name and by address."""

from __future__ import annotations

import ipaddress
import shutil
import time
from collections.abc import Callable, Sequence

from crowbar_core.client import Client
from crowbar_lab.errors import LabError
from crowbar_lab.host import SEARCH_PATH
from crowbar_lab.lab import Lab, LabNode

BARCLAMP = "dns"
SERVER, DATABASE = "dns-server", "dns-database"
SYSTEM_NODE = "system-phantom.internal.local"
SECONDS = 30.0
PAUSE = 0.1
_TOOLS = {"named": "bind9", "dig": "bind9-dnsutils"}

Answer = tuple[str, str, str]
"""Name, type and value, without final dots."""


class Names:
    """On a lab whose nodes are registered. ``tell`` is given what happens, ``show`` each line of what BIND answers."""

    def __init__(self, lab: Lab, api: Client, tell: Callable[[str], None], show: Callable[[str], None]) -> None:
        self.lab, self.api, self.tell, self.show = lab, api, tell, show
        self.are_there = False

    def prepare(self, deployment: str, server: str) -> list[tuple[str, str]]:
        """Binds what makes names, as (role, where it is bound); nothing where a package for it is missing."""
        if not any(self.api.rows("roles", query={"barclamp": BARCLAMP})):
            return []
        if lacking := sorted(package for tool, package in _TOOLS.items() if not shutil.which(tool, path=SEARCH_PATH)):
            self.tell(f"Nodes have no names in DNS: that needs BIND (apt-get install {' '.join(lacking)}).")
            return []
        self.api.post("node_roles", body={"node_id": server, "role_id": SERVER, "deployment_id": deployment})
        self.api.post("node_roles", body={"node_id": SYSTEM_NODE, "role_id": DATABASE})
        self.are_there = True
        return [(SERVER, "on the admin node"), (DATABASE, "for all")]

    def look(self, url: str) -> None:
        """Asks BIND for each node, forward and reverse, on both families. Raises ``LabError`` where that is not
        answered in time.
        """
        if not self.are_there:
            return
        nodes = self.lab.nodes
        wanted = {one for node in nodes for one in _wanted(node)}
        deadline = time.monotonic() + SECONDS
        while missing := wanted - set((answers := self._ask(nodes)).values()):
            if time.monotonic() > deadline:
                name, kind, value = min(missing)
                raise LabError(
                    f"BIND on {nodes[0].name} does not answer {name} {kind} with {value}, within {SECONDS:g} s."
                )
            time.sleep(PAUSE)
        self.tell(f"BIND on {nodes[0].name} knows each node by name and by address:")
        for line in answers:
            self.show(line.expandtabs())
        self.tell(f"The zones, and whose names these are: {url}/dns")

    def _ask(self, nodes: Sequence[LabNode]) -> dict[str, Answer]:
        """Each line that dig shows, with what it says."""
        questions = [
            word for node in nodes for word in (node.name, "A", node.name, "AAAA", "-x", node.ipv4, "-x", node.ipv6)
        ]
        asking = ["dig", f"@{nodes[0].ipv4}", "+noall", "+answer", "+time=2", "+tries=1", *questions]
        said = self.lab.exec(asking, capture_output=True, text=True, timeout=SECONDS, check=False).stdout
        return {line: found for line in said.splitlines() if (found := _read(line)) is not None}


def _wanted(node: LabNode) -> list[Answer]:
    found = [(node.name, "A", node.ipv4), (node.name, "AAAA", node.ipv6)]
    return found + [(_reverse(address), "PTR", node.name) for address in (node.ipv4, node.ipv6)]


def _reverse(address: str) -> str:
    return ipaddress.ip_address(address).reverse_pointer


def _read(line: str) -> Answer | None:
    """A line of dig's answer: NAME TTL IN TYPE VALUE."""
    words = line.split()
    if line.startswith(";") or len(words) != 5:
        return None
    return words[0].removesuffix("."), words[3], words[4].removesuffix(".")
