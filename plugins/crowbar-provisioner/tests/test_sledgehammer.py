"""The discovery image: made of packages, the same each time, and real: a machine boots into it and is told of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from crowbar_lab.lab import Lab
from crowbar_lab.netboot import NetBoot
from crowbar_lab.vms import LabVm
from crowbar_provisioner.inventory import Inventory
from crowbar_provisioner.sledgehammer import build
from crowbar_provisioner.sledgehammer.archive import pack
from crowbar_provisioner.sledgehammer.elf import needed
from crowbar_provisioner.sledgehammer.packages import BuildError, run

from .conftest import script_of_the_image

SCRIPTS = Path(build.__file__).parent / "root"


def test_an_archive_depends_on_what_is_in_it_and_on_nothing_else(tmp_path: Path) -> None:
    made = []
    for name, names in (("one", ("b", "a")), ("two", ("a", "b"))):
        root = tmp_path / name
        (root / "etc").mkdir(parents=True)
        for file in names:
            (root / "etc" / file).write_text(file)
            os.utime(root / "etc" / file, (len(made), len(made)))
        (root / "init").write_text("#!/bin/sh\n")
        (root / "init").chmod(0o700)
        (root / "link").symlink_to("etc/a")
        made.append(pack(root, {"etc/b": 0o600}))
    assert made[0] == made[1]
    listed = subprocess.run(["busybox", "cpio", "-t", "-v"], input=made[0], capture_output=True, check=True, timeout=60)
    lines = [line.split() for line in listed.stdout.decode().splitlines()]
    assert [(line[0], line[1], line[-1]) for line in lines] == [
        ("crw-------", "0/0", "dev/console"),
        ("crw-rw-rw-", "0/0", "dev/null"),
        ("drwxr-xr-x", "0/0", "etc"),
        ("-rw-r--r--", "0/0", "etc/a"),
        ("-rw-------", "0/0", "etc/b"),
        ("-rwxr-xr-x", "0/0", "init"),
        ("lrwxrwxrwx", "0/0", "etc/a"),
    ]


def test_libraries_are_those_that_a_program_names() -> None:
    program = Path(shutil.which("busybox") or "")
    assert "libc.so.6" in needed(program)
    assert "/lib64/ld-linux-x86-64.so.2" in needed(program)
    assert needed(Path(__file__)) == ()


@pytest.mark.parametrize("script", ["init", *(f"sbin/{one.name}" for one in sorted((SCRIPTS / "sbin").iterdir()))])
def test_scripts_of_the_image_are_such_that_its_shell_reads_them(script: str) -> None:
    done = subprocess.run(["busybox", "sh", "-n", str(SCRIPTS / script)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_fails_and_what_is_missing_is_told_in_one_sentence() -> None:
    with pytest.raises(BuildError, match=r"^The program no-such-program is missing: images are built on Debian"):
        run(["no-such-program"])
    with pytest.raises(BuildError, match=r"^ls failed: .*/no/such/place"):
        run(["ls", "/no/such/place"])
    with pytest.raises(BuildError, match=r"^sh failed: E: no network$"):
        run(["sh", "-c", "echo Err:1; echo 'E: no network'; echo 'E: apt-get failed'; exit 1"])


# ---- what a machine tells of itself

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"


def hardware(root: Path) -> None:
    """Of a machine with two cards, the second one in a slot behind a bridge and without a cable; UEFI; a BMC."""
    slots = {"eno1": "pci0000:00/0000:00:1f.6", "ens1": "pci0000:00/0000:00:1c.0/0000:3b:00.1"}
    said = {"eno1": (MAC, "25000", "1", "ice"), "ens1": (OTHER, "-1", "0", "igb")}
    for name, (mac, speed, carrier, driver) in said.items():
        card, device = root / "sys/class/net" / name, root / "sys/devices" / slots[name]
        for place in (card, device, root / "sys/bus/pci/drivers" / driver):
            place.mkdir(parents=True)
        for file, text in (("address", mac), ("speed", speed), ("carrier", carrier)):
            (card / file).write_text(f"{text}\n")
        (card / "device").symlink_to(device)
        (device / "driver").symlink_to(root / "sys/bus/pci/drivers" / driver)
    for place in ("sys/class/net/lo", "sys/block", "sys/class/dmi/id", "sys/firmware/efi", "dev", "bin", "run"):
        (root / place).mkdir(parents=True)
    (root / "sys/class/net/lo/address").write_text("00:00:00:00:00:00\n")
    dmi = {"product_uuid": "11111111-2222-3333-4444-0000000000AA", "product_serial": "S-1", "sys_vendor": "Acme"}
    for name, text in dmi.items():
        (root / "sys/class/dmi/id" / name).write_text(f"{text}\n")
    (root / "dev/ipmi0").touch()
    (root / "bin/ipmitool").write_text("#!/bin/sh\necho 'IP Address Source       : DHCP Address'\n"
                                       "echo 'IP Address              : 10.0.9.7'\n")  # fmt: skip
    (root / "bin/ipmitool").chmod(0o755)


def inventory_of(root: Path) -> Inventory:
    text = script_of_the_image("inventory").replace("PATH=", f"PATH={root}/bin:")
    for place in ("/sys/", "/dev/ipmi0", "/run"):
        text = text.replace(place, f"{root}{place}")
    (root / "inventory").write_text(text)
    done = subprocess.run(
        ["busybox", "sh", str(root / "inventory"), OTHER], capture_output=True, text=True, timeout=60, check=True
    )
    return Inventory.model_validate_json(done.stdout)


def test_cards_are_told_with_their_slot_and_speed_and_a_bmc_with_its_address(tmp_path: Path) -> None:
    hardware(tmp_path)
    told = inventory_of(tmp_path)
    assert told.macs == [OTHER, MAC], "the card that it booted from comes first"
    assert [(one.name, one.pci, one.driver, one.speed, one.link) for one in told.nics] == [
        ("ens1", "0000:3b:00.1", "igb", None, False),
        ("eno1", "0000:00:1f.6", "ice", 25000, True),
    ]
    assert (told.firmware, told.uuid, told.serial, told.vendor) == (
        "uefi", "11111111-2222-3333-4444-0000000000aa", "S-1", "Acme",
    )  # fmt: skip
    assert told.bmc is not None
    assert (told.bmc.present, told.bmc.address) == (True, "10.0.9.7")
    (tmp_path / "dev/ipmi0").unlink()
    (tmp_path / "sys/firmware/efi").rmdir()
    told = inventory_of(tmp_path)
    assert (told.bmc, told.firmware) == (None, "bios")


# ---- a machine


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], build.Image]:
    @cache
    def of_kernel(kernel: str) -> build.Image:
        return build.build(tmp_path_factory.mktemp(kernel), kernel=kernel, cache=Path(".cache/packages").absolute())

    return of_kernel


@pytest.fixture
def image(built: Callable[[str], build.Image]) -> build.Image:
    return built("cloud")


@pytest.mark.vms
def test_the_same_packages_make_the_same_image(image: build.Image, tmp_path: Path) -> None:
    again = build.build(tmp_path, kernel="cloud", cache=Path(".cache/packages").absolute())
    assert again.sums == image.sums
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path, check=True, timeout=60)


BY_HAND = """
echo "$(lshw -quiet -class network | grep -c 'logical name: eth\\|logical name: en') cards"
lldpd && until lldpcli show chassis >/dev/null 2>&1; do sleep 0.2; done
lldpcli show chassis | sed -n 's/ *SysName: *//p'
"""
"""What one asks a machine of, whose image has the programs for it."""
TOKEN = "Zm9yLXRoaXMtYm9vdC1vZi10aGlzLW1hY2hpbmUtb25s"


@pytest.mark.vms
@pytest.mark.parametrize("kernel, firmware", [("cloud", "bios"), ("cloud", "uefi"), ("full", "bios")])
def test_a_machine_registers_lets_in_whom_it_is_told_and_says_when_it_goes(
    built: Callable[[str], build.Image], tmp_path: Path, kernel: str, firmware: str
) -> None:
    image = built(kernel)
    with Lab.create("hammer", nodes=0, state_dir=tmp_path, owner=os.getpid()) as lab, NetBoot(lab) as boot:
        [vm] = lab.add_vms(1, firmware=firmware, nics=2, disks=(1, 2))
        key = (lab.directory / "id_ed25519.pub").read_text().strip()
        arguments = f"crowbar.url={boot.url} crowbar.token={TOKEN} crowbar.mac=${{net0/mac}} crowbar.env=sledgehammer"
        boot.files |= {
            "/boot.ipxe": f"#!ipxe\nkernel {boot.url}/vmlinuz initrd=initrd.img {arguments} console=ttyS0 quiet\n"
            f"initrd --name initrd.img {boot.url}/initrd.img\nboot\n",
            "/vmlinuz": image.place / "vmlinuz",
            "/initrd.img": image.place / "initrd.img",
            "/v1/register": json.dumps({"node": "d52.example.org", "authorized_keys": [key], "poll": 1}),
            "/v1/work": json.dumps({"work": None, "poll": 1}),
        }
        vm.power("on")
        assert json.loads(boot.await_request("/v1/alive").body) == {"alive": True}
        cost = vm.cpu_seconds()
        asked = boot.await_request("/v1/register")
        assert asked.headers["authorization"] == f"Bearer {TOKEN}"
        told = json.loads(asked.body)
        _check_inventory(told["inventory"], vm)
        address = told["inventory"]["addresses"][0].partition("/")[0]
        (tmp_path / "known").write_text(f"{address} {told['host_keys'][0]}\n")
        ssh = ["ssh", "-F", "none", "-i", str(lab.private_key), "-o", f"UserKnownHostsFile={tmp_path / 'known'}"]
        ssh += ["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", f"root@{address}"]
        done = lab.exec([*ssh, "hostname; id -u"], capture_output=True, text=True, timeout=120)
        assert (done.stdout, done.stderr) == ("d52\n0\n", "")
        if kernel == "full":
            done = lab.exec([*ssh, BY_HAND], capture_output=True, text=True, timeout=120)
            assert done.stdout == "2 cards\nd52\n", done.stderr

        power = ["ipmitool", "-I", "lanplus", "-C", "3", "-H", vm.plan.bmc_ipv4, "-U", "admin", "-P", "crowbar"]
        lab.exec([*power, "power", "soft"], check=True, capture_output=True, timeout=60)
        _await(lambda: vm.power("status") == "off")
        assert [json.loads(one.body) for one in boot.requests if one.path == "/v1/alive"][-1] == {"alive": False}
        print(f"{firmware}: from power-on to sshd {cost:.1f} s of QEMU's processor time")


def _check_inventory(told: dict[str, Any], vm: LabVm) -> None:
    plan = vm.plan
    assert (told["uuid"], told["serial"], told["firmware"]) == (plan.uuid, plan.serial, plan.firmware)
    assert (told["vendor"], told["product"]) == ("Crowbar", "Lab machine")
    assert told["macs"] == list(plan.macs)
    assert [(one["name"], one["size"] >> 30, one["serial"], one["removable"]) for one in told["disks"]] == [
        ("vda", 1, plan.disk_serials()[0], False),
        ("vdb", 2, plan.disk_serials()[1], False),
    ]
    assert all(one["by_path"].startswith("pci-0000:") and not one["holders"] for one in told["disks"])
    assert [(one["driver"], one["link"]) for one in told["nics"]] == [("virtio_net", True)] * 2
    assert told["cpu"]["threads"] == plan.cpus
    assert 0.8 * plan.memory < told["memory"] / (1 << 20) <= plan.memory


def _await(question: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not question():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.2)
