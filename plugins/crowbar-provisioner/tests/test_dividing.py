"""The discovery image's own programs divide disks, in User Mode Linux: LVM, RAID 1 and flat, each over what the one
before left; with a wrong checksum, and where something of a former system is at work.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from crowbar_provisioner.images import build as images
from crowbar_provisioner.images import tarball
from crowbar_provisioner.sledgehammer import build
from crowbar_provisioner.sledgehammer.archive import pack
from crowbar_provisioner.sledgehammer.elf import needed

pytestmark = [pytest.mark.vms, pytest.mark.timeout(900)]
MIB = 1 << 20
UML = Path("/usr/lib/uml/modules")
MODULES = (
    "md-mod",
    "raid1",
    "dm-mod",
    "dm-bufio",
    "fat",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859-1",
    "nls_utf8",
)
SIZES = {"ubdb": 600, "ubdc": 700}
TOKEN = "t" * 43
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJvb3Rib290Ym9vdGJvb3Rib290Ym9vdGJvb3Rib290 ada@example.com"

INIT = r"""#!/bin/sh
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
ip link set lo up
httpd -p 127.0.0.1:80 -h /www
modprobe -a raid1 dm_mod nls_iso8859-1 nls_utf8
install() { # install WORK
    : >/run/heard
    rm -f /run/*.log
    write-os "/given/$1.json" http://127.0.0.1/cgi-bin TTTT
    echo "CODE $1 $?"
    sed "s/^/HEARD $1 /" /run/heard
}
show() { # show WORK COMMAND...
    said=$1
    shift
    "$@" 2>&1 | sed "s/^/SHOWN $said /"
}
look() { # look WORK DEVICE: what is found on it
    mount -t ext4 -o ro "$2" /mnt && {
        show "$1" sed 's/^/grub /' /mnt/boot/grub/grub.cfg
        show "$1" cat /mnt/etc/fstab /mnt/etc/mdadm/mdadm.conf /mnt/etc/hostname /mnt/root/.ssh/authorized_keys
        show "$1" blkid -s UUID -s TYPE -s LABEL "$2"
        show "$1" df -k /mnt
        show "$1" stat -c %a /mnt/etc/hidden
        umount /mnt
    }
}
esp() { # esp WORK DISK
    mount -t vfat -o ro /dev/${2}2 /mnt && show "$1" sed "s/^/$2 /" /mnt/grub/grub.cfg && umount /mnt
}
SCRIPT
echo ENDED
poweroff -f
"""
SCRIPT = r"""
install lvm
lvm vgchange -aay >/dev/null 2>&1
show lvm lvm vgs --noheadings -o vg_name,pv_name,vg_free
look lvm /dev/system/root
esp lvm ubdb
lvm vgchange -an >/dev/null 2>&1

install second
show second lvm vgs --noheadings -o vg_name,pv_name

lvm vgchange -aay >/dev/null 2>&1
mount -t ext4 /dev/system/root /mnt
install mounted
umount /mnt
install raid1
show raid1 lvm vgs --noheadings -o vg_name
mdadm --assemble --run /dev/md7 /dev/ubdc3 >/dev/null 2>&1
show raid1 mdadm --detail /dev/md7
look raid1 /dev/md7
esp raid1 ubdb
esp raid1 ubdc
mdadm --stop /dev/md7 >/dev/null 2>&1
mdadm --assemble --run /dev/md7 /dev/ubdb3 >/dev/null 2>&1
look raid1 /dev/md7

install wrong
dd if=/dev/ubdb bs=1 count=440 2>/dev/null | tr -d '\0' | wc -c | sed 's/^/SHOWN wrong boot code /'

install flat
show flat mdadm --examine /dev/ubdb3
look flat /dev/ubdb3
show flat blkid -s TYPE /dev/ubdb3

install lvm-again
show lvm-again lvm vgs --noheadings -o vg_name,pv_name
lvm vgchange -aay >/dev/null 2>&1

install whole
show whole lvm vgs --noheadings -o vg_name
look whole /dev/ubdc3

install lvm-last
show lvm-last lvm vgs --noheadings -o vg_name,pv_name
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What was shown and heard of each installation."""
    home = tmp_path_factory.mktemp("uml")
    made = home / "sledgehammer"
    made.mkdir()
    build.build(made, kernel="cloud", cache=Path(".cache/packages").absolute())
    packed = home / "some.tar.zst"
    image = tarball.pack(_some_system(home / "tree"), packed, when=1_000_000_000)
    _make_initrd(home, made, {**image, "url": "http://127.0.0.1/some"}, _make_whole(home))
    for name, size in SIZES.items():
        with (home / name).open("wb") as disk:
            disk.truncate(size * MIB)
    disks = [f"{name}={home / name}" for name in SIZES]
    line = ["unshare", "--pid", "--fork", "--kill-child", "linux.uml", "mem=512M", f"initrd={home / 'initrd'}", *disks]
    line += ["rdinit=/test", "con=null", "con0=null,fd:1", f"uml_dir={home}", "umid=u", "quiet"]
    done = subprocess.run(
        line, capture_output=True, timeout=400, check=False, env={**os.environ, "TMPDIR": "/dev/shm"},
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    text = done.stdout.decode(errors="replace").replace("\r", "")
    assert "ENDED" in text, text[-4000:]
    found: dict[str, list[str]] = {}
    for hit in re.finditer(r"^(?:CODE|HEARD|SHOWN) (\S+) ?(.*)$", text, re.MULTILINE):
        found.setdefault(hit[1], []).append(hit[2])
    return found


def _some_system(tree: Path) -> Path:
    """As much of one as is wanted to be given a name and keys, and what starts it."""
    for name in (
        "etc/ssh",
        "etc/mdadm",
        "root",
        "usr/bin",
        "lib64",
        "lib/x86_64-linux-gnu",
        "dev",
        "boot/crowbar",
        "boot/grub",
    ):
        (tree / name).mkdir(parents=True)
    (tree / "etc/mdadm/mdadm.conf").write_text("of the tarball\n")
    (tree / "boot/grub/grub.cfg").write_text("linux /vmlinuz root=UUID=$crowbar_root rw\n")
    (tree / "etc/hidden").touch(mode=0o600)
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    subprocess.run(["mknod", str(tree / "dev/null"), "c", "1", "3"], check=True)
    shutil.copy("/usr/bin/ssh-keygen", tree / "usr/bin")
    waiting = [Path("/usr/bin/ssh-keygen")]
    while waiting:
        for name in needed(waiting.pop()):
            place = tree / (name.lstrip("/") if name.startswith("/") else f"lib/x86_64-linux-gnu/{name}")
            if not place.exists():
                found = Path("/") / place.relative_to(tree)
                shutil.copy(found.resolve(), place)
                waiting.append(found.resolve())
    loaders = tree / tarball.LOADERS
    (loaders / "boot.img").write_bytes(b"B" * 440)
    (loaders / "core.img").write_bytes(b"C" * 100_000)
    with (loaders / "esp.img").open("wb") as esp:
        esp.truncate(8 * MIB)
    subprocess.run(["mkfs.vfat", "-n", "ESP", str(loaders / "esp.img")], check=True, capture_output=True)
    return tree


def _make_whole(home: Path) -> dict[str, Any]:
    """The image of a whole disk, of the same system."""
    images._make_loaders(home, "/boot/grub", images.GRUB_MODULES, images.EARLY)
    disk = home / "whole"
    images._make_disk(disk, home, images._make_root(home / "tree", home))
    return {**images._described(disk), "url": "http://127.0.0.1/whole"}


def _make_initrd(home: Path, made: Path, image: Any, whole: Any) -> None:
    """The discovery image, with the drivers of another kernel, and a boot service of its own."""
    more = home / "more"
    [kernel] = UML.iterdir()
    target = more / "lib/modules" / kernel.name
    target.mkdir(parents=True)
    for one in kernel.rglob("*.ko"):
        if one.stem in MODULES:
            shutil.copy(one, target)
    subprocess.run(["depmod", "-b", str(more), kernel.name], check=True)
    for place in ("given", "www/cgi-bin/v1", "www/cgi-bin/b/TTTT", "etc/lvm"):
        (more / place).mkdir(parents=True)
    shutil.copy(home / "some.tar.zst", more / "www/some")
    shutil.copy(home / "whole", more / "www/whole")
    shutil.copy(made / "tools.img", more / "www/tools.img")
    for name, does in (
        ("v1/steps", "cat >>/run/heard\necho >>/run/heard\n"), ("v1/log", ""),
        ("b/TTTT/tools.img", "cat /www/tools.img\n"),
    ):  # fmt: skip
        given = more / "www/cgi-bin" / name
        given.write_text(f"#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n{does}")
        given.chmod(0o755)
    (more / "etc/lvm/lvmlocal.conf").write_text('devices { types = ["ubd", 16] }\n')
    for name, layout, disks, change in (
        ("lvm", "lvm", ("ubdb",), {}), ("second", "lvm", ("ubdc",), {}), ("mounted", "flat", ("ubdb",), {}),
        ("raid1", "raid1", ("ubdb", "ubdc"), {}), ("wrong", "flat", ("ubdb",), {"sha256": "0" * 64}),
        ("flat", "flat", ("ubdb",), {}), ("lvm-again", "lvm", ("ubdc",), {}), ("whole", "flat", ("ubdc",), whole),
        ("lvm-last", "lvm", ("ubdc",), {}),
    ):  # fmt: skip
        first, *others = ({"name": one, "size": SIZES[one] * MIB, "serial": ""} for one in disks)
        work = {
            "do": "install", "id": name, "hostname": "n1", "fqdn": "n1.example.org", "layout": layout,
            "disk": {**first, "others": others}, "image": {**image, **change},
            "authorized_keys": [KEY],
        }  # fmt: skip
        (more / f"given/{name}.json").write_text(json.dumps(work))
    (more / "test").write_text(INIT.replace("SCRIPT\n", SCRIPT))
    (more / "test").chmod(0o755)
    plain = subprocess.run(["zstd", "-dcq", str(made / "initrd.img")], capture_output=True, check=True).stdout
    (home / "initrd").write_bytes(plain + pack(more, devices=False))


def steps(lines: list[str]) -> list[str]:
    told = "".join(line for line in lines if line.startswith(("{", " ", "}")))
    found = re.findall(r'"step": "([a-z]+)", +"state": "([a-z]+)"(?!, +"percent")', told)
    return [f"{step} {state}" for step, state in found]


STEPS = ("disk", "layout", "image", "check", "identity", "loader")
WHOLE = [*(f"{step} {state}" for step in STEPS for state in ("begun", "done")), "installed done"]


@pytest.mark.parametrize("name", ["lvm", "second", "raid1", "flat", "lvm-again", "lvm-last"])
def test_it_is_installed_in_its_steps_and_vouches_for_a_host_key(said: dict[str, list[str]], name: str) -> None:
    assert (said[name][0], steps(said[name])) == ("0", WHOLE), said[name]
    assert '"host_keys": ["ssh-ed25519 AAAA' in "".join(said[name]) or "ssh-ed25519 AAAA" in "".join(said[name])


def uuid_of(lines: list[str], device: str) -> str:
    [line] = {one for one in lines if one.startswith(f"{device}: ") and "UUID=" in one}
    assert 'TYPE="ext4"' in line
    assert 'LABEL="root"' in line
    return line.partition('UUID="')[2].partition('"')[0]


def check_root(lines: list[str], device: str, *disks: str) -> None:
    uuid = uuid_of(lines, device)
    assert f"UUID={uuid} / ext4 errors=remount-ro 0 1" in lines
    assert {"n1", KEY, "600"} <= set(lines)
    for disk in disks:
        assert f"{disk} search --no-floppy --fs-uuid --set=root {uuid}" in lines
    assert f"grub linux /vmlinuz root=UUID={uuid} rw" in lines


def test_lvm_is_one_group_with_all_of_the_disk(said: dict[str, list[str]]) -> None:
    lines = [" ".join(one.split()) for one in said["lvm"]]
    assert "system /dev/ubdb3 0" in lines
    check_root(said["lvm"], "/dev/system/root", "ubdb")
    assert "of the tarball" in lines


def test_a_group_of_another_disk_keeps_its_name_and_its_disk(said: dict[str, list[str]]) -> None:
    lines = [" ".join(one.split()) for one in said["second"]]
    assert {"system /dev/ubdb3", "system2 /dev/ubdc3"} <= set(lines)


def test_a_system_that_is_mounted_is_not_touched(said: dict[str, list[str]]) -> None:
    assert said["mounted"][0] == "1"
    assert steps(said["mounted"]) == ["disk begun", "disk failed"]
    assert "ubdb is in use: " in "".join(said["mounted"])


def test_raid_is_on_both_disks_and_either_has_all_of_it(said: dict[str, list[str]]) -> None:
    lines = [" ".join(one.split()) for one in said["raid1"]]
    assert "system" not in lines, "groups that were at work on its disks were taken apart and forgotten"
    assert any(one.startswith("Raid Level : raid1") for one in lines)
    [size] = [int(one.split()[3]) for one in lines if one.startswith("Array Size : ")]
    assert 570 * 1024 < size < 590 * 1024, "of two disks that differ, the smaller one counts"
    check_root(said["raid1"], "/dev/md7", "ubdb", "ubdc")
    assert lines.count("600") == 2, "it was read from either"
    [array] = {one for one in lines if one.startswith("ARRAY ")}
    assert re.fullmatch(r"ARRAY /dev/md/root metadata=1.2 name=any:root UUID=[0-9a-f:]{35}", array), array


def test_with_another_checksum_than_was_said_it_fails_and_the_disk_does_not_start(said: dict[str, list[str]]) -> None:
    assert (said["wrong"][0], steps(said["wrong"])[-2:]) == ("1", ["check begun", "check failed"])
    assert f"not {'0' * 64}" in "".join(said["wrong"])
    assert "boot code 0" in said["wrong"]


def test_flat_after_raid_has_nothing_of_it(said: dict[str, list[str]]) -> None:
    assert any("No md superblock detected on /dev/ubdb3" in one for one in said["flat"])
    check_root(said["flat"], "/dev/ubdb3")
    lines = [" ".join(one.split()) for one in said["lvm-again"]]
    assert "system /dev/ubdc3" in lines, "and back"


def test_an_image_of_a_whole_disk_over_lvm_leaves_nothing_of_it_and_the_other_way_round(
    said: dict[str, list[str]],
) -> None:
    whole = [
        f"{step} {state}" for step in ("disk", "image", "check", "grow", "identity") for state in ("begun", "done")
    ]
    assert (said["whole"][0], steps(said["whole"])) == ("0", [*whole, "installed done"])
    lines = [" ".join(one.split()) for one in said["whole"]]
    assert "system" not in lines
    assert uuid_of(said["whole"], "/dev/ubdc3")
    [size] = [int(one.split()[1]) for one in lines if one.startswith("/dev/ubdc3 ")]
    assert size > 600 * 1024, "its root was grown"
    assert "system /dev/ubdc3" in [" ".join(one.split()) for one in said["lvm-last"]]
