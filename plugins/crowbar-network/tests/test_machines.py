"""Whole machines with systemd: what the writers leave is, after a real start, what the model says; and what does not
work is led back, whatever tool the machine uses.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crowbar_jig_script.remote import Remote
from crowbar_lab.testing import inside
from crowbar_network import program
from crowbar_network.changes import missing, way
from crowbar_network.jig import look
from crowbar_network.layers import stack
from crowbar_network.state import State
from crowbar_network.wanted import Config, on_machine

from crowbar_core import NodeView, PermanentError
from crowbar_core.testing import wait_until

from .at_switch import LOCKED_OUT, Site, network, site_of
from .conftest import WRITERS, Back, often
from .machine import ADDRESS, ADDRESS6, NAME, Machine, started

pytestmark = [pytest.mark.machines, pytest.mark.lab, pytest.mark.timeout(7200)]

FIRST = f"""[Match]
Name=eth0
[Network]
Address={ADDRESS}/16
Address={ADDRESS6}/64
IPv6AcceptRA=no
"""
RECORD = "/etc/crowbar-network/kept.json"
COUNTED = 8
"""Seconds after which a broken change is led back where they are counted: as an installation has it."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "tool" in metafunc.fixturenames:
        only = metafunc.config.getoption("--writer", None)
        metafunc.parametrize("tool", [only] if only else WRITERS)


STACKS = {
    "802.3ad vlan": network("802.3ad vlan", "bridge", "46", mtu=1400, pbr=True, active=True),
    "active-backup": network("active-backup", active=True),
    "plain": network("plain", families="6", active=True),
}


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="crowbar-machine-") as directory:
        Path(directory).chmod(0o755)
        with started(Path(directory), {"/etc/systemd/network/50-first.network": FIRST}) as machine:
            yield machine


@pytest.fixture(scope="module")
def site(machine: Machine) -> Iterator[Site]:
    yield from site_of(machine.lab, view_of(machine), keep_within=60)


@pytest.fixture(scope="module")
def patient(machine: Machine, site: Site, pytestconfig: pytest.Config) -> Iterator[Site]:
    """One that has all the time it may need to see what is wrong, and no more; or that of an installation."""
    counted = pytestconfig.getoption("--broken", 0)
    keep_within, patience = (COUNTED, 0) if counted else (180, 3)
    yield from site_of(machine.lab, view_of(machine), keep_within=keep_within, patience=patience)


@pytest.fixture(scope="module")
def hasty(machine: Machine, site: Site, pytestconfig: pytest.Config) -> Iterator[Site]:
    """For what cannot be seen, since nobody can log in."""
    counted = pytestconfig.getoption("--broken", 0)
    keep_within = COUNTED if counted else pytestconfig.getoption("--keep-within")
    yield from site_of(machine.lab, view_of(machine), keep_within=keep_within)


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


def settled(machine: Machine, site: Site, networks: list[dict[str, Any]]) -> None:
    """The machine, started, gets to what the model says: its tools take their time."""
    deadline = time.monotonic() + 240
    while left := differences(site, networks):
        assert time.monotonic() < deadline, (left, machine.run("systemctl status networking; ip -d a; ip r; ip rule"))
        time.sleep(1)


