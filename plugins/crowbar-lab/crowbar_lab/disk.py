"""What a node finds on its disk: the host's programs and settings, without the host's secrets and data.

A node's root is an overlay of three layers. Lowest is the host's own file system, never written to. Above it, shared by
all nodes, lies the *mask*: it hides what is the host's own business (home directories, databases, keys, everything that
not everybody may read) and holds what all nodes have in common. On top is the node's own layer on the lab's tmpfs, to
which all that the node changes goes; it lives as long as the lab, whether the node is on or off.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crowbar_lab import linux

SHOWN = frozenset({"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "var"})
"""Directories of the host's root that nodes see (through the mask)."""

EMPTY = {"boot": 0o755, "dev": 0o755, "home": 0o755, "media": 0o755, "mnt": 0o755, "opt": 0o755, "proc": 0o555}
EMPTY |= {"root": 0o700, "run": 0o755, "srv": 0o755, "sys": 0o555, "tmp": 0o1777}

SHOWN_STATE = frozenset({"apt", "dpkg", "misc", "pam", "python", "sgml-base", "ucf", "xml-core"})
"""What nodes see of the host's /var/lib: what package tools need, and no daemon's data."""

SKELETON = frozenset({"cache", "log", "spool"})
"""Under /var, directories whose subdirectories packages expect to find: nodes get them, empty."""

HIDDEN_ETC = ("machine-id", "hostname", "hosts", "fstab", "resolv.conf", "crontab", "environment", "crowbar", "cron.d")
NOT_SECRET = frozenset({"/etc/sudoers", "/etc/sudoers.d"})

SSHD_CONFIG = """\
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
StrictModes no
PrintMotd no
PrintLastLog no
PidFile none
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One overlay of a node's root: the host directory below, and the mask's directory over it."""

    host: str
    mask: str


def host_layers(mask: Path) -> tuple[Layer, ...]:
    """One for each file system of the host that nodes see, as an overlay does not see through mount points."""
    found = ["/"]
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        top = point.split("/")[1]
        state = point.removeprefix("/var/lib/").split("/")[0] if point.startswith("/var/lib/") else None
        shown = top in ("usr", "etc") or point in ("/var", "/var/lib") or state in SHOWN_STATE
        if shown and point not in found and os.path.isdir(point) and not set(point) & set(":,\\"):
            found.append(point)
    return tuple(Layer(host=point, mask=str(mask / point.lstrip("/"))) for point in found)


