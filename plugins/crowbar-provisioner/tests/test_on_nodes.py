"""Real nodes of a lab: one that says over HTTP what the agent says is managed over SSH; loaders come by TFTP."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crowbar_jig_script
import crowbar_provisioner
import pytest
from crowbar_jig_script.hammer import SshHammer
from crowbar_jig_script.jig import ScriptJig
from crowbar_lab.lab import Lab, LabNode
from crowbar_lab.testing import begin_inside

from crowbar_core.testing import Testbed

from .light import ASKING, listening

pytestmark = pytest.mark.lab
PORT = 8091
LIGHT = Path(__file__).with_name("light.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.create("prov", nodes=2, state_dir=tmp_path_factory.mktemp("lab"), owner=os.getpid()) as lab:
        yield lab


def bed_in(lab: Lab, root: Path) -> Testbed:
    keys = {"key_file": str(lab.private_key), "connect_timeout": 3.0}
    provisioner = {"listen": [f"0.0.0.0:{PORT}", f"[::]:{PORT}"], "files": str(root), "domain": "lab.test"}
    return Testbed(
        crowbar_jig_script, crowbar_provisioner, jigs={"script": ScriptJig(keys)}, hammers={"ssh": SshHammer},
        config={"provisioner": provisioner, "jig-script": keys},
    )  # fmt: skip


def agent(lab: Lab, node: LabNode, *, gateway: str) -> str:
    """What the node says, from itself; the name that it is given."""
    program = f"""
machine = Machine(({gateway!r}, {PORT}), [{node.mac!r}], serial="LAB-1", key={node.host_key!r})
machine.power_on()
machine.key = {node.host_key!r}
machine.more = {{"addresses": [{node.ipv4 + "/16"!r}, {node.ipv6 + "/64"!r}]}}
print(machine.registered()["node"])
assert machine.ask("POST", "/v1/alive", {{"alive": True}}).status == 200
"""
    said = lab.exec(
        lab.ssh(node.name, ["python3", "-"]), input=LIGHT + program, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return str(said.stdout).strip()


def tftp(address: str, name: str) -> bytes:
    """The file, as firmware fetches it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found, block = b"", 1
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(10)
        asking.sendto(b"\0\1" + name.encode() + b"\0octet\0", (address, 69))
        while True:
            piece, sender = asking.recvfrom(1024)
            kind, number = struct.unpack("!HH", piece[:4])
            assert kind == 3, piece
            if number == block:
                found, block = found + piece[4:], block + 1
            asking.sendto(b"\0\4" + piece[2:4], sender)
            if len(piece) < 516:
                return found


def told(bed: Testbed, node: str) -> dict[str, Any]:
    """What barclamps say that the node boots."""
    with bed.serving() as here:
        return dict(here.boots([bed.node(node)]).get(bed.node(node).id, ()))


def gateway_of(lab: Lab) -> str:
    """The lab's own address, at which what runs inside it is reached."""
    said = lab.exec(["ip", "-4", "-o", "addr", "show", "scope", "global"], capture_output=True, text=True, check=True)
    return str(said.stdout).split()[3].partition("/")[0]


def test_a_node_that_registers_is_managed_over_ssh_under_the_host_key_that_its_token_vouches_for(
    lab: Lab, tmp_path: Path
) -> None:
    node = lab.nodes[1]

    def inside() -> None:
        with bed_in(lab, tmp_path) as bed, bed.service("provisioner-boot"):
            listening(PORT)
            name = agent(lab, node, gateway=gateway_of(lab))
            assert name == f"d{node.mac.replace(':', '-')}.lab.test"
            assert bed.node(name).addresses == (node.ipv4,)
            web = bed.web("operator")
            assert web.put(f"/api/v2/machines/{name}/accept").status_code == 200
            bed.anneal_until_quiet(within=60)
            assert bed.state("crowbar-managed-node", name) == "ACTIVE", bed.why("provisioner-discovered", name)
            assert bed.value("provisioner-runs", name, role="provisioner-discovered") == "disk"
            assert bed.node(name).host_keys == (node.host_key,)

    begin_inside(lab, inside).result()


def test_a_server_gives_loaders_and_their_first_script_by_tftp_and_says_where_they_are(
    lab: Lab, tmp_path: Path
) -> None:
    node = lab.nodes[0]

    def inside() -> None:
        with bed_in(lab, tmp_path) as bed:
            hint: dict[str, Any] = {"hint-admin-v4addr": f"{node.ipv4}/16", "hint-admin-v6addr": f"{node.ipv6}/64"}
            bed.add_node(node.name, hint=hint, host_keys=[node.host_key])
            assert told(bed, node.name) == {"provisioner": {}}
            bed.bind("provisioner-server", node.name)
            bed.commit()
            bed.anneal_until_quiet(within=60)
            assert bed.state("provisioner-server", node.name) == "ACTIVE", bed.log("provisioner-server", node.name)
            for address in (node.ipv4, node.ipv6):
                for name in ("undionly.kpxe", "ipxe.efi"):
                    assert len(tftp(address, name)) > 50_000
            said = told(bed, node.name)["provisioner"]
            at4, at6 = f"{node.ipv4}", f"[{node.ipv6}]"
            assert said == {
                f"dhcp{family}": {
                    "bios": f"tftp://{at}/undionly.kpxe", "uefi": f"tftp://{at}/ipxe.efi",
                    "uefi-http": f"http://{at}:{PORT}/ipxe.efi", "ipxe": f"tftp://{at}/boot{family}.ipxe",
                }
                for family, at in ((4, at4), (6, at6))
            }  # fmt: skip
            for address, at, name in ((node.ipv4, at4, "boot4.ipxe"), (node.ipv6, at6, "boot6.ipxe")):
                base = f"http://{at}:{PORT}"
                script = "#!ipxe\n" + ASKING.format(url=f"{base}/boot.ipxe", base=base)
                assert tftp(address, name).decode() == script
            bed.set("provisioner-first-script", "http", node=node.name, role="provisioner-server")
            bed.anneal_until_quiet(within=60)
            said = told(bed, node.name)["provisioner"]
            assert [said["dhcp4"]["ipxe"], said["dhcp6"]["ipxe"]] == [
                f"http://{at}:{PORT}/boot.ipxe" for at in (at4, at6)
            ]
            with pytest.raises(AssertionError, match="File not found"):
                tftp(node.ipv4, "boot4.ipxe")
            bed.change_node(node.name, bootenv="windows")
            assert told(bed, node.name) == {}, "others may know it"
            web = bed.web("operator")
            assert (
                web.delete(f"/api/v2/node_roles/{bed.node_role('provisioner-server', node.name).id}").status_code < 300
            )
            bed.anneal_until_quiet(within=60)
            with pytest.raises((TimeoutError, ConnectionRefusedError, AssertionError)):
                tftp(node.ipv4, "ipxe.efi")

    begin_inside(lab, inside).result()
