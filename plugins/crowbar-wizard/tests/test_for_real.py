"""From an empty database to real servers on a real, if small, machine: answers in a file, and nothing else said."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import yaml

from .conftest import Place

pytestmark = pytest.mark.lab
OWN = "chosen in the file"


def test_answers_in_a_file_make_a_server_that_serves_names_and_addresses(place: Place) -> None:
    node, described = place.lab.nodes[0], place.lab.describe()
    answers: dict[str, Any] = {
        "account": {"password": OWN},
        "machine": {"name": node.name, "address": f"{node.ipv4}/{described['ipv4'].partition('/')[2]}"},
        "network": {"conduit": "?1g1"}, "dns": {"forwarders": []}, "dhcp": None,
    }  # fmt: skip
    file = place.directory / "answers.yaml"
    file.write_text(yaml.safe_dump(answers))
    told = place.crowbar("init", "--answers", str(file))
    assert told.returncode == 0, told.stderr
    assert "log in with it" in told.stderr
    place.log_in(OWN)
    assert place.api.put("nodes", node.name, "probe")["alive"]
    settled = place.crowbar("converge", "--timeout", "240")
    why = [
        f"{one['node']} {one['role']} {one['state_name']}: {place.api.get('node_roles', one['id'], 'why')['summary']}"
        for one in place.api.rows("node_roles") if one["state_name"] != "ACTIVE"
    ]  # fmt: skip
    assert (settled.returncode, why) == (0, []), settled.stderr
    asked = place.lab.popen(
        ["python3", "-c", _ASK, str(node.ipv4), node.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said, _ = asked.communicate(timeout=60)
    assert str(node.ipv4) in said.splitlines(), said
    servers = list(place.api.rows("dhcp_servers"))
    assert [one["problem"] for one in servers] == [""], servers


_ASK = """
import socket, struct, sys
server, name = sys.argv[1:]
labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\\0"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(20)
    sock.sendto(struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">2H", 1, 1), (server, 53))
    answer = sock.recv(4096)
print(socket.inet_ntoa(answer[-4:]) if struct.unpack(">H", answer[6:8])[0] else f"no answer: {answer!r}")
"""
