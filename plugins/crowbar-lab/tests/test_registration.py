"""A lab's nodes become known to a real server, which then has power over them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from crowbar_lab.lab import Lab
from crowbar_lab.registration import register

from crowbar_core.client import ApiError, Target

pytestmark = pytest.mark.lab

CROWBAR = [sys.executable, "-m", "crowbar_core.cli"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.create("registered", nodes=2, state_dir=tmp_path / "labs", owner=os.getpid()) as made:
        yield made


@pytest.fixture
def server(lab: Lab, tmp_path: Path) -> Iterator[Target]:
    """Crowbar's pages and API with a database of its own, listening on this machine's loopback address."""
    environment = {**lab.environment, "CROWBAR_DATA_DIR": str(tmp_path / "data")}
    made = subprocess.run(
        [*CROWBAR, "db", "upgrade", "--format", "json"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert made.returncode == 0, made.stderr
    with socket.create_server(("127.0.0.1", 0)) as listener, (tmp_path / "server.log").open("wb") as log:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        line = [*CROWBAR, "web", "--listen", f"fd://{listener.fileno()}"]
        process = lab.popen(line, env=environment, pass_fds=(listener.fileno(),), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()
            try:
                if requests.get(f"{url}/readyz", timeout=5).ok:
                    break
            except requests.RequestException:
                time.sleep(0.1)
        yield Target(url=url, user="admin", password=json.loads(made.stdout)["admin_password"])
    finally:
        process.terminate()
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(server: Target, method: str, path: str, body: Any = None) -> Any:
    answer = requests.request(
        method, f"{server.url}/api/v2/{path}", json=body, auth=(server.user, server.password), timeout=60
    )
    assert answer.ok, answer.text
    return answer.json()


def test_the_server_learns_addresses_keys_and_power_of_each_node(lab: Lab, server: Target) -> None:
    assert register(lab, server) == ["admin.lab.test", "node-1.lab.test"]
    for node in lab.nodes:
        known = ask(server, "GET", f"nodes/{node.name}")
        assert (known["admin"], known["available"], known["host_keys"]) == (node.admin, True, [node.host_key])
        assert known["hint"]["hint-admin-v4addr"] == node.ipv4
        assert known["hint"]["hint-admin-v6addr"] == node.ipv6
        assert known["hint"]["hint-admin-macs"] == [node.mac]

    assert ask(server, "PUT", "nodes/node-1.lab.test/power", {"action": "off"})["result"] == "off"
    assert lab.power("node-1", "status") == "off"
    assert ask(server, "PUT", "nodes/node-1.lab.test/power", {"action": "reset"})["result"] == "on"
    assert lab.node("node-1").boots == 2

    # A second time changes nothing; a new node is added.
    assert register(lab, server) == []
    assert [hammer["name"] for hammer in ask(server, "GET", "nodes/node-1.lab.test/hammers")] == ["lab"]
    lab.add_node()
    assert register(lab, server) == ["node-2.lab.test"]


def test_a_lab_made_anew_is_registered_with_its_new_host_keys(lab: Lab, server: Target, tmp_path: Path) -> None:
    register(lab, server)
    with Lab.create("anew", nodes=2, state_dir=tmp_path / "labs", owner=os.getpid()) as again:
        assert register(again, server) == []
        assert ask(server, "GET", "nodes/admin.lab.test")["host_keys"] == [again.nodes[0].host_key]


def test_a_refusal_of_the_server_is_one_sentence(lab: Lab, server: Target) -> None:
    with pytest.raises(ApiError, match=r"The token or password was not accepted: use"):
        register(lab, Target(url=server.url, user="admin", password="wrong"))


def test_the_command_registers_too(lab: Lab, server: Target) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crowbar_lab.commands", "register", "--name", lab.name, "--url", server.url],
        env={
            **os.environ,
            "CROWBAR_LAB_STATE_DIR": str(lab.directory.parent),
            "CROWBAR_USER": server.user,
            "CROWBAR_PASSWORD": server.password,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "2 nodes of the lab registered are registered; 0 were known.\n")
