"""A virtual machine's process: its BMC, with a card and addresses of its own at the lab's bridge, which holds QEMU.

    lab0 (bridge) ── tap vm1n0 ── QEMU, as nobody
          └───────── veth vm1bmc ── eth0 in the BMC's network namespace: IPMI on port 623, Redfish on ports 80 and
                                   443 (with a certificate that nobody has signed)

Run by the keeper as ``python -m crowbar_lab.vm_process DIRECTORY`` with the machine's plan on standard input. It says
one line of JSON on standard output when the BMC answers, or why it cannot; afterwards the lab asks it over the socket
``control`` in DIRECTORY, where the console's log is as well. The disks are on a tmpfs that only this process sees.
"""

from __future__ import annotations

import json
import os
import shutil
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crowbar_lab import linux
from crowbar_lab.boot import BootError, run_ip
from crowbar_lab.vm_bmc import Bmc, Ipmi, Quirks, Redfish, Refused
from crowbar_lab.vm_plan import NOBODY, VARIABLES, VmPlan, qemu_command, tap
from crowbar_lab.vm_qemu import PowerError, Vm
from crowbar_lab.vm_tls import self_signed
from crowbar_lab.wires import BRIDGE

PLACE = Path("/tmp")
"""Where QEMU finds its files: a tmpfs over /tmp in this process's mount namespace, which nobody may enter."""
TUN = "/dev/net/tun"
CONSOLE, CONTROL = "console.log", "control"


class Control(socketserver.ThreadingUnixStreamServer):
    """Answers the lab: a line of JSON each way."""

    daemon_threads = True

    def __init__(self, path: str, bmc: Bmc) -> None:
        self.bmc = bmc
        super().__init__(path, _Asked)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        vm = self.bmc.vm
        try:
            match request.get("do"):
                case "power":
                    self._power(request["action"])
                case "boot":
                    vm.override(request["target"], request["mode"])
                case "quirks":
                    self.bmc.quirks = Quirks(**request["quirks"])
                case "state":
                    pass
                case other:
                    return {"error": f"A virtual machine does not know how to do {other!r}."}
        except PowerError as error:
            return {"error": str(error)}
        return {
            "powered": vm.on,
            "starts": vm.starts,
            "pid": vm.pid and _as_host_counts(vm.pid),
            "boot": vm.first,
            "boot_override": vm.mode,
        }

    def _power(self, action: str) -> None:
        """Past the BMC, and so past its quirks: somebody stands before the machine."""
        if action in ("off", "reset"):
            self.bmc.vm.power_off()
        if action in ("on", "reset"):
            self.bmc.vm.power_on()


class _Asked(socketserver.StreamRequestHandler):
    server: Control

    def handle(self) -> None:
        self.connection.settimeout(60)
        try:
            answer = self.server.answer(json.loads(self.rfile.readline()))
            self.wfile.write(json.dumps(answer).encode() + b"\n")
        except (OSError, ValueError, Refused):
            pass  # whoever asked has gone


def _as_host_counts(pid: int) -> int | None:
    """QEMU runs in the lab's pid namespace, and /proc is the host's."""
    try:
        held = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        lines = Path(f"/proc/self/fdinfo/{held}").read_text().splitlines()
    finally:
        os.close(held)
    return next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), None)


def _make_place(plan: VmPlan, directory: Path, tools: Mapping[str, str]) -> None:
    """The mount namespace with the machine's files, which QEMU, as nobody, may read and write."""
    console = directory / CONSOLE
    console.touch(mode=0o600)
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    seen = os.open(console, os.O_PATH)
    linux.mount("crowbar-lab-vm", PLACE, "tmpfs", linux.MS_NOSUID, "mode=755,size=100%")
    os.chown(PLACE, NOBODY, NOBODY)
    (PLACE / CONSOLE).touch()
    linux.bind(f"/proc/self/fd/{seen}", PLACE / CONSOLE)
    os.close(seen)
    # The host's may be root's alone; whose a tap is, its owner says.
    os.mknod(PLACE / "tun", stat.S_IFCHR, os.makedev(10, 200))
    (PLACE / "tun").chmod(0o666)
    linux.bind(PLACE / "tun", TUN)
    files = [PLACE / CONSOLE]
    for index, size in enumerate(plan.disks):
        disk = PLACE / f"disk{index}"
        subprocess.run(
            [tools["qemu-img"], "create", "-q", "-f", "qcow2", str(disk), f"{size}G"], check=True, capture_output=True
        )
        files.append(disk)
    if plan.firmware == "uefi":
        shutil.copyfile(VARIABLES, PLACE / "variables")
        files.append(PLACE / "variables")
    for file in files:
        os.chown(file, NOBODY, NOBODY)


