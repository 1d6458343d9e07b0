"""Whole machines that have an address by DHCP: whichever client holds the lease, a network takes its card, and a change
that is led back has the client back. And LLDP as a service of systemd.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crowbar_lab.testing import inside
from crowbar_network.listening import LLDPD

from crowbar_core import Done, NodeView, PermanentError, Role, Task
from crowbar_core.testing import wait_until

from .at_switch import RUNS, Site, network, site_of
from .machine import ADDRESS, ADDRESS6, NAME, Machine, started
from .test_machines import FIRST

pytestmark = [pytest.mark.machines, pytest.mark.lab, pytest.mark.timeout(1200)]

LEASED = "10.101.0.1"
KEA = {
    "Dhcp4": {
        "interfaces-config": {"interfaces": ["sw0"], "dhcp-socket-type": "raw", "service-sockets-max-retries": 60,
                              "service-sockets-retry-wait-time": 1000},
        "lease-database": {"type": "memfile", "persist": False}, "valid-lifetime": 600,
        "match-client-id": False,
        "subnet4": [{"subnet": "10.101.0.0/24", "pools": [{"pool": f"{LEASED} - {LEASED}"}],
                     "option-data": [{"name": "routers", "data": "10.101.0.2"}]}],
    }
}  # fmt: skip
SERVER = (
    "KEA_LOCKFILE_DIR=none KEA_PIDFILE_DIR=/run systemd-run -q --unit=lab-kea -E KEA_LOCKFILE_DIR -E KEA_PIDFILE_DIR"
)
SECOND = "/etc/systemd/network/50-second.network"
LEASES = "-pf /run/dhclient.eth1.pid -lf /run/dhclient.eth1.leases"
OF_NETWORKD = "[Match]\\nName=eth1\\n[Network]\\nDHCP=ipv4\\nIPv6AcceptRA=no\\n"
CLIENTS = {
    "networkd": (f"printf '{OF_NETWORKD}' >{SECOND}; networkctl reload", ""),
    "dhclient": (f"systemd-run -q --scope dhclient -4 -nw {LEASES} eth1", "dhclient"),
    "dhcpcd": ("systemd-run -q --scope dhcpcd -4 -b -C resolv.conf eth1", "dhcpcd"),
}
"""How each is begun, and the name of its process. What a change has told systemd-networkd of a card counts until the
next start, so its own client comes first.
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="crowbar-machine-") as directory:
        Path(directory).chmod(0o755)
        files = {"/etc/systemd/network/50-first.network": FIRST, "/etc/lab/kea.json": json.dumps(KEA),
                 "/etc/lab/stacked": "stacked='' without=''\n"}  # fmt: skip
        with started(Path(directory), files) as machine:
            machine.run(f"ip link set eth1 up; {SERVER} ip netns exec sw kea-dhcp4 -c /etc/lab/kea.json")
            yield machine


@pytest.fixture(scope="module")
def site(machine: Machine) -> Iterator[Site]:
    view = NodeView(id=1, name=NAME, addresses=(ADDRESS, ADDRESS6), host_keys=(machine.host_key,))
    yield from site_of(machine.lab, view, keep_within=40)


def leased(machine: Machine) -> bool:
    shown = machine.run("ip -4 addr show dev eth1")
    return f"inet {LEASED}/24" in shown and "valid_lft forever" not in shown


def asking(machine: Machine, process: str) -> str:
    """What asks by DHCP on eth1: processes, and what systemd-networkd has a lease of."""
    lease = "networkctl status -n 0 eth1 2>/dev/null | grep -i dhcp4 || true"
    return machine.run(f"pgrep -a '^{process}' || true" if process else lease)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_lease_becomes_an_address_that_stays_whoever_holds_it(machine: Machine, site: Site, client: str) -> None:
    begin, process = CLIENTS[client]
    machine.run(f"ip addr flush dev eth1; ip link set eth1 up; {begin}")
    wait_until(lambda: leased(machine), seconds=120)
    assert asking(machine, process)
    here: dict[str, Any] = {"addresses": [f"{LEASED}/24"], "writer": "networkd"}
    broken = network(addresses=here["addresses"], routers=[("10.101.0.77", 1)])
    with pytest.raises(PermanentError, match=r"10\.101\.0\.77 of network data does not answer"):
        site.configure(broken, writer=here["writer"])
    wait_until(lambda: leased(machine) and bool(asking(machine, process)), seconds=120)

    done = site.configure(network(addresses=here["addresses"]), writer=here["writer"])
    assert f"{LEASED}/24" in str(done.wall)
    if process:
        assert any(f"{process} (" in line and "is stopped" in line for line in site.log), site.log
    assert asking(machine, process) == ""
    assert f"inet {LEASED}/24" in (shown := machine.run("ip -4 addr show dev eth1"))
    assert "valid_lft forever" in shown, shown

    site.configure(network(addresses=here["addresses"], active=True), teardown=True, writer=here["writer"])
    machine.run(f"rm -f {SECOND}; networkctl reload; ip addr flush dev eth1")


def test_lldp_runs_as_a_service_and_hears_the_switch(machine: Machine, site: Site) -> None:
    own_run = "mount -t tmpfs none /run && mkdir /run/lldpd && exec lldpd -d -I p1 -C sw0 -M 1"
    machine.run(f"systemd-run -q --unit=lab-lldpd ip netns exec sw sh -c '{own_run}'")

    def listens() -> Any:
        task = Task(
            run_id=next(RUNS), node_role_id=1, attempt=1, node=site.view, address=ADDRESS,
            role=Role(name=LLDPD, jig="network"), barclamp="network", package="crowbar_network", deployment="d",
            data={}, timeout=240.0, refresh=False, cancelled=threading.Event(), log=lambda line, stream="": None,
        )  # fmt: skip

        def run() -> Any:
            with site.bed.serving():
                outcome = site.jig.run(task)
            assert isinstance(outcome, Done)
            return outcome.wall["network"]["wires"]

        return inside(site.lab, run)

    wires: dict[str, Any] = {}
    wait_until(lambda: wires.update({one["nic"]: one for one in listens()}) or wires["eth1"].get("port"), seconds=240)
    assert machine.run("systemctl is-active lldpd; systemctl is-enabled lldpd") == "active\nenabled\n"
    assert wires["eth1"]["port"] == "p1", wires
    assert not wires["eth0"].get("port"), wires
