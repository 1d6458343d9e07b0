"""Makes an image of Debian 12: a whole disk with GPT, both boot loaders and one root file system, of packages; and
beside it the tarball, for layouts that are made on the machine.

No loop device and no mount of the disk is needed: mmdebstrap makes the tree, mke2fs the file system of it, mtools the
EFI partition, grub-mkimage the boot loaders, and their places on the disk are written here. On the node the last
partition, the root's, is grown; nothing else of the disk depends on the machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crowbar_provisioner.images import pieces, tarball
from crowbar_provisioner.sledgehammer.packages import BuildError, making, put, run

PREFIX = "crowbar-image-"
"""Of the directory in which one is made, beside where it will lie."""
OS, SUITE, TITLE = "debian-12", "bookworm", "Debian 12"
KERNELS = {"cloud": "linux-image-cloud-amd64", "full": "linux-image-amd64"}
FORMATS = {"cloud": "raw", "full": "raw.zst"}
"""What is quickest for the machines of each kernel: to unpack it is dear in a virtual machine, a wire is short for real
ones."""
PACKAGES = (
    "systemd-sysv", "udev", "openssh-server", "iproute2", "iputils-ping", "initramfs-tools",
    "zstd", "e2fsprogs", "netbase", "kmod", "ca-certificates",
)  # fmt: skip
TOOLS = {
    "mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "sfdisk": "fdisk", "mkfs.vfat": "dosfstools", "mcopy": "mtools",
    "grub-mkimage": "grub-common", "xxhsum": "xxhash", "zstd": "zstd",
}  # fmt: skip
LOADERS = {"i386-pc": "grub-pc-bin", "x86_64-efi": "grub-efi-amd64-bin"}
SECTOR, MIB = 512, 1 << 20
TABLE = 0x1B8
"""Where in its first sector the disk's signature begins, and its table."""
ESP_MIB, SPARE_MIB = 8, 24
GRUB = Path("/usr/lib/grub")
GRUB_MODULES = (
    "part_gpt", "ext2", "fat", "normal", "configfile", "linux", "search", "search_label", "echo", "serial", "terminal",
)  # fmt: skip
EARLY = "search --no-floppy --label root --set=root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
MENU = """set timeout=0
serial --unit=0 --speed=115200
terminal_output console serial
menuentry "{title}" {{
    search --no-floppy --label root --set=root
    linux /boot/vmlinuz-{kernel} root=LABEL=root rw console=tty0 console=ttyS0,115200 quiet
    initrd /boot/initrd.img-{kernel}
}}
"""
NETWORK = """[Match]
Name=en* eth*

[Network]
DHCP=yes

[DHCPv4]
ClientIdentifier=mac

[DHCPv6]
DUIDType=link-layer
"""
FILES = {
    "etc/systemd/network/10-all.network": NETWORK,
    "etc/fstab": "LABEL=root / ext4 errors=remount-ro 0 1\n",
    "etc/ssh/sshd_config.d/10-crowbar.conf": "PermitRootLogin prohibit-password\nUseDNS no\n",
    "etc/machine-id": "",
    "etc/hostname": "debian\n",
}
EARLY_DRIVERS = {
    "cloud": ("virtio_pci", "virtio_blk", "virtio_scsi", "virtio_net", "nvme", "sd_mod", "xen_blkfront", "hv_storvsc"),
    "full": (),
}
"""What the initial RAM disk has of drivers; none named: all that disks may need."""
DRIVERS = """#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules {drivers}
"""
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer",  # they hold dpkg's lock when a role wants it
    "e2scrub_all.timer", "e2scrub_reap.service", "systemd-pstore.service", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "getty-static.service",  # five more consoles than the first and the serial one
    "systemd-journald-audit.socket",  # else the kernel audits each service that starts; auditd asks for it
    "systemd-repart.service", "sys-fs-fuse-connections.mount",  # drivers are loaded for them at each start
)  # fmt: skip
UNUSED = ("gpt-auto", "hibernate-resume", "integritysetup", "veritysetup")
"""Generators of systemd's that are run at each start, and find nothing to do: what is mounted stands in fstab."""
DISK = """label: gpt
start={bios}, size={mib}, type=21686148-6449-6E6F-744E-656564454649, name=bios
start={esp}, size={esp_size}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp
start={root}, size={root_size}, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=root
"""
ROOT_PARTITION = 3
WHEN = 1686355200
"""The day on which that release came: files of the tarball are not younger, whenever it is made."""
ENVIRONMENT = {"SOURCE_DATE_EPOCH": str(WHEN)}


