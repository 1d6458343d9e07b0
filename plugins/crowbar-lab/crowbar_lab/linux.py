"""The system calls that Python 3.11 does not offer: namespaces, mounts, host name; its errors name the call."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 0x2

PR_SET_NO_NEW_PRIVS = 38
SIOCETHTOOL = 0x8946
ETHTOOL_STSO = 0x1F

NAMESPACES = {
    CLONE_NEWNS: "mount",
    CLONE_NEWNET: "network",
    CLONE_NEWIPC: "ipc",
    CLONE_NEWUTS: "uts",
    CLONE_NEWPID: "pid",
    CLONE_NEWUSER: "user",
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.pivot_root.argtypes = (ctypes.c_char_p, ctypes.c_char_p)


def _check(result: int, call: str, subject: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call} {subject}: {os.strerror(number)}")


def _bytes(text: str | Path | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def unshare(flags: int) -> None:
    """Move this process (its children, for pid) into new namespaces."""
    _check(_libc.unshare(flags), "unshare", " ".join(name for flag, name in NAMESPACES.items() if flags & flag))


def setns(fd: int, flag: int) -> None:
    """Move this process (its children, for pid) into the namespace that ``fd`` is an open file of."""
    _check(_libc.setns(fd, flag), "setns", NAMESPACES[flag])


def mount(
    source: str | Path | None, target: str | Path, kind: str | None = None, flags: int = 0, data: str = ""
) -> None:
    done = _libc.mount(_bytes(source), _bytes(target), _bytes(kind), flags, _bytes(data) if data else None)
    _check(done, "mount", f"{kind or source or 'again'} on {target}")


def bind(source: str | Path, target: str | Path, *, read_only: bool = False) -> None:
    mount(source, target, None, MS_BIND)
    if read_only:
        mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def make_read_only(target: Path) -> None:
    """The mount at ``target`` and all below it, each with the other restrictions that it has."""
    kept = {"nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        point = Path(fields[4].encode().decode("unicode_escape"))
        if point.is_relative_to(target):
            flags = sum(flag for name, flag in kept.items() if name in fields[5].split(","))
            mount(None, point, None, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def end_segmentation(card: str) -> None:
    """Have this network namespace's card send frames no larger than its MTU, as a wire has them, and never one that
    stands for several (TSO)."""
    value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_STSO, 0))
    request = struct.pack("16sP8x", card.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)


def drop_rights(user: int) -> None:
    """Become this user and group, with no other group, no capability and no way to any."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl", "no_new_privs")


def unmount(target: str | Path, flags: int = 0) -> None:
    _check(_libc.umount2(_bytes(target), flags), "umount", str(target))


def enter_root(root: Path) -> None:
    """Make ``root``, a mount point, the root of this mount namespace and let go of the old one."""
    os.chdir(root)
    _check(_libc.pivot_root(b".", b"."), "pivot_root", str(root))
    unmount(".", MNT_DETACH)
    os.chdir("/")


def set_hostname(name: str) -> None:
    encoded = name.encode()
    _check(_libc.sethostname(encoded, len(encoded)), "sethostname", name)


def started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot, to tell it from a later one with its pid; None if gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])
