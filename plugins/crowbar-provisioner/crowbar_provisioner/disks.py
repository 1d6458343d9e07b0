"""Which disk an operating system is written to: pure. Never one that is removable, or in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crowbar_core import Refused

GIB = 1 << 30
_NAMED_BY = ("name", "serial", "wwn", "by_path")


def choose(disks: Sequence[Mapping[str, Any]], *, wanted: str = "", at_least: int = 0) -> Mapping[str, Any]:
    """The wanted one, by its name, serial number, WWN or path; else the first that is suitable, in the order in which
    the machine has them. Raises ``Refused``, which says of each disk what is against it.
    """
    named = [one for one in disks if wanted and wanted in [one.get(name) for name in _NAMED_BY]]
    if wanted and len(named) != 1:
        how = "is no disk" if not named else f"are {len(named)} disks"
        raise Refused(f"There {how} called {wanted}; there are: {told(disks, at_least)}.")
    among = named or disks
    for one in among:
        if not against(one, at_least):
            return {name: one.get(name) or "" for name in _NAMED_BY} | {
                "size": one["size"],
                "model": one.get("model") or "",
            }
    raise Refused(f"No disk is suitable: {told(among, at_least)}." if among else "The machine has reported no disk.")


def against(disk: Mapping[str, Any], at_least: int) -> str:
    """Why the disk is not to be written to; ''."""
    if disk.get("removable") or disk.get("transport") == "usb":
        return "removable"
    if disk.get("holders"):
        return "in use"
    if disk.get("read_only"):
        return "read-only"
    size = int(disk.get("size") or 0)
    if size < max(at_least, 1):
        return f"too small ({size / GIB:.1f} GiB of {at_least / GIB:.1f})"
    return ""


def told(disks: Sequence[Mapping[str, Any]], at_least: int) -> str:
    return ", ".join(f"{one.get('name')} ({against(one, at_least) or 'suitable'})" for one in disks) or "none"


def described(disk: Mapping[str, Any]) -> str:
    """In words: vda, 8.0 GiB, QEMU, serial number DISK1."""
    words = [str(disk.get("name")), f"{int(disk.get('size') or 0) / GIB:.1f} GiB"]
    words += [str(disk["model"])] if disk.get("model") else []
    return ", ".join(words + ([f"serial number {disk['serial']}"] if disk.get("serial") else []))