def build(place: Path, *, kernel: str, format: str = "") -> Path:
    """Make ``debian-12.raw`` or ``debian-12.raw.zst``, ``debian-12.tar.zst`` and, last, ``debian-12.json`` in the
    directory ``place``. ``kernel`` is one of ``KERNELS``: cloud knows virtual machines alone; its ``format`` is that of
    ``FORMATS``, if none is said. Takes root, some 75 CPU seconds and 2 GiB in ``place``
    meanwhile. ``BuildError`` says what is missing.
    """
    check_tools()
    with making(place):
        return _built(place, kernel, format or FORMATS[kernel])


def _built(place: Path, kernel: str, format: str) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as directory:
        work = Path(directory)
        tree = work / "tree"
        version = _make_tree(tree, kernel)
        root_mib = _make_root(tree, work)
        _make_loaders(work, "/boot/grub", GRUB_MODULES, EARLY)
        disk = work / "disk.raw"
        _make_disk(disk, work, root_mib)
        packed = work / f"{OS}.tar.zst"
        said = {**_described(disk), "tarball": {"os": OS, **_make_tarball(tree, work, version, packed)}}
        if format != "raw":
            said |= pieces.make(disk, disk := work / f"{OS}.{format}")
        made = place / f"{OS}.{format}"
        disk.rename(made)
        packed.rename(place / packed.name)
    put(place, {f"{OS}.json": (json.dumps(said, indent=1) + "\n").encode()})
    for other in {*FORMATS.values()} - {format}:
        (place / f"{OS}.{other}").unlink(missing_ok=True)
    return made


def check_tools() -> None:
    """Before the minutes that all of it takes."""
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    missing |= {package for kind, package in LOADERS.items() if not (GRUB / kind).is_dir()}
    if missing:
        raise BuildError(f"Programs that make an image are missing: apt-get install {' '.join(sorted(missing))}.")


def sources() -> list[str]:
    """Where this host has its packages from: the image has them from there, too."""
    there = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.sources"))]
    found = [str(one) for one in there if one.is_file() and SUITE in one.read_text(errors="replace")]
    if not found:
        raise BuildError(f"No file of apt's sources here names {SUITE}: images are built on a Debian of that release.")
    return found


def _make_tree(tree: Path, kernel: str) -> str:
    """Returns the version of its kernel."""
    packages = (KERNELS[kernel], *PACKAGES)
    run([
        "mmdebstrap", "--mode=root", "--quiet", "--variant=minbase", f"--include={','.join(packages)}",
        "--aptopt=APT::Install-Recommends \"false\"", "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
        SUITE, str(tree), *sources(),
    ], more=ENVIRONMENT)  # fmt: skip
    for name, text in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    for unit in MASKED:
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (tree / "etc/systemd/system-generators").mkdir()
    for name in UNUSED:
        (tree / f"etc/systemd/system-generators/systemd-{name}-generator").symlink_to("/dev/null")
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    when = (tree / "usr").stat().st_mtime_ns
    for place in ("etc", "var"):  # users and the like are as its packages want them: no start need see to that
        (tree / place / ".updated").touch()
        os.utime(tree / place / ".updated", ns=(when, when))
    (tree / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    wants = tree / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
    version = _version(tree)
    _make_initrd(tree, version, EARLY_DRIVERS[kernel])
    (tree / "boot/grub").mkdir(exist_ok=True)
    (tree / "boot/grub/grub.cfg").write_text(MENU.format(title=TITLE, kernel=version))
    return version


def _make_initrd(tree: Path, version: str, drivers: Sequence[str]) -> None:
    """Once more, with these drivers: what a machine does not need costs time at each start."""
    which = "list" if drivers else "most"
    directory = tree / "etc/initramfs-tools"
    (directory / "conf.d/crowbar").write_text(f"MODULES={which}\nCOMPRESS=zstd\nFSTYPE=ext4\n")
    if drivers:  # there, and loaded where their hardware is
        hook = directory / "hooks/crowbar"
        hook.write_text(DRIVERS.format(drivers=" ".join(drivers)))
        hook.chmod(0o755)
    run(["chroot", str(tree), "update-initramfs", "-u", "-k", version], more=ENVIRONMENT)


def _version(tree: Path) -> str:
    found = sorted((tree / "boot").glob("vmlinuz-*"))
    if not found:
        raise BuildError("The packages brought no kernel.")
    return found[-1].name.removeprefix("vmlinuz-")


def _make_root(tree: Path, work: Path) -> int:
    """The file system of the tree; returns its size in MiB."""
    used = int(run(["du", "-sm", str(tree)]).split()[0])
    size = used * 105 // 100 + SPARE_MIB
    file = work / "root.ext4"
    with file.open("wb") as made:
        made.truncate(size * MIB)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-T", "default", "-L", "root", "-b", "4096", "-m", "1",
         "-O", "^metadata_csum_seed", "-d", str(tree), str(file)])  # fmt: skip
    return size


