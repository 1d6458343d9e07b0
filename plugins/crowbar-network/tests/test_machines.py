"""Whole machines with systemd: what the writers leave is, after a real start, what the model says."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crowbar_jig_script.remote import Remote
from crowbar_lab.testing import inside
from crowbar_network.changes import missing, way
from crowbar_network.jig import look
from crowbar_network.layers import stack
from crowbar_network.state import State
from crowbar_network.wanted import Config, on_machine

from crowbar_core import NodeView

from .machine import ADDRESS, ADDRESS6, NAME, Machine, started
from .test_combinations import Site, network, site_of

pytestmark = [pytest.mark.machines, pytest.mark.lab, pytest.mark.timeout(1200)]

TOOLS = ("networkd", "ifupdown", "netplan")
FIRST = f"""[Match]
Name=eth0
[Network]
Address={ADDRESS}/16
Address={ADDRESS6}/64
IPv6AcceptRA=no
"""
RECORD = "/etc/crowbar-network/kept.json"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="crowbar-machine-") as directory:
        Path(directory).chmod(0o755)
        with started(Path(directory), {"/etc/systemd/network/50-first.network": FIRST}) as machine:
            yield machine


@pytest.fixture(scope="module")
def site(machine: Machine) -> Iterator[Site]:
    yield from site_of(machine.lab, view_of(machine), keep_within=60)


def view_of(machine: Machine) -> NodeView:
    return NodeView(id=1, name=NAME, addresses=(ADDRESS, ADDRESS6), host_keys=(machine.host_key,))


def admin(**more: Any) -> dict[str, Any]:
    """The network by which the machine is reached."""
    return network(**{"name": "admin", "id": 1, "category": "admin", "conduit": "name=eth0", "active": True,
                      "addresses": [f"{ADDRESS}/16", f"{ADDRESS6}/64"],
                      "routers": [("10.77.0.1", 1), ("fd00:77::1", 1)], **more})  # fmt: skip


def seen(site: Site) -> State:
    with site.bed.serving():
        return look(Remote.of_cluster(), site.view, ADDRESS, files=True)


def differences(site: Site, networks: list[dict[str, Any]]) -> list[str]:
    """What is not as the model says, and what would be done about it."""
    state = inside(site.lab, lambda: seen(site))
    links = stack(on_machine([Config.of(one) for one in networks], state.nics, state.product, []))
    return [*missing(state, links), *way(state, links, ours=state.kept["links"]).forward]


@pytest.mark.parametrize("tool", TOOLS)
def test_after_a_real_start_all_is_as_the_model_says(machine: Machine, site: Site, tool: str) -> None:
    wanted = [network("802.3ad vlan", "bridge", "46", mtu=1400, pbr=True), admin()]
    site.configure(*wanted, writer=tool)
    machine.power_cycle()
    deadline = time.monotonic() + 240
    while left := differences(site, wanted):
        assert time.monotonic() < deadline, (left, machine.run("systemctl status networking; ip -d a; ip r; ip rule"))
        time.sleep(1)
    state = inside(site.lab, lambda: seen(site))
    marks = {
        "networkd": "/etc/systemd/network/10-crowbar-eth0.network", "ifupdown": "/etc/network/interfaces.d/crowbar",
        "netplan": "/etc/netplan/90-crowbar.yaml",
    }  # fmt: skip
    assert {mark for mark in marks.values() if mark in state.files} == {marks[tool]}
    assert "/etc/systemd/network/50-first.network" not in state.files
    assert state.kept["aside"] == ["/etc/systemd/network/50-first.network"]