class Mask:
    """Builds the shared layer. Its directories have the host's owner and mode, as those of the top layer rule."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def at(self, path: str) -> Path:
        return self.directory / path.lstrip("/")

    def directory_like_host(self, path: str, *, mode: int = 0o755) -> Path:
        """The directory in the mask, with its parents, each with the mode and owner it has on the host."""
        target = self.at(path)
        if target.exists():
            return target
        if target != self.directory:
            self.directory_like_host(os.path.dirname(path) or "/")
        try:
            info = os.stat(path)
            mode, uid, gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
        except FileNotFoundError:
            uid = gid = 0
        target.mkdir(exist_ok=True)
        os.chown(target, uid, gid)
        target.chmod(mode)
        return target

    def empty(self, path: str, *, mode: int = 0o755) -> None:
        """Show an empty directory, whatever the host has there."""
        os.setxattr(self.directory_like_host(path, mode=mode), "trusted.overlay.opaque", b"y")

    def hide(self, path: str) -> None:
        """Show an empty directory for a directory, and nothing for anything else."""
        if os.path.isdir(path) and not os.path.islink(path):
            self.empty(path)
        elif os.path.lexists(path) and not os.path.lexists(self.at(path)):
            self.directory_like_host(os.path.dirname(path))
            os.mknod(self.at(path), stat.S_IFCHR | 0o600, os.makedev(0, 0))

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        self.directory_like_host(os.path.dirname(path))
        target = self.at(path)
        target.unlink(missing_ok=True)
        target.write_text(text)
        target.chmod(mode)


def build_mask(
    directory: Path, *, authorized_keys: Sequence[str], hide: Iterable[str], secret: Iterable[str] | None = None
) -> None:
    """Lay the shared layer into ``directory``. ``hide`` names more of the host's paths that no node may see; ``secret``
    is what ``secrets_of_etc`` says, where it is known already.
    """
    mask = Mask(directory)
    mask.directory_like_host("/")
    for entry in os.scandir("/"):
        if entry.name not in SHOWN and entry.name not in EMPTY:
            if entry.is_dir(follow_symlinks=False):
                # Even the name would tell of the host.
                os.mknod(mask.at(entry.path), stat.S_IFCHR | 0o600, os.makedev(0, 0))
            else:
                mask.hide(entry.path)
    for name, mode in EMPTY.items():
        mask.empty(f"/{name}", mode=mode)
        mask.at(name).chmod(mode)
    os.chown(mask.at("root"), 0, 0)
    _mask_var(mask)
    _mask_etc(mask, secrets_of_etc() if secret is None else secret)
    for path in hide:
        if Path(path).parts[1:2] and Path(path).parts[1] in SHOWN:
            mask.hide(path)
    mask.write("/root/.ssh/authorized_keys", "".join(f"{key}\n" for key in authorized_keys), mode=0o600)
    mask.at("root/.ssh").chmod(0o700)
    # A layer over a mount point of the host needs its directory in the mask, be it empty.
    for layer in host_layers(directory):
        mask.directory_like_host(layer.host)


def _mask_var(mask: Mask) -> None:
    for entry in os.scandir("/var"):
        if entry.is_symlink() or entry.name == "lib":
            continue
        mask.hide(entry.path)
        if entry.name in SKELETON and entry.is_dir():
            for parent, directories, _ in os.walk(entry.path):
                # Three levels are what package tools ask for (cache/apt/archives/partial).
                if parent.count("/") >= 5:
                    directories.clear()
                for name in directories:
                    if not os.path.islink(f"{parent}/{name}"):
                        mask.directory_like_host(f"{parent}/{name}")
    for name in ("lastlog", "wtmp", "btmp"):
        mask.write(f"/var/log/{name}", "", mode=0o660)
    for entry in os.scandir("/var/lib"):
        if entry.name in SHOWN_STATE or entry.is_symlink():
            continue
        if entry.is_dir() or not entry.stat().st_mode & stat.S_IROTH:
            mask.hide(entry.path)


def secrets_of_etc() -> list[str]:
    """What not everybody may read; of a directory, its path alone."""
    found = []
    for parent, directories, files in os.walk("/etc"):
        for name in [*directories, *files]:
            path = f"{parent}/{name}"
            mode = os.lstat(path).st_mode
            needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
            if stat.S_ISLNK(mode) or mode & needed == needed or path in NOT_SECRET:
                continue
            found.append(path)
            if name in directories:
                directories.remove(name)
    return found


def _mask_etc(mask: Mask, secret: Iterable[str]) -> None:
    for path in secret:
        mask.hide(path)
    for name in HIDDEN_ETC:
        mask.hide(f"/etc/{name}")
    mask.empty("/etc/ssh")
    mask.write("/etc/ssh/sshd_config", SSHD_CONFIG)
    mask.write("/etc/resolv.conf", "# A lab has no name server until Crowbar brings one.\n")
    mask.write("/etc/fstab", "")
    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    accounts = [line for line in Path("/etc/passwd").read_text().splitlines() if line and not line.startswith("root:")]
    mask.write("/etc/passwd", "\n".join([f"root:x:0:0:root:/root:{shell}", *accounts]) + "\n")
    names = ["root", *(line.partition(":")[0] for line in accounts)]
    mask.write("/etc/shadow", "".join(f"{name}:*:19000:0:99999:7:::\n" for name in names), mode=0o600)


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Where one node's own layers are, in the lab's tmpfs."""

    directory: Path
    layers: tuple[Layer, ...]

    @property
    def root(self) -> Path:
        return self.directory / "root"

    def _own(self, number: int) -> Path:
        return self.directory / f"changes-{number}"

    def format(self, files: Mapping[str, tuple[int, str]]) -> None:
        """Make the layers, with ``files`` (path: mode and content) on them. Not to be called twice."""
        self.root.mkdir(parents=True)
        for number in range(len(self.layers)):
            for part in ("upper", "work"):
                (self._own(number) / part).mkdir(parents=True)
        number = max(index for index, layer in enumerate(self.layers) if layer.host in ("/", "/etc"))
        prefix = self.layers[number].host
        for path, (mode, content) in files.items():
            target = self._own(number) / "upper" / path.removeprefix(prefix).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            target.write_text(content)
            target.chmod(mode)

    def mount(self) -> None:
        """Mount all layers on ``root``; for the node's own mount namespace."""
        for number, layer in enumerate(self.layers):
            upper, work = self._own(number) / "upper", self._own(number) / "work"
            data = f"lowerdir={layer.mask}:{layer.host},upperdir={upper},workdir={work}"
            linux.mount("overlay", f"{self.root}{layer.host}".rstrip("/"), "overlay", 0, data)


def node_files(*, name: str, ipv4: str, ipv6: str, host_key: str, public_key: str) -> dict[str, tuple[int, str]]:
    """The files that tell one node from another, all of them under /etc."""
    short = name.partition(".")[0]
    hosts = [
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost ip6-loopback",
        f"{ipv4} {name} {short}",
        f"{ipv6} {name} {short}",
    ]
    return {
        "/etc/hostname": (0o644, f"{short}\n"),
        "/etc/hosts": (0o644, "".join(f"{line}\n" for line in hosts)),
        "/etc/machine-id": (0o444, f"{os.urandom(16).hex()}\n"),
        "/etc/ssh/ssh_host_ed25519_key": (0o600, host_key),
        "/etc/ssh/ssh_host_ed25519_key.pub": (0o644, f"{public_key} root@{short}\n"),
    }
