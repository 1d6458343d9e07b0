"""Benchmark ``wires``: checking the cables of 100 nodes with four networks each, over SSH, in a lab of namespaces.

The nodes have real addresses and answer real pings; each has one card with the four networks, and no switch speaks
LLDP. The check is asked for and carried out as `crowbar networks check` has it: once with connections that must be made
first, once with kept ones. On one machine the nodes' own work counts, too, which in a rack is theirs. Printed are
seconds, CPU seconds of the controller (this process) and of everything. Run it with ``./dev bench wires [NODES]``.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import crowbar_jig_script
import crowbar_network
from crowbar_jig_script.jig import ScriptJig
from crowbar_lab import linux
from crowbar_lab.lab import Lab
from crowbar_network import checking

from crowbar_core.testing import FakeJig, Testbed

NODES = 100
NETWORKS = 4
LIMIT = 30.0


def _address(network: int, node: int) -> str:
    return f"10.{200 + network}.{node // 250}.{node % 250 + 1}"


def _put_addresses(lab: Lab) -> None:
    """Who a node will ask, and be asked by, is written down: the kernel's table of those it found out is one for all
    namespaces, and full at 1,024, which no rack's is.
    """
    nodes = lab.nodes
    for number, node in enumerate(nodes):
        lines = [f"addr add {_address(network, number)}/16 dev eth0\n" for network in range(NETWORKS)]
        for step in (-2, -1, 1, 2):
            other = (number + step) % len(nodes)
            lines += [
                f"neigh replace {_address(network, other)} lladdr {nodes[other].mac} dev eth0 nud permanent\n"
                for network in range(NETWORKS)
                if other != number
            ]
        lab.console(node.name, ["ip", "-batch", "-"], given="".join(lines), check=True)


def _site(lab: Lab) -> Testbed:
    """A core for which all of it is set up already."""
    jig, config = FakeJig(), {"key_file": str(lab.private_key), "connect_timeout": 20.0}
    nic = {"name": "eth0", "mac": "", "path": "", "speed": 10_000, "driver": "veth", "altnames": []}
    jig.always({"network": {"nics": [nic], "product": ""}}, role="network-nics")
    bed = Testbed(
        crowbar_jig_script, crowbar_network, jigs={"script": ScriptJig(config), "network": jig},
        config={"jig-script": config},
    )  # fmt: skip
    web = bed.web("operator")
    for network in range(NETWORKS):
        span = {"name": "host", "first": f"10.{200 + network}.0.1/16", "last": f"10.{200 + network}.9.250/16"}
        body = {"name": f"net{network}", "category": "data", "conduit": "?1g1", "ranges": [span]}
        assert web.post("/api/v2/networks", json=body).status_code == 201
    for number, node in enumerate(lab.nodes):
        hints = {f"hint-net{network}-v4addr": _address(network, number) for network in range(NETWORKS)}
        bed.add_node(
            node.name, hint={"hint-admin-v4addr": f"{node.ipv4}/16", **hints}, host_keys=[node.host_key]
        )  # fmt: skip
        for network in range(NETWORKS):
            bed.bind(f"network-net{network}", node.name)
    bed.commit()
    bed.anneal_until_quiet(within=600, steps=100_000)
    return bed


def _busy() -> float:
    """CPU seconds that this machine has worked since it was started."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _check(bed: Testbed) -> dict[str, Any]:
    with bed.change() as change:
        key = checking.ask(change, ())
    begun, own, busy = time.perf_counter(), _own(), _busy()
    bed.periodic("network-check")
    took = {"s": time.perf_counter() - begun, "controller CPU s": _own() - own, "all CPU s": _busy() - busy}
    row = bed.web().get(f"/api/v2/network_checks/{key}").json
    assert (row["state"], row["findings"], row["unheard"]) == ("done", [], []), row
    return {"nodes": row["nodes"], "pings": row["pings"], **{name: round(value, 1) for name, value in took.items()}}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else NODES
    with (
        tempfile.TemporaryDirectory() as place,
        Lab.create(f"wires-{os.getpid()}", nodes=count, state_dir=Path(place)) as lab,
    ):

        def enter() -> None:
            network = os.open(lab.namespace, os.O_RDONLY)
            linux.setns(network, linux.CLONE_NEWNET)
            os.close(network)

        def work() -> dict[str, Any]:
            with _site(lab) as bed:
                return {"first": _check(bed), "again": _check(bed)}

        _put_addresses(lab)
        found = ThreadPoolExecutor(1, initializer=enter).submit(work).result()
    print(json.dumps({**found, "in time": found["first"]["s"] <= LIMIT}))


if __name__ == "__main__":
    main()
