"""An initial RAM disk as a file: an archive in the format newc, whose bytes depend on nothing but what is in it."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

DEVICES = {"dev/console": (0o600, 5, 1), "dev/null": (0o666, 1, 3)}
"""What must be there before the kernel mounts anything: mode, major and minor number."""


def pack(root: Path, modes: Mapping[str, int] | None = None, *, devices: bool = True) -> bytes:
    """All below ``root``, in order of names, as root's and without times. ``modes`` are those of some files; others are
    0755 if somebody may run them, and 0644 if not. ``devices``: with ``DEVICES``.
    """
    entries: dict[str, bytes] = {}
    number = 0
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        found = path.lstat()
        number += 1
        if stat.S_ISLNK(found.st_mode):
            mode, content = stat.S_IFLNK | 0o777, str(path.readlink()).encode()
        elif stat.S_ISDIR(found.st_mode):
            mode, content = stat.S_IFDIR | (modes or {}).get(name, 0o755), b""
        else:
            usual = 0o755 if found.st_mode & 0o111 else 0o644
            mode, content = stat.S_IFREG | (modes or {}).get(name, usual), path.read_bytes()
        entries[name] = _entry(number, name, mode, content)
    for name, (permissions, major, minor) in DEVICES.items() if devices else ():
        number += 1
        entries[name] = _entry(number, name, stat.S_IFCHR | permissions, b"", device=(major, minor))
    return b"".join(entries[name] for name in sorted(entries)) + _entry(0, "TRAILER!!!", 0, b"")


def _entry(number: int, name: str, mode: int, content: bytes, *, device: tuple[int, int] = (0, 0)) -> bytes:
    named = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, *device, len(named), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + named
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