def _make_loaders(work: Path, prefix: str, modules: Sequence[str], early: str = "") -> None:
    """One core image for each firmware, which does what ``early`` says, or else what stands at ``prefix``; and the EFI
    partition.
    """
    (work / "early.cfg").write_text(early)
    first = ("-c", str(work / "early.cfg")) if early else ()
    for kind, name, more in (
        ("i386-pc", "core.img", ("biosdisk",)), ("x86_64-efi", "bootx64.efi", ("efi_gop",)),
    ):  # fmt: skip
        run(["grub-mkimage", "-O", kind, "-p", prefix, *first, "-o", str(work / name), *more, *modules])  # fmt: skip
    esp = work / "esp"
    with esp.open("wb") as made:
        made.truncate(ESP_MIB * MIB)
    run(["mkfs.vfat", "--invariant", "-n", "ESP", str(esp)])
    run(["mmd", "-i", str(esp), "::EFI", "::EFI/BOOT"], more=ENVIRONMENT)
    run(["mcopy", "-i", str(esp), str(work / "bootx64.efi"), "::EFI/BOOT/BOOTX64.EFI"], more=ENVIRONMENT)


def _boot_sectors(work: Path) -> tuple[bytes, bytes]:
    """What the firmware loads from the first sector of a disk, and from its second MiB on."""
    boot = bytearray((GRUB / "i386-pc/boot.img").read_bytes()[:SECTOR])
    core = bytearray((work / "core.img").read_bytes())
    if len(core) > MIB:
        raise BuildError(f"GRUB's core image has {len(core)} bytes, and its partition {MIB}.")
    struct.pack_into("<Q", boot, 0x5C, MIB // SECTOR)  # where the core image begins
    boot[0x66:0x68] = b"\x90\x90"  # the firmware's drive number is trusted, as on any hard disk
    struct.pack_into("<Q", core, 0x1F4, MIB // SECTOR + 1)  # where its second sector is
    return bytes(boot[:TABLE]), bytes(core)


def _make_tarball(tree: Path, work: Path, version: str, packed: Path) -> Mapping[str, Any]:
    tarball.add_packages(tree, work, version, title=TITLE, environment=ENVIRONMENT)
    _make_loaders(work, tarball.PREFIX, (*GRUB_MODULES, *tarball.GRUB_MORE))
    boot, core = _boot_sectors(work)
    place = tree / tarball.LOADERS
    place.mkdir()
    (place / "boot.img").write_bytes(boot)
    (place / "core.img").write_bytes(core)
    shutil.copy(work / "esp", place / "esp.img")
    return tarball.pack(tree, packed, when=WHEN)


def _make_disk(disk: Path, work: Path, root_mib: int) -> None:
    mib = MIB // SECTOR
    with disk.open("wb") as made:
        made.truncate((2 + ESP_MIB + root_mib + 1) * MIB)
    layout = DISK.format(
        bios=mib, mib=mib, esp=2 * mib, esp_size=ESP_MIB * mib, root=(2 + ESP_MIB) * mib, root_size=root_mib * mib
    )
    run(["sfdisk", "-q", str(disk)], given=layout.encode())
    boot, core = _boot_sectors(work)
    with disk.open("r+b") as made:
        made.seek(0)
        made.write(boot)
        made.seek(MIB)
        made.write(core)
        for part, at in ((work / "esp", 2 * MIB), (work / "root.ext4", (2 + ESP_MIB) * MIB)):
            _copy(part, made, at)


def _copy(source: Path, disk: Any, at: int) -> None:
    """Without writing blocks of zeros: the file stays sparse."""
    disk.seek(at)
    with source.open("rb") as read:
        while block := read.read(MIB):
            if block.strip(b"\0"):
                disk.write(block)
            else:
                disk.seek(len(block), 1)


def _described(disk: Path) -> Mapping[str, Any]:
    with disk.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        content = hashlib.file_digest(file, "blake2b").hexdigest()
    quick = run(["xxhsum", "-H1", str(disk)]).split()[0].decode()
    size = disk.stat().st_size
    return {
        "os": OS, "file": f"{OS}.raw", "format": "raw", "sha256": checksum, "blake2b": content, "xxh64": quick,
        "size": size, "disk_size": size, "root_partition": ROOT_PARTITION, "root_fs": "ext4",
    }  # fmt: skip