@pytest.mark.parametrize("stacked", STACKS)
def test_after_a_real_start_all_is_as_the_model_says(machine: Machine, site: Site, tool: str, stacked: str) -> None:
    machine.set_switch(stacked)
    wanted = [STACKS[stacked], admin()]
    site.configure(*wanted, writer=tool)
    machine.power_cycle()
    settled(machine, site, wanted)
    state = inside(site.lab, lambda: seen(site))
    marks = {
        "networkd": "/etc/systemd/network/10-crowbar-eth0.network", "ifupdown": "/etc/network/interfaces.d/crowbar",
        "netplan": "/etc/netplan/90-crowbar.yaml",
    }  # fmt: skip
    assert {mark for mark in marks.values() if mark in state.files} == {marks[tool]}
    assert "/etc/systemd/network/50-first.network" not in state.files
    assert state.kept["aside"] == ["/etc/systemd/network/50-first.network"]


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "a wrong VLAN": (admin(vlan=77), "", LOCKED_OUT),
    "a wrong gateway": (admin(routers=[("10.77.9.9", 1)]), "", "router 10.77.9.9 of network admin"),
    "a wrong mode of a bond": (network("802.3ad"), "", "no partner that speaks LACP"),
    "no carrier": (network(conduit="name=eth2"), "p2", "has no carrier"),
    "an MTU too large": (network(mtu=9000), "", "full size"),
    "a doubled address": (network(addresses=["10.101.0.2/24"], routers=[]), "", "another machine on eth1"),
    "a missing card": (network(conduit="name=eth7"), "", "name=eth7"),
}


POWER_CUT = "a power cut"
KINDS = (*BROKEN, POWER_CUT)


def interfaces(machine: Machine) -> str:
    """What there is, and what its tools would make of it."""
    shown = "ip -br addr show scope global | sed 's/@[^ ]*//; s/  */ /g'; ip route; ip rule; ip -6 rule"
    files = "cd /etc && cksum systemd/network/* network/interfaces network/interfaces.d/* netplan/* 2>/dev/null"
    return machine.run(f"{shown}; ip -6 route show default; {files}; :")


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_is_locked_out_of_a_machine_by(
    machine: Machine,
    site: Site,
    patient: Site,
    hasty: Site,
    tool: str,
    kind: str,
    led_back: Callable[[Back], None],
    pytestconfig: pytest.Config,
) -> None:
    wanted, without, said = BROKEN.get(kind, (admin(vlan=77), "", ""))
    machine.set_switch("")
    kept = network("plain", "bridge", "46", active=True)
    site.configure(kept, admin(), writer=tool)
    site.configure(admin(), kept, writer=tool, role="admin")
    machine.set_switch("", without=without.split())
    before = interfaces(machine)
    trying = hasty if said == LOCKED_OUT else patient
    other = admin() if wanted["name"] == "data" else kept
    for _ in range(often(pytestconfig, len(KINDS))):
        spent = machine.cpu_seconds()
        if kind == POWER_CUT:
            seconds = cut_power(machine, site, [kept, admin()])
            assert interfaces(machine) == before
            led_back(Back(seconds=seconds, kind=kind, writer=tool, cpu=machine.cpu_seconds(), booted=True))
            continue
        with pytest.raises(PermanentError) as failed:
            trying.configure(wanted, other, role=wanted["name"], writer=tool)
        named = said in failed.value.detail
        assert named or pytestconfig.getoption("--broken", 0), failed.value.detail
        assert "is not as it was" not in failed.value.detail
        assert interfaces(machine) == before
        told = [line for line in trying.log if line.startswith("led back ")]
        assert bool(told) == (kind != "a missing card"), "which is seen before anything is touched"
        seconds = float(told[0].split()[2]) if told else 0.0
        spent = machine.cpu_seconds() - spent
        led_back(Back(seconds=seconds, kind=kind, named=named, writer=tool, cpu=spent))


def cut_power(machine: Machine, site: Site, networks: list[dict[str, Any]]) -> float:
    """In the middle of a change. Returns how long after its start, by its own clock, the machine was as before."""
    text = program.begin("0123456789abcdef", limit=600, forward=["addr flush dev eth0"], backward=[],
                         trial=program.Trial())  # fmt: skip
    machine.lab.exec(machine.command("sh -s"), input=text, text=True, capture_output=True, timeout=60)
    asked = ["ping", "-n", "-c1", "-W2", ADDRESS]
    wait_until(lambda: machine.lab.exec(asked, capture_output=True).returncode != 0)
    machine.power_cycle()
    settled(machine, site, networks)
    return float(machine.run("cat /proc/uptime").split()[0])
