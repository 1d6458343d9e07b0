"""What ``crowbar demo --vms`` shows: bare virtual machines, from power-on to nodes installed and managed.

The first questions are answered over REST, as a person would in the browser; what then happens is done by roles: Kea,
TFTP and boot files on the admin node, discovery, acceptance by a rule, Debian on the machines' disks.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from crowbar_core.client import Client
from crowbar_lab.errors import LabError
from crowbar_lab.host import SEARCH_PATH
from crowbar_lab.lab import Lab
from crowbar_lab.vm_plan import BMC_PASSWORD, BMC_USER
from crowbar_lab.vms import LabVm, check_vm_host

BARCLAMPS = ("network", "dns", "dhcp", "provisioner", "wizard")
MANAGED, INSTALLED, INSTALL = "crowbar-managed-node", "crowbar-installed-node", "provisioner-os-install"
BMC = "provisioner-bmc"
PORT = 8091
MEMORY = 768
SECONDS = 900.0
BUILD_SECONDS = 900.0
_TOOLS = {
    "kea-dhcp4": "kea-dhcp4-server", "kea-dhcp6": "kea-dhcp6-server", "kea-ctrl-agent": "kea-ctrl-agent",
    "radvd": "radvd", "in.tftpd": "tftpd-hpa", "named": "bind9", "busybox": "busybox", "zstd": "zstd",
    "xxhsum": "xxhash", "ipmitool": "ipmitool",
    "mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "mkfs.vfat": "dosfstools", "mcopy": "mtools",
    "sfdisk": "fdisk", "grub-mkimage": "grub-efi-amd64-bin",
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
        """The discovery image and the one of Debian. ``crowbar`` is how the command is called."""
        for what, place, words in (
            ("discovery image", "sledgehammer", ("sledgehammer", "build", "--kernel", "cloud")),
            ("image of Debian 12", "images", ("images", "build", "debian-12", "--kernel", "cloud")),
        ):
            self.tell(f"Building the {what} of Debian's packages.")
            to = self.directory / "boot" / place
            to.mkdir(parents=True)
            line = [*crowbar, *words, "--to", str(to)]
            done = subprocess.run(line, capture_output=True, text=True, timeout=BUILD_SECONDS, stdin=subprocess.DEVNULL)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
                raise LabError(f"The {what} cannot be built: {last}")

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
        self.vms = lab.add_vms(self.count, disks=(2,), memory=MEMORY)
        for vm in self.vms:
            vm.power("on")
        told = ", ".join(f"{vm.name} ({vm.plan.firmware}, {vm.plan.macs[0]})" for vm in self.vms)
        self.tell(f"Switched on: {told}. Nobody has told Crowbar of them.")

    def are_managed(self, cells: Cells) -> bool:
        """Whether each is a node whose roles are all ACTIVE."""
        return self._all(MANAGED, cells)

    def are_installed(self, cells: Cells) -> bool:
        return self._all(INSTALLED, cells)

    def _all(self, milestone: str, cells: Cells) -> bool:
        nodes = {node for node, role in cells if role == milestone}
        done = {node for node in nodes if all(state == "ACTIVE" for (one, _), state in cells.items() if one == node)}
        return {name_of(vm) for vm in self.vms} <= {node.partition(".")[0] for node in done}

    def names(self, api: Client) -> list[str]:
        """The nodes that they have become."""
        mine = {name_of(vm) for vm in self.vms}
        return [name for one in api.rows("machines") if (name := str(one["name"])).partition(".")[0] in mine]

    def install(self, api: Client) -> None:
        """Ordered: bound, planned, committed. Their BMCs have them boot from the disk then: no one touches them."""
        bmcs = {name_of(vm): vm.plan.bmc_ipv4 for vm in self.vms}
        for name in self.names(api):
            said = {"bmc-address": bmcs[name.partition(".")[0]], "bmc-user": BMC_USER, "bmc-password": BMC_PASSWORD}
            api.post("node_roles", body={"node_id": name, "role_id": BMC, "data": {"provisioner": said}})
            api.post("node_roles", body={"node_id": name, "role_id": INSTALL})
        self.tell(f"Bound: {BMC}, which powers each by its BMC, and {INSTALL}.")
        for line in api.get("deployments", "system", "plan")["lines"]:
            if "ERASED" in line["text"]:
                self.tell(f"The plan: {line['text']}")
        api.put("deployments", "system", "commit")

    def bind(self, api: Client, deployment: str, roles: Sequence[str]) -> None:
        """Roles of another barclamp, on all of them."""
        api.post("deployments", body={"name": deployment, "description": "What `crowbar demo` shows."})
        for role in roles:
            for name in self.names(api):
                api.post("node_roles", body={"node_id": name, "role_id": role, "deployment_id": deployment})
        self.tell(f"Bound on all of them: {', '.join(roles)}.")
        api.put("deployments", deployment, "commit")

    def tell_of(self, api: Client) -> None:
        """What they turned out to be, and what they cost."""
        found = {str(one["name"]).partition(".")[0]: one for one in api.rows("machines")}
        for vm in self.vms:
            one = found[name_of(vm)]
            self.tell(
                f"{vm.name} is {one['name']}: {one['firmware']}, serial number {one['serial']}, accepted by"
                f" {one['decided_by']}; {vm.cpu_seconds():.0f} CPU seconds since it was switched on."
            )

    def tell_timelines(self, api: Client) -> None:
        """What happened to each, in seconds since it was heard of first."""
        for name in self.names(api):
            self.tell(f"The timeline of {name}:")
            lines = api.get("machines", name, query={"fields": "timeline"})["timeline"]
            first = datetime.fromisoformat(lines[0]["at"])
            for one in lines:
                after = (datetime.fromisoformat(one["at"]) - first).total_seconds()
                self.tell(f"{after:8.1f} s  {one['what']}{': ' if one['detail'] else ''}{one['detail']}")


def name_of(vm: LabVm) -> str:
    """The first label of the node that it becomes."""
    return f"d{vm.plan.macs[0].replace(':', '-')}"