def _make_wires(plan: VmPlan, wanted: Mapping[str, Any]) -> None:
    """The taps at the lab's bridge, and this process's network namespace with the BMC's card."""
    ip, port = wanted["ip"], f"vm{plan.number}bmc"
    lab = os.open("/proc/self/ns/net", os.O_RDONLY)
    taps = [tap(plan, nic) for nic in range(len(plan.macs))]
    linux.unshare(linux.CLONE_NEWNET)
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    linux.setns(lab, linux.CLONE_NEWNET)
    lines = [f"tuntap add dev {one} mode tap user {NOBODY}" for one in taps]
    lines += [f"link set {one} master {BRIDGE} up" for one in taps]
    run_ip(ip, [*lines, f"link add {port} type veth peer name {port}x", f"link set {port} master {BRIDGE} up"])
    # By the file, not by a pid: this process is in the lab's namespace at the moment.
    os.set_inheritable(own, True)
    subprocess.run(
        [ip, "link", "set", f"{port}x", "netns", f"/proc/self/fd/{own}"],
        check=True,
        capture_output=True,
        close_fds=False,
    )
    linux.setns(own, linux.CLONE_NEWNET)
    four, six = wanted["prefixes"]
    run_ip(ip, ["link set lo up", f"link set {port}x name eth0 address {plan.bmc_mac}"])
    # With one address more it would answer from another than it was asked at.
    Path("/proc/sys/net/ipv6/conf/eth0/accept_ra").write_text("0")
    run_ip(
        ip,
        [
            "link set eth0 up",
            f"addr add {plan.bmc_ipv4}/{four} dev eth0",
            f"addr add {plan.bmc_ipv6}/{six} dev eth0 nodad",
        ],
    )
    for one in (lab, own):
        os.close(one)


def _command(plan: VmPlan, first: str, wanted: Mapping[str, Any]) -> Sequence[str]:
    """QEMU in the lab's network, as nobody, behind other work of this machine, and never longer than this process."""
    tools = wanted["tools"]
    line = [wanted["nsenter"], f"--net={wanted['network']}", "--", tools["nice"], "-n", "10", tools["setpriv"]]
    line += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--pdeathsig=KILL", "--"]
    return [*line, *qemu_command(plan, first, qemu=tools["qemu-system-x86_64"], place=str(PLACE))]


def main(arguments: Sequence[str]) -> None:
    wanted = json.loads(sys.stdin.read())
    plan, directory = VmPlan.of(wanted["plan"]), Path(arguments[0])
    here = os.open(directory, os.O_PATH)  # it may be below what PLACE covers
    try:
        _make_wires(plan, wanted)
        _make_place(plan, directory, wanted["tools"])
        bmc = Bmc(Vm(plan, lambda first: _command(plan, first, wanted), str(PLACE / "qmp")))
        tls = Redfish(bmc, plan, self_signed(plan.name))
        servers = (Redfish(bmc, plan), tls, Control(f"/proc/self/fd/{here}/{CONTROL}", bmc))
        spoken = Ipmi(bmc, plan, PLACE / CONSOLE)
    except (OSError, BootError, subprocess.CalledProcessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else b""
        print(json.dumps({"error": f"{plan.name} cannot be made ({error}{said and ': '}{said.decode()})."}), flush=True)
        return
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"pid": int(os.readlink("/proc/self"))}), flush=True)
    log = os.open(f"/proc/self/fd/{here}/process.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd in (1, 2):
        os.dup2(log, fd)
    spoken.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
