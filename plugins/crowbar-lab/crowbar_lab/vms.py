"""Virtual machines of a lab as whoever uses it sees them: power, boot order, console, BMC.

    lab = Lab.create("demo", nodes=1)
    first, second = add_vms(lab, 2)          # off, as they come; the one has BIOS and the other UEFI
    first.power("on")
    first.await_console("iPXE")

Their power is that of somebody who stands before them. What a server does goes through the BMC: ``ipmi`` and
``redfish`` in ``state()``, reached from the lab's network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crowbar_lab.directory import ask
from crowbar_lab.errors import LabError, LabNotFound, LabUnavailable
from crowbar_lab.host import SEARCH_PATH, find_tool
from crowbar_lab.plan import subnets
from crowbar_lab.vm_plan import BMC_PASSWORD, BMC_USER, FILES, TARGETS, TOOLS, VmPlan, plan_vms

if TYPE_CHECKING:
    from crowbar_lab.lab import Lab

ACTIONS = ("on", "off", "reset", "status")
MODES = ("Once", "Continuous", "Disabled")
PROBE_SECONDS = 0.1


class LabVm:
    """A virtual machine. ``plan`` is what never changes of it."""

    def __init__(self, lab: Lab, plan: VmPlan) -> None:
        self.lab = lab
        self.plan = plan
        self.directory = lab.directory / "vms" / plan.name

    def __repr__(self) -> str:
        return f"LabVm({self.plan.name!r})"

    @property
    def name(self) -> str:
        return self.plan.name

    def state(self) -> dict[str, Any]:
        """What it is and how it stands: the plan's fields; ``powered``, ``starts`` (how often it was turned on) and
        ``pid`` (QEMU's, or None); ``boot`` ("Pxe" or "Hdd") and ``boot_override`` (one of MODES); ``disk_serials``;
        ``ipmi`` and ``redfish``, its BMC's address and URL, with ``bmc_user`` and ``bmc_password``."""
        bmc = {"ipmi": self.plan.bmc_ipv4, "redfish": self.plan.redfish}
        bmc |= {"bmc_user": BMC_USER, "bmc_password": BMC_PASSWORD}
        return {**self.plan.as_json(), "disk_serials": self.plan.disk_serials(), **bmc, **self._ask(do="state")}

    def power(self, action: str) -> str:
        """``on``, ``off`` (as if the plug were pulled), ``reset`` (both) or ``status``; returns on or off."""
        if action not in ACTIONS:
            raise LabError(
                f"A machine's power can be turned on, off or reset, or its status asked for; "
                f"{action!r} is none of these."
            )
        answer = self._ask(do="state") if action == "status" else self._ask(do="power", action=action)
        return "on" if answer["powered"] else "off"

    def boot_from(self, target: str | None, mode: str = "Continuous") -> None:
        """Boot from "Pxe" or "Hdd" the next time ("Once") or from now on; None: as it was, from the network."""
        if target not in (None, *TARGETS) or mode not in MODES:
            raise LabError(
                f"A machine boots from {' or '.join(TARGETS)}, {', '.join(MODES)}; not {target!r}, {mode!r}."
            )
        self._ask(do="boot", target=target, mode=mode)

    def quirks(self, *, slow: float = 0.0, refuses: int = 0, says: str = "", drops: int = 0) -> None:
        """Make its BMC ``slow`` (seconds before each answer), have it refuse so many orders, say "on" or "off" of the
        power whatever is true, or end so many sessions without an answer. What is not named is as it should be.
        """
        if says not in ("", "on", "off"):
            raise LabError(f"A BMC says on or off of its machine's power, not {says!r}.")
        self._ask(do="quirks", quirks={"slow": slow, "refuses": refuses, "says": says, "drops": drops})

    # ---- its console

    @property
    def console_log(self) -> Path:
        """All that it has written to its serial port, boot after boot."""
        return self.directory / "console.log"

    def console(self) -> str:
        return self.console_log.read_text(errors="replace")

    def await_console(self, text: str, *, after: int = 0, seconds: float = 240.0) -> str:
        """What is on the console from ``after`` (characters) on, once ``text`` is there. ``LabError`` has the last
        lines when it does not come."""
        deadline = time.monotonic() + seconds
        while text not in (said := self.console()[after:]):
            if time.monotonic() > deadline:
                last = " | ".join(line.strip() for line in said.splitlines()[-5:])
                raise LabError(f"{self.name} does not write {text!r} within {seconds:g} s; its last lines are: {last}")
            time.sleep(PROBE_SECONDS)
        return said

    # ---- what it costs

    def cpu_seconds(self) -> float:
        """Of QEMU since it was turned on; 0 when the machine is off."""
        pid = self._ask(do="state")["pid"]
        if pid is None:
            return 0.0
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def write_disk(self, raw: Path, index: int = 0) -> None:
        """Put what is in the file ``raw`` on a disk, from its first sector on. ``LabError`` when the machine is on."""
        if self.power("status") == "on":
            raise LabError(f"{self.name} is on, and would not notice that its disk is another: turn it off first.")
        tool = find_tool("qemu-img", TOOLS["qemu-img"])
        line = [tool, "convert", "-n", "-f", "raw", "-O", "qcow2", str(raw), str(self.disk(index))]
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode != 0:
            raise LabError(f"{raw} cannot be written to a disk of {self.name}: {done.stderr.strip()}")

    def disk(self, index: int = 0) -> Path:
        """The file (qcow2) of a disk, as root of this host reaches it; to be looked into while the machine is off."""
        pid = self.lab.describe()["vm_processes"][self.name]
        return Path(f"/proc/{pid}/root/tmp/disk{index}")

    def _ask(self, **request: Any) -> dict[str, Any]:
        return ask(self.directory, "control", request, whom=f"The machine {self.name}", lab=self.lab.name)


def add_vms(lab: Lab, count: int, **wishes: Any) -> list[LabVm]:
    """Make machines in a lab, which are off; ``wishes`` are those of ``plan_vms``: firmware, memory, cpus, disks, nics,
    ipv6_only, http_boot. ``LabUnavailable`` says what to install, ``LabError`` what cannot be."""
    tools = check_vm_host()
    described = lab.describe()
    first = 1 + max((one["number"] for one in described["vms"]), default=0)
    nets = subnets(described["ipv4"], described["ipv6"])
    plans = plan_vms(count, nets, lab=described["id"], domain=described["domain"], first=first, **wishes)
    lab.request(do="vms", vms=[plan.as_json() for plan in plans], tools=tools)
    return [LabVm(lab, plan) for plan in plans]


def vms_of(lab: Lab) -> list[LabVm]:
    return [LabVm(lab, VmPlan.of(one)) for one in lab.describe()["vms"]]


def find_vm(lab: Lab, name: str) -> LabVm:
    """By its name or host name. ``LabNotFound`` names those that there are."""
    vms = vms_of(lab)
    for vm in vms:
        if name.lower() in (vm.name, vm.name.partition(".")[0]):
            return vm
    known = ", ".join(vm.name for vm in vms) or "none: make some with `crowbar lab up --vms 2`"
    raise LabNotFound(f"There is no virtual machine {name} in the lab {lab.name}, which has: {known}.")


def check_vm_host() -> Mapping[str, str]:
    """The paths of the programs that machines take. ``LabUnavailable`` names the packages that are missing."""
    missing = {package for name, package in TOOLS.items() if shutil.which(name, path=SEARCH_PATH) is None}
    missing |= {package for file, package in FILES.items() if not Path(file).is_file()}
    if missing:
        raise LabUnavailable(
            "Virtual machines take QEMU, with firmware and network boot: "
            f"apt-get install --no-install-recommends {' '.join(sorted(missing))}."
        )
    return {name: find_tool(name, package) for name, package in TOOLS.items()}
