"""What ``crowbar demo --vms`` shows: bare virtual machines, from power-on to managed nodes.

The first questions are answered over REST, as a person would in the browser; what then happens is done by roles: Kea,
TFTP and boot files on the admin node, discovery, acceptance by a rule.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from crowbar_core.client import Client
from crowbar_lab.errors import LabError
from crowbar_lab.host import SEARCH_PATH
from crowbar_lab.lab import Lab
from crowbar_lab.vms import LabVm, check_vm_host

BARCLAMPS = ("network", "dns", "dhcp", "provisioner", "wizard")
MANAGED = "crowbar-managed-node"
PORT = 8091
SECONDS = 900.0
BUILD_SECONDS = 900.0
_TOOLS = {
    "kea-dhcp4": "kea-dhcp4-server", "kea-dhcp6": "kea-dhcp6-server", "kea-ctrl-agent": "kea-ctrl-agent",
    "radvd": "radvd", "in.tftpd": "tftpd-hpa", "named": "bind9", "busybox": "busybox", "zstd": "zstd",
}  # fmt: skip

Cells = Mapping[tuple[str, str], str]
"""(node, role) -> state."""


class Machines:
    """``count`` of them, in a lab with one light node, the admin node, whose network the server shares."""

    def __init__(self, directory: Path, count: int, tell: Callable[[str], None]) -> None:
        self.directory, self.count, self.tell = directory, count, tell
        self.vms: list[LabVm] = []

    @property
    def settings(self) -> dict[str, str]:
        """The server's, as they are in the environment."""
        mine = "CROWBAR_PLUGINS__PROVISIONER__"
        return {
            f"{mine}LISTEN": f"0.0.0.0:{PORT},[::]:{PORT}",
            f"{mine}FILES": str(self.directory / "boot"),
            f"{mine}KERNEL_ARGUMENTS": "console=ttyS0,quiet",
        }

    def check(self) -> None:
        """Raises ``LabUnavailable`` or ``LabError`` with what is to be installed."""
        check_vm_host()
        lacking = sorted(package for tool, package in _TOOLS.items() if not shutil.which(tool, path=SEARCH_PATH))
        if lacking:
            raise LabError(f"The servers for machines that boot are missing: apt-get install {' '.join(lacking)}")

    def build(self, crowbar: list[str]) -> None:
        """The discovery image. ``crowbar`` is how the command is called."""
        self.tell("Building the discovery image of Debian's packages (they are kept for the next time).")
        place = self.directory / "boot" / "sledgehammer"
        place.mkdir(parents=True)
        line = [*crowbar, "sledgehammer", "build", "--kernel", "cloud", "--to", str(place)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=BUILD_SECONDS, stdin=subprocess.DEVNULL)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise LabError(f"The discovery image cannot be built: {last}")

    def answer(self, lab: Lab, api: Client) -> None:
        """The first questions, all of them, and a look at the admin node."""
        there = {one["name"] for one in api.rows("barclamps")}
        if missing := [name for name in BARCLAMPS if name not in there]:
            wanted = " ".join(f"crowbar-{name}" for name in missing)
            raise LabError(f"--vms shows the barclamps {', '.join(missing)}, too: `pip install {wanted}`.")
        node, subnet = lab.nodes[0], str(lab.describe()["ipv4"])
        answers = {
            "machine": {"name": node.name, "address": f"{node.ipv4}/{subnet.partition('/')[2]}"},
            "network": {"conduit": "?1g1"}, "dns": {"forwarders": ""}, "dhcp": {},
            "discovery": {"accept_subnet": subnet},
        }  # fmt: skip
        for line in api.post("wizard", "answers", body={"answers": answers, "carry_out": True})["made"]:
            self.tell(f"Answered: {line}")
        found = api.put("nodes", node.name, "probe")
        if not found["alive"]:
            raise LabError(f"Node {node.name} does not answer: {found['reason'] or 'no barclamp could test it'}.")

    def switch_on(self, lab: Lab) -> None:
        self.vms = lab.add_vms(self.count, disks=(2,))
        for vm in self.vms:
            vm.power("on")
        told = ", ".join(f"{vm.name} ({vm.plan.firmware}, {vm.plan.macs[0]})" for vm in self.vms)
        self.tell(f"Switched on: {told}. Nobody has told Crowbar of them.")

    def are_managed(self, cells: Cells) -> bool:
        """Whether each is a node whose roles are all ACTIVE."""
        nodes = {node for node, role in cells if role == MANAGED}
        done = {node for node in nodes if all(state == "ACTIVE" for (one, _), state in cells.items() if one == node)}
        return {name_of(vm) for vm in self.vms} <= {node.partition(".")[0] for node in done}

    def tell_of(self, api: Client) -> None:
        """What they turned out to be, and what they cost."""
        found = {str(one["name"]).partition(".")[0]: one for one in api.rows("machines")}
        for vm in self.vms:
            one = found[name_of(vm)]
            self.tell(
                f"{vm.name} is {one['name']}: {one['firmware']}, serial number {one['serial']}, accepted by"
                f" {one['decided_by']}; {vm.cpu_seconds():.0f} CPU seconds since it was switched on."
            )


def name_of(vm: LabVm) -> str:
    """The first label of the node that it becomes."""
    return f"d{vm.plan.macs[0].replace(':', '-')}"
