"""Virtual machines with real firmware go on by kexec in what was written, or are reset."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from crowbar_jig_script.remote import Remote
from crowbar_lab.lab import Lab
from crowbar_lab.netboot import NetBoot
from crowbar_lab.testing import begin_inside
from crowbar_lab.vms import LabVm
from crowbar_provisioner import standing
from crowbar_provisioner.images import build as images
from crowbar_provisioner.sledgehammer import build
from crowbar_provisioner.sledgehammer.archive import pack

from crowbar_core import Hammer, SetHammer, cluster
from crowbar_core.testing import Testbed

from .light import listening
from .test_on_nodes import PORT, gateway_of
from .test_vms import awaited, bed_in

pytestmark = [pytest.mark.vms, pytest.mark.timeout(1200)]
ROLE = "provisioner-os-install"
ROOT_AT = (2 + images.ESP_MIB) * images.MIB


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the boot service serves: the discovery image, and one of Debian."""
    root = tmp_path_factory.mktemp("files")
    build.build(root / "sledgehammer", kernel="cloud", cache=Path(".cache/packages").absolute())
    images.build(root / "images", kernel="cloud")
    return root


def changed(files: Path, place: Path, commands: str) -> Path:
    """The same with another image: ``commands`` are debugfs's, on its root."""
    (place / "images").mkdir(parents=True)
    shutil.copytree(files / "sledgehammer", place / "sledgehammer", copy_function=os.link)
    disk = place / "images/debian-12.raw"
    subprocess.run(["cp", "--sparse=always", files / "images/debian-12.raw", disk], check=True, timeout=120)
    debugfs(disk, commands)
    said = json.loads((files / "images/debian-12.json").read_text())
    with disk.open("rb") as made:
        sums = {"sha256": hashlib.file_digest(made, "sha256").hexdigest()}
    kept = {name: value for name, value in said.items() if name not in ("xxh64", "blake2b", "tarball")}
    (place / "images/debian-12.json").write_text(json.dumps({**kept, **sums}))
    return place


def debugfs(disk: Path, commands: str) -> str:
    """What it says of the root of an image, or does to it."""
    line = ["debugfs", "-w", "-f", "-", f"{disk}?offset={ROOT_AT}"]
    done = subprocess.run(line, input=commands, capture_output=True, text=True, timeout=60, check=True)
    assert "not found" not in done.stdout + done.stderr, done
    return done.stdout


class Plug(Hammer):
    """The machine's plug."""

    vm: LabVm

    def actions(self) -> tuple[str, ...]:
        return ("reset",)

    def perform(self, action: str) -> str:
        return self.vm.power(action)


@dataclass
class Walk:
    bed: Testbed
    vm: LabVm
    name: str

    @property
    def web(self) -> Any:
        return self.bed.web("operator")

    @property
    def timeline(self) -> list[str]:
        lines = self.web.get(f"/api/v2/machines/{self.name}?fields=timeline").json["timeline"]
        return [f"{one['what']} {one['detail']}".strip() for one in lines]

    @property
    def by_kexec(self) -> bool:
        return bool(self.web.get(f"/api/v2/machines/{self.name}").json["by_kexec"])

    def install(self, *, layout: str = "flat", waits: float = 0, stands: str = "login:") -> None:
        """Until its role is ACTIVE. ``waits``: so many seconds pass once it has gone on, and does not come;
        ``stands``: what its console says then.
        """
        self.bed.bind(ROLE, self.name)
        self.bed.set("provisioner-kexec", True, node=self.name, role=ROLE)
        self.bed.set("provisioner-layout", layout, node=self.name, role=ROLE)
        self.bed.commit()
        if waits:
            awaited(lambda: not self._is_active() and stands in self.vm.console(), self.told)
            self.bed.clock.advance(waits)  # type: ignore[attr-defined]
        awaited(self._is_active, self.told)

    def _is_active(self) -> bool:
        self.bed.anneal_until_quiet(within=120)
        if not self.bed.node(self.name).alive:
            self.web.put(f"/api/v2/nodes/{self.name}/probe")
        state = self.bed.state(ROLE, self.name)
        assert state != "ERROR", self.told()
        return state == "ACTIVE"

    @property
    def root_on(self) -> str:
        """What its root lies on, as it says over SSH."""
        with self.bed.serving():
            node = cluster().node(self.name)
            found = Remote.of_cluster().ask(node, node.addresses[0], "findmnt -no SOURCE /", timeout=60)
        return found.out.strip()

    def look(self) -> bool:
        """Whether it is still not proven."""
        self.web.put(f"/api/v2/nodes/{self.name}/probe")
        with self.bed.serving():
            standing.look()
        return self.by_kexec

    def told(self) -> str:
        return "\n".join([self.bed.why(ROLE, self.name), *self.timeline, self.vm.console()[-2000:]])


