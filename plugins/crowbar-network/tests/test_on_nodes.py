"""Real interfaces on real nodes: a change is tried, looked at over a new connection, and kept or taken back."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_jig_script.jig import ScriptJig
from crowbar_lab import linux
from crowbar_lab.lab import Lab
from crowbar_network.jig import NetworkJig

from crowbar_core.testing import Testbed

pytestmark = pytest.mark.lab

API = "/api/v2"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.create(f"network-{os.getpid()}", nodes=2, state_dir=tmp_path_factory.mktemp("lab")) as lab:
        yield lab


def in_the_lab(lab: Lab, work: Callable[[], None]) -> None:
    done: Future[None] = Future()

    def enter() -> None:
        try:
            network = os.open(lab.namespace, os.O_RDONLY)
            try:
                linux.setns(network, linux.CLONE_NEWNET)
            finally:
                os.close(network)
            work()
            done.set_result(None)
        except BaseException as problem:  # noqa: BLE001  handed to whoever asks for the result
            done.set_exception(problem)

    threading.Thread(target=enter, daemon=True).start()
    done.result(timeout=240)


def on_node(lab: Lab, node: str, command: str) -> str:
    asked = lab.exec(lab.ssh(node, [command]), capture_output=True, text=True, timeout=30)
    assert asked.returncode == 0, asked.stderr
    return str(asked.stdout)


class Site:
    """A core in this process with the lab's nodes, and a network on their only cards."""

    def __init__(self, lab: Lab, **layers: Any) -> None:
        self.lab = lab
        config = {"key_file": str(lab.private_key)}
        jigs = {"script": ScriptJig(config), "network": NetworkJig({})}
        self.bed = Testbed(crowbar_jig_script, crowbar_network, jigs=jigs, config={"jig-script": config})
        self.layers = layers

    def __enter__(self) -> Site:
        self.bed.__enter__()
        self.web = self.bed.web("operator")
        four = self.lab.nodes[0].ipv4.rpartition(".")[0]
        self.prefix = four
        made = self.web.post(f"{API}/networks", json={
            "name": "lab", "category": "admin", "conduit": "?1g1", "v6prefix": "fd00:77::/64",
            "ranges": [{"name": "host", "first": f"{four}.10/24", "last": f"{four}.250/24"}],
            "router": {"address": f"{four}.1/24"}, **self.layers,
        })  # fmt: skip
        assert made.status_code == 201, made.json
        self.network = made.json["id"]
        for node in self.lab.nodes:
            hint = {"hint-admin-v4addr": f"{node.ipv4}/24", "hint-lab-v4addr": node.ipv4}
            self.bed.add_node(node.name, hint=hint, host_keys=[node.host_key])
        return self

    def __exit__(self, *failed: Any) -> None:
        self.bed.__exit__(*failed)


def test_walk(lab: Lab) -> None:
    node = lab.nodes[0]
    print(on_node(lab, node.name, "ip a; ip r"))

    def work() -> None:
        with Site(lab, use_bridge=True) as site:
            site.bed.bind("network-lab", node.name)
            site.bed.commit()
            try:
                site.bed.anneal_until_quiet(within=60)
            finally:
                for run in site.web.get(f"{API}/runs").json:
                    print(run)
                    print(site.web.get(f"{API}/runs/{run['id']}/log").text)
                print(site.web.get(f"{API}/node_roles").json)

    in_the_lab(lab, work)
    print(on_node(lab, node.name, "ip a; ip r; cat /etc/crowbar-network/*; ls -R /run/crowbar-network /etc/network; cat /run/crowbar-network/*/*"))
    assert 0
