"""Benchmark ``image``: the installer writes the image of Debian to a machine's disk, and a bare `dd` does the same.

A virtual machine that runs the discovery image is told to install, as the boot service tells it, and its CPU seconds
are read as it reports its steps; then the same image, from the same server, is put on the same disk by
``wget | dd``, by hand (what logging in costs is not counted). The disk is discarded before either. Run it with
``./dev bench image`` (``--rounds 1``: quicker).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crowbar_lab.lab import Lab
from crowbar_lab.netboot import NetBoot, Request
from crowbar_lab.vms import LabVm
from crowbar_provisioner.images import build as images
from crowbar_provisioner.sledgehammer import build

TOKEN = "Zm9yLXRoaXMtYm9vdC1vZi10aGlzLW1hY2hpbmUtb25s"
DISK = "vda"
DISCARD = f"blkdiscard -f /dev/{DISK}; sync; echo 3 >/proc/sys/vm/drop_caches"
BARE = "wget -q -O - {url} | dd of=/dev/{disk} bs=4M iflag=fullblock oflag=direct conv=notrunc"
STEP_SECONDS = 900.0


class Told(NetBoot):
    """Reads what the machine has cost as often as it reports a step."""

    vm: LabVm

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.cost: dict[tuple[str, str], float] = {}

    def note(self, request: Request) -> None:
        if request.path == "/v1/steps":
            said = json.loads(request.body)
            self.cost.setdefault((said["step"], said["state"]), self.vm.cpu_seconds())
        super().note(request)

    def of(self, step: str) -> float:
        """CPU seconds from its beginning to its end."""
        return self.cost[step, "done"] - self.cost[step, "begun"]


class Machine:
    """In the discovery image, and told to do nothing by itself."""

    def __init__(self, lab: Lab, boot: Told, files: Path, place: Path) -> None:
        self.lab, self.place = lab, place
        [self.vm] = lab.add_vms(1, firmware="bios", disks=(2,), memory=768)
        boot.vm = self.vm
        words = f"crowbar.url={boot.url} crowbar.token={TOKEN} crowbar.mac=${{net0/mac}} crowbar.env=sledgehammer"
        key = (lab.directory / "id_ed25519.pub").read_text().strip()
        boot.files |= {
            "/boot.ipxe": f"#!ipxe\nkernel {boot.url}/vmlinuz initrd=initrd.img {words} console=ttyS0 quiet\n"
            f"initrd --name initrd.img {boot.url}/initrd.img\nboot\n",
            "/v1/register": json.dumps({"node": "bench.lab.test", "authorized_keys": [key], "poll": 86400}),
        }
        boot.files |= {f"/{name}": files / "sledgehammer" / name for name in ("vmlinuz", "initrd.img")}
        self.vm.power("on")
        boot.await_request("/v1/alive", seconds=STEP_SECONDS)
        told = json.loads(boot.await_request("/v1/register").body)
        self.address = told["inventory"]["addresses"][0].partition("/")[0]
        (place / "known").write_text(f"{self.address} {told['host_keys'][0]}\n")

    def run(self, command: str, given: str = "") -> float:
        """Its CPU seconds meanwhile."""
        line = ["ssh", "-F", "none", "-i", str(self.lab.private_key), "-o", f"UserKnownHostsFile={self.place}/known"]
        line += ["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", f"root@{self.address}", command]
        before = self.vm.cpu_seconds()
        done = self.lab.exec(line, input=given, capture_output=True, text=True, timeout=STEP_SECONDS)
        if done.returncode:
            raise SystemExit(f"{command!r} failed in the machine: {done.stderr[-500:]}{self.vm.console()[-500:]}")
        return self.vm.cpu_seconds() - before


def work_of(vm: LabVm, image: Mapping[str, Any], url: str) -> str:
    """As the boot service says it."""
    disk = {"name": DISK, "size": vm.plan.disks[0] << 30, "serial": vm.plan.disk_serials()[0]}
    names = {"hostname": "bench", "fqdn": "bench.lab.test", "authorized_keys": []}
    return json.dumps({"do": "install", "id": "bench", "disk": disk, "image": {**image, "url": url}, **names})


def rounds(files: Path, count: int) -> Sequence[Mapping[str, float]]:
    image = json.loads((files / "images" / f"{images.OS}.json").read_text())
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="crowbar-bench-image-") as place,
        Lab.create("bench-image", nodes=0, state_dir=Path(place) / "labs", owner=os.getpid()) as lab,
        Told(lab) as boot,
    ):
        boot.files["/image"] = files / "images" / image["file"]
        machine = Machine(lab, boot, files, Path(place))
        for number in range(count):
            boot.cost.clear()
            machine.run("cat >/run/bench.json", work_of(machine.vm, image, f"{boot.url}/image"))
            machine.run(f"write-os /run/bench.json {boot.url} {TOKEN}")
            machine.run(DISCARD)
            login = machine.run("true")
            bare = machine.run(BARE.format(url=f"{boot.url}/image", disk=DISK)) - login
            one = {"write": boot.of("image"), "read back": boot.of("check"), "bare": bare}
            print(
                f"round {number + 1}: {', '.join(f'{name} {value:.2f} s' for name, value in one.items())}", flush=True
            )
            found.append(one)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench image", description=__doc__)
    parser.add_argument(
        "--files", type=Path, help="where both images lie, as the boot service has them; else they are made"
    )
    parser.add_argument("--rounds", type=int, default=3)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crowbar-bench-files-") as directory:
        files = told.files or Path(directory)
        if told.files is None:
            build.build(files / "sledgehammer", kernel="cloud", cache=Path(".cache/packages").absolute())
            images.build(files / "images", kernel="cloud")
        found = rounds(files, told.rounds)
    print(json.dumps({
        "CPU s of the machine, write, read back, bare": [
            round(statistics.median(one[name] for one in found), 2) for name in ("write", "read back", "bare")
        ],
        "write/bare": round(statistics.median(one["write"] / one["bare"] for one in found), 2),
        "write and read back/bare": round(
            statistics.median((one["write"] + one["read back"]) / one["bare"] for one in found), 2
        ),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