def walk(
    files: Path, home: Path, firmware: str, then: Callable[[Walk], None], *, disks: tuple[int, ...] = (2,),
    words: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """A machine is switched on and managed; then what is done with it. ``words`` are for the image's kernel."""
    with Lab.create(f"kexec-{firmware}", nodes=0, state_dir=home, owner=os.getpid()) as lab, NetBoot(lab) as dhcp:
        dhcp.files["/boot.ipxe"] = f"#!ipxe\nchain http://{gateway_of(lab)}:{PORT}/boot.ipxe\n"
        [Plug.vm] = lab.add_vms(1, firmware=firmware, disks=disks, memory=768)
        vm = Plug.vm

        def inside() -> None:
            with (
                bed_in(lab, files, hammers={"plug": Plug}, words=words) as bed,
                bed.service("provisioner-boot"),
            ):
                listening(PORT)
                web: Any = bed.web("operator")
                vm.power("on")

                def alive() -> list[str]:
                    found: list[dict[str, Any]] = web.get("/api/v2/machines").json
                    return [name for one in found if bed.node(name := str(one["name"])).alive]

                [name] = awaited(alive, lambda: f"it did not register: {vm.console()[-2000:]}")
                assert web.put(f"/api/v2/machines/{name}/accept").status_code == 200
                bed.apply(SetHammer(node=name, name="plug"))
                bed.anneal_until_quiet(within=120)
                then(Walk(bed, vm, name))

        begin_inside(lab, inside).result()


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_machine_goes_on_by_kexec_and_its_next_boot_is_its_firmwares(
    files: Path, tmp_path: Path, firmware: str
) -> None:
    def then(one: Walk) -> None:
        one.install()
        assert one.vm.state()["starts"] == 1
        assert "install: kexec begun" in one.timeline
        assert not [line for line in one.timeline if line.startswith("boots local")]
        assert one.bed.value("provisioner-runs", one.name, role="provisioner-discovered") == "disk"
        print(f"{firmware}: from power-on to ACTIVE by kexec {one.vm.cpu_seconds():.1f} s of QEMU's processor time")
        assert one.look(), "that is still the boot by kexec"
        one.vm.power("reset")
        awaited(lambda: not one.look(), one.told)
        assert one.timeline[-1].startswith("started by its firmware")

    walk(files, tmp_path, firmware, then)


@pytest.mark.parametrize(
    "layout, disks, root", [("lvm", (2,), "/dev/mapper/system-root"), ("raid1", (2, 2), "/dev/md127")]
)
def test_it_goes_on_by_kexec_in_a_system_on_lvm_and_on_raid(
    files: Path, tmp_path: Path, layout: str, disks: tuple[int, ...], root: str
) -> None:
    def then(one: Walk) -> None:
        one.install(layout=layout)
        assert (one.vm.state()["starts"], one.root_on) == (1, root), one.told()
        assert "install: kexec begun" in one.timeline
        assert one.look(), "that is still the boot by kexec"
        one.vm.power("reset")
        awaited(lambda: not one.look(), one.told)
        assert one.root_on == root

    walk(files, tmp_path, "bios", then, disks=disks)


def test_a_machine_whose_kernel_cannot_be_loaded_is_restarted_by_its_installer(files: Path, tmp_path: Path) -> None:
    """GRUB finds it by a variable, which is more than the installer understands."""
    shown = debugfs(files / "images/debian-12.raw", "cat /boot/grub/grub.cfg\n")
    name = re.findall("vmlinuz-[^ ]+", shown)[0]
    menu = tmp_path / "grub.cfg"
    text = images.MENU.format(title="Debian 12", kernel=name.removeprefix("vmlinuz-"))
    menu.write_text(f"set kernel=/boot/{name}\n" + text.replace(f"/boot/{name}", "$kernel"))
    grub = "/boot/grub/grub.cfg"
    other = changed(files, tmp_path / "other", f"rm {grub}\nwrite {menu} {grub}\n")

    def then(one: Walk) -> None:
        one.install()
        assert "install: kexec failed its grub.cfg says what only GRUB understands" in one.timeline
        assert one.timeline[-1].endswith(", started by its firmware")
        assert (one.by_kexec, one.vm.state()["starts"]) == (False, 1), "nobody but its installer has restarted it"

    walk(other, tmp_path, "bios", then)


def test_a_machine_that_never_comes_is_reset_and_comes_by_its_firmware(files: Path, tmp_path: Path) -> None:
    silent = tmp_path / "silent.conf"
    silent.write_text("[Unit]\nConditionKernelCommandLine=!crowbar.kexec\n")
    place = "/etc/systemd/system/ssh.service.d"
    other = changed(files, tmp_path / "other", f"mkdir {place}\nwrite {silent} {place}/silent.conf\n")

    def then(one: Walk) -> None:
        one.install(waits=1300)
        assert "install: reset it did not come up within 20 min by kexec" in one.timeline
        assert one.timeline[-1].endswith(", started by its firmware")
        assert not one.by_kexec

    walk(other, tmp_path, "bios", then)


CRASHES = """for word in $(cat /proc/cmdline); do
    [ "$word" != crowbar.kexec ] || echo c >/proc/sysrq-trigger
done
"""


def test_a_machine_whose_kernel_crashes_is_reset_on_uefi_too(files: Path, tmp_path: Path) -> None:
    """Its initial RAM disk sees to that, and to nothing where the firmware has started it."""
    (tmp_path / "more/conf/conf.d").mkdir(parents=True)
    (tmp_path / "more/conf/conf.d/crash").write_text(CRASHES)
    name = re.findall("initrd.img-[^ ]+", debugfs(files / "images/debian-12.raw", "ls -p /boot\n").replace("/", " "))[0]
    initrd = tmp_path / "initrd"
    debugfs(files / "images/debian-12.raw", f"dump /boot/{name} {initrd}\n")
    padding = bytes(-initrd.stat().st_size % 4)
    initrd.write_bytes(initrd.read_bytes() + padding + pack(tmp_path / "more", devices=False))
    other = changed(files, tmp_path / "other", f"rm /boot/{name}\nwrite {initrd} /boot/{name}\n")

    def then(one: Walk) -> None:
        one.install(waits=1300, stands="Kernel panic")
        assert "install: reset it did not come up within 20 min by kexec" in one.timeline
        assert one.timeline[-1].endswith(", started by its firmware")
        assert (one.by_kexec, one.vm.state()["starts"]) == (False, 2)

    walk(other, tmp_path, "uefi", then)


LOCKED = ("lockdown=integrity",)
"""As Secure Boot has it."""


def test_under_lockdown_a_kernel_without_a_signature_has_the_machine_restarted(files: Path, tmp_path: Path) -> None:
    place = files / "images/debian-12.raw"
    name = re.findall("vmlinuz-[^ ]+", debugfs(place, "cat /boot/grub/grub.cfg\n"))[0]
    kernel = tmp_path / "kernel"
    debugfs(place, f"dump /boot/{name} {kernel}\n")
    kernel.write_bytes(unsigned(kernel.read_bytes()))
    other = changed(files, tmp_path / "other", f"rm /boot/{name}\nwrite {kernel} /boot/{name}\n")

    def then(one: Walk) -> None:
        one.install()
        [why] = [line for line in one.timeline if line.startswith("install: kexec failed its kernel was refused: ")]
        assert "Secure Boot" in why
        assert one.timeline[-1].endswith(", started by its firmware")
        assert (one.by_kexec, one.vm.state()["starts"]) == (False, 1), "nobody but its installer has restarted it"

    walk(other, tmp_path, "bios", then, words=LOCKED)


def unsigned(kernel: bytes) -> bytes:
    """Without the signatures that stand at its end."""
    [header] = struct.unpack_from("<I", kernel, 0x3C)
    table = header + 24 + 112 + 4 * 8
    begins, length = struct.unpack_from("<II", kernel, table)
    assert 0 < begins < begins + length <= len(kernel), "it has none"
    return kernel[:table] + bytes(8) + kernel[table + 8 : begins]
