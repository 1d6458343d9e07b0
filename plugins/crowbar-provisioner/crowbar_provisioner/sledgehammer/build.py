"""Makes the discovery image: ``vmlinuz`` and ``initrd.img``, and ``SHA256SUMS`` beside them; and ``tools.img``,
which it fetches when disks are to have LVM or RAID.

The initial RAM disk is the whole system: busybox, an SSH server, a DHCP client and what an installation takes, with
their libraries and the drivers of one kernel. All of it comes from Debian's packages but the scripts in ``root``.
The kernel "cloud" knows virtual machines; "full" has the drivers of real ones, takes longer to fetch and is larger.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from crowbar_provisioner.scripts import TOOLS as TOOLS_FILE
from crowbar_provisioner.sledgehammer.archive import pack
from crowbar_provisioner.sledgehammer.elf import needed
from crowbar_provisioner.sledgehammer.packages import BuildError, fetch, making, put, real_kernel, run, unpack

KERNELS = ("cloud", "full")
PACKAGES = (
    "busybox",
    "coreutils",
    "dhcpcd-base",
    "dropbear-bin",
    "e2fsprogs",
    "fdisk",
    "jq",
    "kexec-tools",
    "dmsetup",
    "lvm2",
    "mdadm",
    "memtester",
    "util-linux",
    "xxhash",
    "zstd",
)
MORE = {
    "cloud": (),
    "full": (
        "ipmitool",
        "firmware-linux-free",
        "hdparm",
        "lldpd",
        "lshw",
        "nvme-cli",
        "smartmontools",
        "stress-ng",
    ),
}
PROGRAMS = (
    "bin/dd",
    "bin/lsblk",
    "bin/tar",
    "sbin/blkdiscard",
    "sbin/blkid",
    "sbin/blockdev",
    "sbin/e2fsck",
    "sbin/kexec",
    "sbin/mke2fs",
    "sbin/resize2fs",
    "sbin/sfdisk",
    "usr/bin/b2sum",
    "usr/bin/dropbearkey",
    "usr/bin/jq",
    "usr/bin/sha256sum",
    "usr/bin/xxhsum",
    "usr/bin/zstd",
    "usr/sbin/dhcpcd",
    "usr/sbin/dropbear",
    "usr/sbin/memtester",
)
OF_SOME = (
    "sbin/hdparm",
    "usr/bin/ipmitool",
    "usr/bin/lshw",
    "usr/bin/stress-ng",
    "usr/sbin/lldpcli",
    "usr/sbin/lldpd",
    "usr/sbin/nvme",
    "usr/sbin/smartctl",
)
"""Programs that the packages of some kernels bring."""
TOOLS = ("sbin/dmsetup", "sbin/lvm", "sbin/mdadm")
"""Programs that are wanted for some layouts of disks alone: they come then, in an archive of their own."""
LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib")
MODULES = (
    *("virtio_net", "virtio_blk", "virtio_scsi", "virtio_pci", "virtio_rng", "nvme", "sd_mod", "button", "evdev"),
    *("ext4", "vfat", "nls_cp437", "nls_ascii", "efivarfs", "af_packet", "ipv6", "8021q", "bonding", "raid1", "dm_mod"),
)
WHOLE = (
    *("kernel/drivers/net/ethernet", "kernel/drivers/net/phy", "kernel/drivers/ata", "kernel/drivers/scsi"),
    *("kernel/drivers/nvme", "kernel/drivers/message", "kernel/drivers/block", "kernel/drivers/char/ipmi"),
    *(
        "kernel/drivers/usb/host",
        "kernel/drivers/usb/storage",
        "kernel/drivers/hid",
        "kernel/drivers/md",
        "kernel/drivers/edac",
    ),
)
"""Of the kernel "full": all drivers of these kinds."""
ETC = {
    # What lldpd hears from the wire it reads as a user of its own.
    "etc/passwd": "root:*:0:0:root:/root:/bin/sh\n_lldpd:*:100:100::/run/lldpd:/bin/false\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    # Without a user of its own dhcpcd runs without its helpers, one of which does not survive in a RAM disk.
    "etc/group": "root:x:0:\n_lldpd:x:100:\n",
    "etc/shells": "/bin/sh\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\nhosts: files dns\n",
    "etc/resolv.conf": "",
    "etc/hostname": "sledgehammer\n",
}
LVM = """# Nobody but this system's own shell makes devices here: there is no udev.
devices { obtain_device_list_from_udev=0 external_device_info_source="none" use_devicesfile=0 }
activation { udev_sync=0 udev_rules=0 monitoring=0 }
backup { backup=0 archive=0 }
global { use_lvmpolld=0 }
"""
MODES = {"root": 0o700, "etc/shadow": 0o600, "tmp": 0o1777}


@dataclass(frozen=True, kw_only=True)
class Image:
    """What was made: its files with their SHA-256, and the version of its kernel."""

    place: Path
    kernel: str
    sums: Mapping[str, str]


def build(place: Path, *, kernel: str, cache: Path) -> Image:
    """Make the image in the directory ``place``, whose files are replaced when all of the new ones are there.

    ``cache`` keeps packages. ``BuildError`` says what is missing.
    """
    with making(place):
        return _made(place, kernel, cache)


def _made(place: Path, kernel: str, cache: Path) -> Image:
    packages = fetch([*PACKAGES, *MORE[kernel]], cache, alone=[real_kernel(kernel)])
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="crowbar-sledgehammer-") as directory:
        tree, root = Path(directory) / "tree", Path(directory) / "root"
        unpack(packages, tree)
        [version] = [found.name for found in (tree / "lib/modules").iterdir()]
        _make_root(tree, root)
        _add_modules(tree, root, version, whole=kernel == "full")
        made = {
            "vmlinuz": (tree / "boot" / f"vmlinuz-{version}").read_bytes(),
            "initrd.img": _packed(root),
        }
        more = Path(directory) / "tools"
        _make_tools(tree, root, more)
        made[TOOLS_FILE] = _packed(more, devices=False)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in made.items()}
    made["SHA256SUMS"] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
    put(place, made)
    return Image(place=place, kernel=version, sums=sums)


def _packed(root: Path, *, devices: bool = True) -> bytes:
    return run(["zstd", "-q", "-T1", "-15"], given=pack(root, MODES, devices=devices))


def _make_tools(tree: Path, root: Path, more: Path) -> None:
    """What is not in ``root`` already."""
    (more / "bin").mkdir(parents=True)
    programs = [more / "bin" / Path(one).name for one in TOOLS]
    for name, program in zip(TOOLS, programs, strict=True):
        shutil.copy(tree / name, program)
    (more / "etc/lvm").mkdir(parents=True)
    (more / "etc/lvm/lvm.conf").write_text(LVM)
    _add_libraries(tree, more, programs, there=root)


def _make_root(tree: Path, root: Path) -> None:
    for name in ("bin", "dev", "etc", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr/lib", "var/lib/dhcpcd"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin"):
        (root / "usr" / name).symlink_to(f"../{name}")
    (root / "var/run").symlink_to("../run")
    shutil.copy(tree / "bin/busybox", root / "bin/busybox")
    for applet in run([str(tree / "bin/busybox"), "--list"]).decode().split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    wanted = [*PROGRAMS, *(one for one in OF_SOME if (tree / one).exists())]
    for program in wanted:
        target = root / "bin" / Path(program).name
        target.unlink(missing_ok=True)
        shutil.copy(tree / program, target)
    (root / "bin/mkfs.ext4").symlink_to("mke2fs")
    (root / "sbin/modprobe").symlink_to("../bin/modprobe")  # where the kernel looks for it
    shutil.copy(tree / "etc/mke2fs.conf", root / "etc")
    _add_libraries(tree, root, [root / "bin/busybox", *(root / "bin" / Path(one).name for one in wanted)])
    if (firmware := tree / "lib/firmware").is_dir():
        shutil.copytree(firmware, root / "lib/firmware", symlinks=True)
    with resources.as_file(resources.files(__package__) / "root") as scripts:
        shutil.copytree(scripts, root, dirs_exist_ok=True, symlinks=True)
    for script in (root / "init", *(root / "sbin").iterdir(), *root.glob("etc/acpi/*/*"), root / HOOKS):
        script.chmod(0o755)  # a wheel does not say so of files that are no programs of its own
    for name, text in ETC.items():
        (root / name).write_text(text)


HOOKS = "usr/lib/dhcpcd/dhcpcd-run-hooks"


def _add_libraries(tree: Path, root: Path, programs: Iterable[Path], *, there: Path | None = None) -> None:
    """Those that are ``there`` are not added."""
    waiting, seen = [name for program in programs for name in needed(program)], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        found = _library(tree, name)
        place = name.lstrip("/") if name.startswith("/") else f"lib/x86_64-linux-gnu/{name}"
        if there is not None and (there / place).exists():
            continue
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found, target)
        waiting += needed(found)


def _library(tree: Path, name: str) -> Path:
    places = [tree / name.lstrip("/")] if name.startswith("/") else [tree / place / name for place in LIBRARIES]
    for place in places:
        if place.is_symlink() and place.readlink().is_absolute():
            place = tree / str(place.readlink()).lstrip("/")
        if place.exists():
            return place.resolve()
    raise BuildError(f"No package brings the library {name}, which a program of the image takes.")


def _add_modules(tree: Path, root: Path, version: str, *, whole: bool) -> None:
    """Modules with all that they need. depmod writes its tables for these alone."""
    source = tree / "lib/modules" / version
    if not (source / "modules.dep").exists():
        run(["depmod", "-b", str(tree), version])
    needs = {}
    for line in (source / "modules.dep").read_text().splitlines():
        module, _, others = line.partition(":")
        needs[module] = others.split()
    by_name = {os.path.basename(one).partition(".ko")[0].replace("-", "_"): one for one in needs}
    waiting = [by_name[name] for name in MODULES if name in by_name]  # others are part of this kernel
    if whole:
        waiting += [one for one in needs if one.startswith(WHOLE)]
    chosen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module not in chosen:
            chosen.add(module)
            waiting += needs[module]
    target = root / "lib/modules" / version
    for module in chosen:
        (target / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / module, target / module)
    for table in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (source / table).exists():
            shutil.copy(source / table, target / table)
    run(["depmod", "-b", str(root), version])
    for binary in target.glob("modules.*.bin"):
        binary.unlink()  # of no use to busybox
