"""Virtual machines of a lab: real firmware that boots from the network or a disk, a BMC each, and nothing left of them.

Two machines, one with BIOS and one with UEFI, are shared by the module; some twenty seconds of processor time.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sushy
from crowbar_lab.errors import LabError, LabNotFound, LabUnavailable
from crowbar_lab.lab import Lab
from crowbar_lab.netboot import NetBoot, Request
from crowbar_lab.testing import inside
from crowbar_lab.vms import LabVm
from sushy.auth import BasicAuth

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab-vms")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.create("vms", nodes=0, state_dir=tmp_path_factory.mktemp("labs"), owner=os.getpid()) as made:
        made.add_vms(2, disks=(1, 2), nics=2, memory=256)
        yield made


@pytest.fixture
def bios(lab: Lab) -> Iterator[LabVm]:
    yield from as_it_came(lab.vm("vm-1"))


@pytest.fixture
def uefi(lab: Lab) -> Iterator[LabVm]:
    yield from as_it_came(lab.vm("vm-2"))


def as_it_came(vm: LabVm) -> Iterator[LabVm]:
    yield vm
    vm.quirks()
    vm.power("off")
    vm.boot_from(None)


@pytest.fixture
def boot(lab: Lab) -> Iterator[NetBoot]:
    """iPXE tells which machine it is, and stays."""
    with NetBoot(lab) as boot:
        facts = "mac=${net0/mac}&uuid=${uuid}&serial=${serial}&platform=${platform}"
        boot.files["/boot.ipxe"] = f"#!ipxe\nchain {boot.url}/here?{facts}\n"
        boot.files["/here"] = "#!ipxe\necho from the network\nsleep 1000\n"
        yield boot


def ipmitool(lab: Lab, vm: LabVm, command: str, host: str = "") -> subprocess.CompletedProcess[str]:
    given = ["-I", "lanplus", "-C", "3", "-U", "admin", "-P", "crowbar", "-H", host or vm.plan.bmc_ipv4]
    done: subprocess.CompletedProcess[str] = lab.exec(
        ["ipmitool", *given, *command.split()], capture_output=True, text=True, timeout=60
    )
    return done


def redfish(lab: Lab, vm: LabVm, password: str = "crowbar") -> Any:
    def sign_in() -> Any:
        root = sushy.Sushy(vm.plan.redfish, auth=BasicAuth(username="admin", password=password))
        return root.get_system("/redfish/v1/Systems/1")

    return inside(lab, sign_in)


def facts(request: Request) -> dict[str, str]:
    return dict(request.query)


def is_no_override(lab: Lab, vm: LabVm) -> bool:
    return "No override" in ipmitool(lab, vm, "chassis bootparam get 5").stdout


def await_no_override(lab: Lab, vm: LabVm) -> None:
    deadline = time.monotonic() + 60
    while not is_no_override(lab, vm):
        assert time.monotonic() < deadline, "the override for once holds for ever"
        time.sleep(0.2)


# ---- what they are


def test_machines_come_off_with_bios_and_uefi_in_turn_and_names_numbers_and_disks_of_their_own(lab: Lab) -> None:
    first, second = (vm.state() for vm in lab.vms)
    assert [(one["name"], one["firmware"], one["powered"]) for one in (first, second)] == [
        ("vm-1.lab.test", "bios", False),
        ("vm-2.lab.test", "uefi", False),
    ]
    assert first["macs"] == ("52:54:00:77:00:01", "52:54:00:77:01:01")
    assert first["uuid"] != second["uuid"]
    assert first["serial"] != second["serial"]
    assert first["disk_serials"] == (f"{first['serial']}-D0", f"{first['serial']}-D1")
    assert (first["ipmi"], first["redfish"]) == ("10.77.255.254", "http://10.77.255.254")
    with pytest.raises(LabNotFound, match=r"no virtual machine vm-9 .*, which has: vm-1\.lab\.test, vm-2\.lab\.test\."):
        lab.vm("vm-9")
    assert first["uuid"] in json.dumps(lab.describe())


@pytest.mark.parametrize(
    "wishes, why",
    [
        ({"firmware": "coreboot"}, "has the firmware bios or uefi"),
        ({"firmware": "bios", "ipv6_only": True}, "leaves out PXE over IPv4 is UEFI"),
        ({"firmware": "bios", "http_boot": True}, "boots over HTTP is UEFI"),
        ({"disks": (0,)}, "from 1 to 1024 GiB"),
        ({"nics": 0}, "1 to 8 cards"),
        ({"count": 65}, "at most 64 virtual machines"),
    ],
)
def test_what_a_machine_cannot_be_is_said_in_one_sentence(lab: Lab, wishes: dict[str, Any], why: str) -> None:
    with pytest.raises(LabError, match=why):
        lab.add_vms(**{"count": 1, **wishes})
    assert len(lab.vms) == 2


def test_where_qemu_is_missing_the_packages_are_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, **options: None if "qemu" in name else which(name, **options))
    said = r"^Virtual machines take QEMU, .*: apt-get install --no-install-recommends qemu-system-x86 qemu-utils\.$"
    with pytest.raises(LabUnavailable, match=said):
        lab.add_vms(1)


# ---- booting, by their BMC


def test_bios_boots_from_the_network_and_once_from_its_disk_as_ipmitool_says(
    lab: Lab, bios: LabVm, boot: NetBoot, tmp_path: Path
) -> None:
    # A boot sector that writes to the serial port and halts.
    text = b"from the disk\r\n"
    code = b"\xfa\xfc\x31\xc0\x8e\xd8\xbe\x18\x7c\xac\x84\xc0\x74\x06\xba\xf8\x03\xee\xeb\xf5\xf4\xeb\xfd\x90" + text
    (tmp_path / "sector").write_bytes(code.ljust(510, b"\0") + b"\x55\xaa")
    bios.write_disk(tmp_path / "sector")

    assert ipmitool(lab, bios, "power status").stdout == "Chassis Power is off\n"
    assert ipmitool(lab, bios, "power on").returncode == 0
    asked = boot.await_request("/here", mac=bios.plan.macs[0])
    plan = bios.plan
    assert facts(asked) == {"mac": plan.macs[0], "uuid": plan.uuid, "serial": plan.serial, "platform": "pcbios"}
    assert ipmitool(lab, bios, "power status").stdout == "Chassis Power is on\n"

    assert ipmitool(lab, bios, "chassis bootdev disk").returncode == 0
    assert "Options apply to only next boot" in ipmitool(lab, bios, "chassis bootparam get 5").stdout
    assert ipmitool(lab, bios, "power reset").returncode == 0
    bios.await_console("from the disk")
    await_no_override(lab, bios)

    # The power button asks a system that is not there: it stays on.
    assert ipmitool(lab, bios, "power soft").returncode == 0
    assert bios.power("status") == "on"
    before, starts = len(boot.requests), bios.state()["starts"]
    assert ipmitool(lab, bios, "power cycle").returncode == 0
    deadline = time.monotonic() + 120
    while not any(one.path == "/here" for one in boot.requests[before:]):
        assert time.monotonic() < deadline, "after once from its disk it boots from the network again"
        time.sleep(0.1)
    assert bios.state()["starts"] == starts + 1
    assert ipmitool(lab, bios, "power off").returncode == 0
    assert ipmitool(lab, bios, "power reset").stderr.strip().endswith("Command not supported in present state")


def test_where_nobody_gives_the_first_script_firmware_goes_on_to_its_disk_and_the_next_boot_asks_again(
    bios: LabVm, boot: NetBoot
) -> None:
    first = boot.files.pop("/boot.ipxe")
    before = len(bios.console())
    bios.power("on")
    said = bios.await_console("Booting from Hard Disk", after=before)
    assert said.index("/boot.ipxe") < said.index("No more network devices") < said.index("Booting from Hard Disk")
    boot.files["/boot.ipxe"] = first
    before = len(bios.console())
    bios.power("reset")
    bios.await_console("from the network", after=before)


def test_uefi_boots_from_the_network_by_its_own_pxe_and_then_from_its_disk_as_redfish_says(
    lab: Lab, uefi: LabVm, boot: NetBoot, tmp_path: Path
) -> None:
    disk = tmp_path / "fat"
    (tmp_path / "grub.cfg").write_text("echo from the disk\nsleep 1000\n")
    line = [
        "grub-mkimage",
        "-O",
        "x86_64-efi",
        "-p",
        "/",
        "-c",
        str(tmp_path / "grub.cfg"),
        "-o",
        str(tmp_path / "efi"),
    ]
    subprocess.run([*line, "echo", "sleep", "normal"], check=True)
    with disk.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.vfat", str(disk)], check=True, capture_output=True)
    subprocess.run(["mmd", "-i", str(disk), "::EFI", "::EFI/BOOT"], check=True)
    subprocess.run(["mcopy", "-i", str(disk), str(tmp_path / "efi"), "::EFI/BOOT/BOOTX64.EFI"], check=True)
    uefi.write_disk(disk)

    system = redfish(lab, uefi)
    assert (system.uuid, system.serial_number) == (uefi.plan.uuid, uefi.plan.serial)
    assert system.power_state == sushy.POWER_STATE_OFF
    inside(lab, lambda: system.reset_system(sushy.RESET_ON))
    asked = boot.await_request("/here", mac=uefi.plan.macs[0])
    assert (asked.query["platform"], asked.query["uuid"]) == ("efi", uefi.plan.uuid)
    # Its firmware had said which architecture it is, and taken iPXE by TFTP.
    assert re.search(r"sent \S*/ipxe\.efi to ", boot.log())

    def once_from_disk() -> str:
        system.set_system_boot_options(
            target=sushy.BOOT_SOURCE_TARGET_HDD, enabled=sushy.BOOT_SOURCE_ENABLED_CONTINUOUS
        )
        system.reset_system(sushy.RESET_FORCE_RESTART)
        system.refresh(force=True)
        return str(system.boot.enabled)

    assert inside(lab, once_from_disk) == str(sushy.BOOT_SOURCE_ENABLED_CONTINUOUS)
    uefi.await_console("from the disk")
    inside(lab, lambda: system.reset_system(sushy.RESET_FORCE_OFF))
    inside(lab, lambda: system.refresh(force=True))
    assert system.power_state == sushy.POWER_STATE_OFF
    assert uefi.state()["boot"] == "Hdd"


@pytest.mark.vms
def test_uefi_that_knows_no_ipv4_boots_over_ipv6_alone(tmp_path: Path) -> None:
    with (
        Lab.create("six", nodes=0, state_dir=tmp_path, owner=os.getpid()) as lab,
        NetBoot(lab, families=(6,)) as boot,
    ):
        [vm] = lab.add_vms(1, ipv6_only=True)
        boot.files["/boot.ipxe"] = f"#!ipxe\nchain {boot.url}/here?mac=${{net0/mac}}\n"
        boot.files["/here"] = "#!ipxe\nsleep 1000\n"
        vm.power("on")
        boot.await_request("/here", mac=vm.plan.macs[0])
        assert "DHCPDISCOVER" not in boot.log()


# ---- BMCs as they are


def test_a_bmc_answers_on_ipv6_and_wants_its_password(lab: Lab, bios: LabVm) -> None:
    assert ipmitool(lab, bios, "power status", host=bios.plan.bmc_ipv6).stdout == "Chassis Power is off\n"
    with pytest.raises(sushy.exceptions.AccessError):
        redfish(lab, bios, password="wrong")


def test_a_bmc_can_be_slow_refuse_once_and_lie(lab: Lab, bios: LabVm) -> None:
    bios.quirks(refuses=1, says="on", slow=0.3)
    began = time.monotonic()
    assert ipmitool(lab, bios, "power status").stdout == "Chassis Power is on\n"
    assert time.monotonic() - began >= 0.3
    assert bios.power("status") == "off"
    assert ipmitool(lab, bios, "power off").returncode != 0
    assert ipmitool(lab, bios, "power off").returncode == 0
    bios.quirks(refuses=1)
    system = redfish(lab, bios)
    with pytest.raises(sushy.exceptions.ServerSideError):
        inside(lab, lambda: system.reset_system(sushy.RESET_FORCE_OFF))
    inside(lab, lambda: system.reset_system(sushy.RESET_FORCE_OFF))
    with pytest.raises(LabError, match="says on or off"):
        bios.quirks(says="maybe")


# ---- their end


PROGRAM = """
import os, sys, time
from pathlib import Path
from crowbar_lab.lab import Lab
lab = Lab.create("owned", nodes=0, state_dir=Path(sys.argv[1]), owner=os.getpid())
[vm] = lab.add_vms(1, memory=128)
vm.power("on")
print(vm.state()["pid"], lab.describe()["keeper"], flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("victim", ["the owner", "the machine's process"])
def test_qemu_ends_with_the_lab_and_with_its_own_bmc(tmp_path: Path, victim: str) -> None:
    owner = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    try:
        qemu, keeper = map(int, owner.stdout.readline().split())
        held = os.pidfd_open(qemu)
        assert Path(f"/proc/{qemu}/status").read_text().count("\nUid:\t65534\t65534\t") == 1
        if victim == "the owner":
            owner.send_signal(signal.SIGKILL)
        else:
            bmc = Lab.load("owned", state_dir=tmp_path).describe()["vm_processes"]["vm-1.lab.test"]
            os.kill(bmc, signal.SIGKILL)
        assert select.select([held], [], [], 60)[0], "QEMU goes on"
        os.close(held)
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    assert Lab.remove("owned", state_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not Path(f"/proc/{keeper}/ns/net").exists()
