"""Wires for real: nodes that listen to a switch, and what is plugged in or set otherwise there is found by name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

rack = rack_fixture(nodes=3, cards=3)
API = "/api/v2"
T = TypeVar("T")
NODES = ("admin.lab.test", "node-1.lab.test", "node-2.lab.test")
TRUNK: dict[str, Any] = {"vlan": 0, "tagged": [100], "lacp": 1, "mtu": 1500}
FRONT: dict[str, Any] = {"vlan": 30, "tagged": [], "lacp": 0, "mtu": 1500}


class Site:
    """A core with three nodes: eth1 and eth2 are a bond with the tagged network ``data``, eth3 is ``front``."""

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
        for body in (
            {"name": "data", "category": "data", "conduit": "name=eth1,name=eth2", "use_team": True, "team_mode": 4,
             "use_vlan": True, "vlan": 100, "ranges": [{"name": "host", "first": "10.100.0.1/24",
                                                        "last": "10.100.0.9/24"}]},
            {"name": "front", "category": "data", "conduit": "name=eth3", "vlan": 30, "v6prefix": "fd00:30::/64"},
        ):  # fmt: skip
            assert web.post(f"{API}/networks", json=body).status_code == 201
        for node in self.lab.nodes:
            self.bed.add_node(node.name, hint={"hint-admin-v4addr": f"{node.ipv4}/16"}, host_keys=[node.host_key])
            for role in ("network-data", "network-front"):
                self.bed.bind(role, node.name)
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
        assert found["pings"] == 12
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


def named(site: Site, *expected: tuple[str, str, str, str]) -> Callable[[], Any]:
    """True when a check finds just these: kind, node, card and switch's port."""

    def ask() -> Any:
        found = site.check()
        return [(one["kind"], one["node"], one["nic"], one["port"]) for one in found] == list(expected) or found

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
        assert (told["eth3"]["vlan"], told["eth3"]["tagged"]) == (30, [])
        assert told["eth1"]["master"] == told["eth2"]["master"] == "bond0"
    said = site.lab.console(NODES[1], ["sh", "-c", "ls /run/lldpd.socket; pgrep -c lldpd"], check=True).stdout
    assert said.split() == ["/run/lldpd.socket", "2"]


def pull_a_member(lab: Lab) -> None:
    lab.cable(NODES[1], "eth2", up=False)


def plug_it_in(lab: Lab) -> None:
    lab.cable(NODES[1], "eth2", up=True)


def leave_the_group(lab: Lab) -> None:
    lab.port(NODES[2], "eth1", lacp=0)


def come_back(lab: Lab) -> None:
    lab.port(NODES[2], "eth1", **TRUNK)


def other_vlan(lab: Lab) -> None:
    lab.port(NODES[0], "eth3", vlan=31)


def small(lab: Lab) -> None:
    lab.port(NODES[1], "eth3", mtu=1400)


def as_it_was(lab: Lab) -> None:
    for node in NODES:
        lab.port(node, "eth3", **FRONT)
        lab.cable(node, "eth3", up=True)


def pull(lab: Lab) -> None:
    lab.cable(NODES[2], "eth3", up=False)


def swap(lab: Lab) -> None:
    """Each of two cables ends where the other did: the ports take each other's name."""
    one, other = "n2-eth1", "n2-eth2"
    lab.run_in_switch(
        ["ip", "-batch", "-"], check=True,
        given=f"link set {one} down\nlink set {other} down\nlink set {one} name spare\nlink set {other} name {one}\n"
        f"link set spare name {other}\nlink set {one} up\nlink set {other} up\n",
    )  # fmt: skip


def test_where_all_is_well_nothing_is_found_and_the_wires_can_be_accepted(site: Site) -> None:
    eventually(named(site))
    assert site.bed.web().post(f"{API}/network_wires/accept", json={}).json == {"nodes": 3}


def test_a_swap_a_dead_member_a_dead_card_and_a_wrong_vlan_are_named_and_nothing_else(rack: Lab, site: Site) -> None:
    pull_a_member(rack)
    other_vlan(rack)
    pull(rack)
    swap(rack)
    try:
        eventually(named(
            site, ("swapped", NODES[2], "eth1, eth2", "n2-eth2"), ("no carrier", NODES[2], "eth3", ""),
            ("half a bond", NODES[1], "eth2", ""), ("wrong VLAN", NODES[0], "eth3", "n0-eth3"),
        ))  # fmt: skip
        wait_for_the_role(site, 31)
    finally:
        plug_it_in(rack)
        as_it_was(rack)
        swap(rack)


def test_a_port_out_of_its_group_and_one_with_a_small_mtu_are_named_and_nothing_else(rack: Lab, site: Site) -> None:
    wait_for_the_role(site, 30)
    leave_the_group(rack)
    small(rack)
    try:
        eventually(named(
            site, ("half a bond", NODES[2], "eth1", "n2-eth1"), ("small MTU", NODES[1], "eth3", "n1-eth3"),
        ))  # fmt: skip
    finally:
        come_back(rack)
        as_it_was(rack)
