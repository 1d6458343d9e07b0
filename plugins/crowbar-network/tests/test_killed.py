"""The server dies in the middle of a change of interfaces: the node is as before, by itself."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crowbar_lab import server
from crowbar_lab.lab import Lab

from crowbar_core.client import Client, Target
from crowbar_core.testing import wait_until

from .test_on_nodes import interfaces, reaches

pytestmark = pytest.mark.lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.create(f"killed-{os.getpid()}", nodes=1, state_dir=tmp_path / "lab", owner=os.getpid()) as made:
        yield made


@contextlib.contextmanager
def begun(lab: Lab, directory: Path, password: str) -> Iterator[tuple[Client, Any]]:
    """A whole server, and its process."""
    process, url = server.start(lab, directory, settings={"CROWBAR_NETWORK_KEEP_WITHIN": "10"})
    try:
        target = Target(url=url, user="admin", password=password, direct=True)
        with contextlib.closing(Client(target)) as api:
            server.wait_ready(process, api, directory)
            yield api, process
    finally:
        server.end(process)


def test_a_server_that_is_killed_while_a_change_is_tried_leaves_the_node_as_it_was(lab: Lab, tmp_path: Path) -> None:
    password = server.admin_password(server.begin_database(tmp_path))
    node, [known] = lab.nodes[0].name, lab.nodes
    four = ".".join(known.ipv4.split(".")[:2])
    with begun(lab, tmp_path, password) as (api, process):
        api.post("networks", body={
            "name": "lab", "category": "admin", "conduit": "?1g1", "use_bridge": True,
            "ranges": [{"name": "host", "first": f"{four}.0.10/16", "last": f"{four}.0.250/16"}],
            "router": {"address": f"{four}.9.9/16"},  # nobody answers there, so that it is looked for until the end
        })  # fmt: skip
        hint = {"hint-admin-v4addr": f"{known.ipv4}/16", "hint-lab-v4addr": known.ipv4}
        api.post("nodes", body={"name": node, "available": True, "hint": hint, "host_keys": [known.host_key]})
        before = interfaces(lab, node)
        api.post("node_roles", body={"node_id": node, "role_id": "network-lab"})
        api.put("nodes", node, "commit")
        wait_until(lambda: state_of(lab, node) == "tried", seconds=60)
        assert "br-lab" in interfaces_at_console(lab, node)
        os.killpg(process.pid, signal.SIGKILL)
    wait_until(lambda: state_of(lab, node) == "back" and reaches(lab, node), seconds=60)
    assert interfaces(lab, node) == before
    with begun(lab, tmp_path, password) as (api, process):
        [router] = api.rows("network_routers")
        api.delete("network_routers", router["id"])
        wait_until(lambda: role_state(api) == "ERROR", seconds=120)  # tried again, it says what is wrong
        api.put("networks", "lab", "commit")
        wait_until(lambda: role_state(api) == "ACTIVE", seconds=120)
    assert f"br-lab UP {known.ipv4}/16" in interfaces(lab, node)


def role_state(api: Client) -> str:
    return str(next(one["state_name"] for one in api.rows("node_roles") if one["role"] == "network-lab"))


def state_of(lab: Lab, node: str) -> str:
    return str(lab.console(node, ["sh", "-c", "cat /run/crowbar-network/*/state"]).stdout).strip()


def interfaces_at_console(lab: Lab, node: str) -> str:
    return str(lab.console(node, ["ip", "-br", "addr"]).stdout)
