"""What does not work is taken back, for real: nodes at a switch, whose interfaces are broken in eight ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from crowbar_lab.lab import Lab
from crowbar_lab.testing import rack_fixture
from crowbar_network import program

from crowbar_core import PermanentError
from crowbar_core.testing import wait_until

from .at_switch import (
    LOCKED_OUT,
    NODE,
    Site,
    answer_in_vlans,
    answering,
    network,
    set_ports,
    site_of,
    view_of,
)
from .conftest import Back, often, too_late

pytestmark = pytest.mark.lab

rack = rack_fixture(nodes=2, cards=2)


@pytest.fixture(scope="module")
def site(rack: Lab) -> Iterator[Site]:
    answer_in_vlans(rack)
    yield from site_of(rack, view_of(rack), keep_within=60)


@pytest.fixture(scope="module")
def patient(rack: Lab, site: Site, pytestconfig: pytest.Config) -> Iterator[Site]:
    """One that has all the time it may need to see what is wrong, and no more; or that of an installation."""
    counted = pytestconfig.getoption("--broken", 0)
    yield from site_of(rack, view_of(rack), keep_within=8 if counted else 60, patience=0 if counted else 2)


@pytest.fixture(scope="module")
def hasty(rack: Lab, site: Site) -> Iterator[Site]:
    """For what cannot be seen, since nobody can log in."""
    yield from site_of(rack, view_of(rack), keep_within=8)


def admin(lab: Lab, **more: Any) -> dict[str, Any]:
    """The network by which the node is reached, on its management card."""
    known = lab.node(NODE)
    addresses = [f"{known.ipv4}/16", f"{known.ipv6}/64"]
    return network(**{"name": "admin", "id": 1, "category": "admin", "conduit": "name=eth0", "addresses": addresses,
                      "routers": [], "bridge": True, **more})  # fmt: skip


BROKEN: dict[str, tuple[Callable[[Lab], dict[str, Any]], str]] = {
    "a wrong VLAN": (lambda lab: admin(lab, vlan=77), LOCKED_OUT),
    "a wrong gateway": (lambda lab: admin(lab, routers=[("10.77.9.9", 1)]), "router 10.77.9.9 of network admin"),
    "a wrong mode of a bond": (lambda _: network("802.3ad"), "no partner that speaks LACP"),
    "no carrier": (lambda _: network(conduit="name=eth2"), "has no carrier"),
    "an MTU too large": (lambda _: network(mtu=9000), "full size"),
    "a doubled address": (lambda _: network(addresses=["10.101.0.2/24"], routers=[]), "another machine on eth1"),
    "a missing card": (lambda _: network(conduit="name=eth70"), "name=eth70"),
}
POWER_CUT = "a power cut"
KINDS = (*BROKEN, POWER_CUT)
"""After the last, the node is as at its start again."""
ON_PLAIN_NODES = ("a wrong gateway", "an MTU too large", "a missing card", POWER_CUT)
"""Those of which ``test_on_nodes`` has one each, so that here they are only made when they are counted."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        counted = metafunc.config.getoption("--broken", 0)
        metafunc.parametrize("kind", [kind for kind in KINDS if counted or kind not in ON_PLAIN_NODES])


def test_a_broken_change_that_is_counted_and_lasts_too_long_fails() -> None:
    def took(seconds: float, **more: Any) -> Back:
        return Back(seconds=seconds, kind="a wrong VLAN", **more)

    assert too_late([took(8.2), took(10.0, named=False)]) == ""
    assert too_late([took(8.2), took(10.1)]) == "1 of 2 took longer than 10 s: 10.1 s at most"
    assert too_late([took(30.0, booted=True)]) == "", "a whole machine takes its time to start"


def interfaces(lab: Lab) -> str:
    shown = "ip -br addr show scope global | sed 's/@[^ ]*//; s/  */ /g'; ip route; ip rule; ip -6 rule"
    shown += "; ip -6 route show default"
    asked = lab.exec(lab.ssh(NODE, [shown]), capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0, asked.stderr
    return str(asked.stdout)


LedBack = Callable[[Back], None]


def cut_power(rack: Lab, led_back: LedBack, times: int) -> None:
    rack.power(NODE, "reset")
    before = interfaces(rack)
    there = rack.node(NODE).ipv4
    for _ in range(times):
        forward = [f"addr del {there}/16 dev eth0", "addr replace 10.250.0.9/24 dev eth0"]
        text = program.begin("0123456789abcdef", limit=600, forward=forward, backward=[], trial=program.Trial())
        begun = rack.exec(rack.ssh(NODE, ["sh -s; cat /proc/uptime"]), input=text, capture_output=True, text=True,
                          timeout=60)  # fmt: skip
        word, uptime = begun.stdout.splitlines()
        assert word == "begun", begun.stderr
        wait_until(lambda: not answering(rack, [there]))
        rack.power(NODE, "reset")
        wait_until(lambda: interfaces(rack) == before)
        now = rack.console(NODE, ["cat", "/proc/uptime"], check=True).stdout
        led_back(Back(seconds=float(now.split()[0]) - float(uptime.split()[0]), kind=POWER_CUT))


@pytest.mark.timeout(7200)
def test_nobody_is_locked_out_by(
    rack: Lab, site: Site, patient: Site, hasty: Site, kind: str, led_back: LedBack, pytestconfig: pytest.Config
) -> None:
    if kind == POWER_CUT:
        cut_power(rack, led_back, often(pytestconfig, len(KINDS)))
        return
    wanted, said = BROKEN[kind]
    trying = hasty if said == LOCKED_OUT else patient
    kept = network("plain", "bridge", "46", active=True)
    set_ports(rack, "plain")
    site.configure(kept)
    rack.cable(NODE, "eth2", up=kind != "no carrier")
    before = interfaces(rack)
    for _ in range(often(pytestconfig, len(KINDS))):
        broken = wanted(rack)
        with pytest.raises(PermanentError) as failed:
            trying.configure(broken, *([kept] if broken["name"] == "admin" else []), role=broken["name"])
        named = said in failed.value.detail
        assert named or pytestconfig.getoption("--broken", 0), failed.value.detail
        assert interfaces(rack) == before
        told = [line for line in trying.log if line.startswith("led back ")]
        assert bool(told) == (kind != "a missing card"), "which is seen before anything is touched"
        led_back(Back(seconds=float(told[0].split()[2]) if told else 0.0, kind=kind, named=named))
    rack.cable(NODE, "eth2", up=True)


def test_what_was_wrong_with_another_network_before_does_not_lead_a_change_back(rack: Lab, site: Site) -> None:
    set_ports(rack, "plain")
    gone = "10.101.0.9"
    other = network("plain", active=True)
    site.configure(other)
    dead = {**other, "routers": [(gone, 10)], "peers": [gone]}
    changed = network("plain", name="new", id=9, conduit="name=eth2", addresses=["10.103.0.1/24"], routers=[])
    site.configure(dead, changed, role="new")
    assert f"warning: as before the change: router {gone} of network data does not answer on eth1" in site.log
    rack.cable(NODE, "eth1", up=False)
    try:
        wait_until(lambda: "NO-CARRIER" in rack.console(NODE, ["ip", "link", "show", "eth1"], check=True).stdout)
        site.configure({**dead, "active": True}, {**changed, "mtu": 1400}, role="new")
        assert "warning: as before the change: eth1 has no carrier" in site.log
    finally:
        rack.cable(NODE, "eth1", up=True)
