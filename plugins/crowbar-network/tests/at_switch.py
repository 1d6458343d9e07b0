"""What tests of interfaces share: the jig at a node, networks on its cards, and a switch that answers."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import crowbar_jig_script
import crowbar_network
from crowbar_jig_script.jig import ScriptJig
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside
from crowbar_network.jig import NetworkJig

from crowbar_core import Done, NodeView, Role, Task
from crowbar_core.testing import Testbed

STACKS = ("plain", "vlan", "active-backup", "802.3ad", "active-backup vlan", "802.3ad vlan")
MODES = {"active-backup": 1, "802.3ad": 4}
PAIRS = range(len(STACKS))
NODE = "node-1"
VLANS = range(100, 100 + 2 * len(STACKS))
"""Two for each pair: one whose frames have the tag, and one whose have not."""
PEER = "".join(f"""
link add link sw0 name sw0.{vlan} type vlan id {vlan}
link set sw0.{vlan} up
addr add 10.{vlan}.0.2/24 dev sw0.{vlan}
addr add fd00:{vlan}::2/64 dev sw0.{vlan} nodad
""" for vlan in VLANS)  # fmt: skip
"""The switch itself answers in each of them."""
RUNS = itertools.count(1)
PAUSE = 0.05
"""Seconds from one of the packets of ``pinged`` to the next."""
LOCKED_OUT = "no new connection to an admin address"


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


def site_of(lab: Lab, view: NodeView, *, keep_within: int, patience: int = 0) -> Iterator[Site]:
    config = {"key_file": str(lab.private_key), "connect_timeout": 20.0}
    jigs = {"script": ScriptJig(config), "network": NetworkJig({})}
    tables = {"jig-script": config, "network": {"keep_within": keep_within, "patience": patience}}
    with Testbed(crowbar_jig_script, crowbar_network, jigs=jigs, config=tables) as bed:
        yield Site(lab, bed, view)


def view_of(rack: Lab) -> NodeView:
    known = rack.node(NODE)
    return NodeView(id=known.number, name=known.name, addresses=(known.ipv4, known.ipv6), host_keys=(known.host_key,))


def answer_in_vlans(rack: Lab) -> None:
    """Make the switch itself answer in each VLAN, at ``PEER``'s addresses."""
    rack.run_in_switch(["ip", "-batch", "-"], given=PEER, check=True)
    let_in = "".join(f"vlan add dev sw0 self vid {vlan}\n" for vlan in VLANS)
    rack.run_in_switch(["bridge", "-batch", "-"], given=let_in, check=True)


def vlan_of(stacked: str, pair: int) -> int:
    return VLANS[2 * pair] if "vlan" in stacked.split() else VLANS[2 * pair + 1]


def network(
    stacked: str = "plain", bridge: str = "", families: str = "4", pair: int = 0, **more: Any
) -> dict[str, Any]:
    """A network as the node has it on two of its cards, with the switch itself as its router."""
    words = stacked.split()
    mode = next((MODES[word] for word in words if word in MODES), None)
    here, (one, other) = vlan_of(stacked, pair), cards_of(pair)
    addresses = [
        text for family, text in (("4", f"10.{here}.0.1/24"), ("6", f"fd00:{here}::1/64")) if family in families
    ]
    routers = [(text, 10) for family, text in (("4", f"10.{here}.0.2"), ("6", f"fd00:{here}::2")) if family in families]
    return {
        "name": f"data{pair or ''}", "id": 7 + pair, "category": "data", "addresses": addresses, "routers": routers,
        "conduit": f"name={one}" if mode is None else f"name={one},name={other}", "team_mode": mode,
        "vlan": here if "vlan" in words else None, "bridge": bool(bridge), "mtu": 0, "pbr": False, "active": False,
        "peers": [], **more,
    }  # fmt: skip


def cards_of(pair: int) -> tuple[str, str]:
    return f"eth{2 * pair + 1}", f"eth{2 * pair + 2}"


def set_ports(lab: Lab, stacked: str, pair: int = 0) -> None:
    here = vlan_of(stacked, pair)
    tagged = "vlan" in stacked.split()
    for card in cards_of(pair):
        lab.port(NODE, card, vlan=0 if tagged else here, tagged=[here] if tagged else [],
                 lacp=pair + 1 if "802.3ad" in stacked else 0)  # fmt: skip


def answering(lab: Lab, addresses: Iterable[str]) -> set[str]:
    """Those at which the node answers the switch."""
    asked = "".join(f"{{ ping -n -c1 -W1 {one} >/dev/null && echo {one}; }} & " for one in addresses)
    return set(lab.run_in_switch(["sh", "-c", f"{asked} wait"], check=True).stdout.split())


@contextlib.contextmanager
def pinged(lab: Lab, addresses: Iterable[str]) -> Iterator[dict[str, float]]:
    """While the node is pinged at these from the switch; then it is known for how many seconds each did not answer."""
    asked = list(addresses)
    each = f"ping -nqi{PAUSE} -w120 $one >of-$one 2>&1 </dev/null & echo $! >>pings"
    begin = f"cd /run; for one; do {each}; done; sleep 1"
    lab.run_in_switch(["sh", "-c", begin, "sh", *asked], check=True)
    silent: dict[str, float] = {}
    yield silent
    end = 'cd /run; sleep 1; kill -INT $(cat pings); sleep 1; for one; do cat "of-$one"; rm "of-$one"; done; rm pings'
    said = lab.run_in_switch(["sh", "-c", end, "sh", *asked], check=True).stdout
    counted = re.findall(r"(\d+) packets transmitted, (\d+) received", said)
    for address, (sent, received) in zip(asked, counted, strict=True):
        silent[address] = (int(sent) - int(received)) * PAUSE
