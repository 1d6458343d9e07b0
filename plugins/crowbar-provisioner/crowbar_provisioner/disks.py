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


def choose_all(disks: Sequence[Mapping[str, Any]], *, wanted: Sequence[str], at_least: int = 0) -> Mapping[str, Any]:
    """One for each of ``wanted``, as ``choose`` does, none of them twice: the first, with the further ones as
    ``others`` where there are any.
    """
    found: list[Mapping[str, Any]] = []
    for number, name in enumerate(wanted):
        taken = [one["name"] for one in found]
        later = [] if name else [one for one in wanted[number + 1 :] if one]  # those are named for another part
        left = [one for one in disks if one.get("name") not in taken and not _is_named(one, later)]
        try:
            found.append(choose(left, wanted=name, at_least=at_least))
        except Refused as problem:
            if not found:
                raise
            raise Refused(f"A second disk is needed beside {', '.join(taken)}. {problem.detail}") from None
    first, *others = found
    return {**first, "others": others} if others else first


def _is_named(disk: Mapping[str, Any], names: Sequence[str]) -> bool:
    return any(disk.get(one) in names for one in _NAMED_BY if disk.get(one))


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


def sized(count: int) -> str:
    """Bytes in words: 1.5 GiB."""
    for unit, name in ((GIB, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"


def described(disk: Mapping[str, Any]) -> str:
    """In words: vda, 8.0 GiB, QEMU, serial number DISK1; with ``and`` before further ones."""
    if disk.get("others"):
        return " and ".join(described(one) for one in ({**disk, "others": ()}, *disk["others"]))
    words = [str(disk.get("name")), f"{int(disk.get('size') or 0) / GIB:.1f} GiB"]
    words += [str(disk["model"])] if disk.get("model") else []
    return ", ".join(words + ([f"serial number {disk['serial']}"] if disk.get("serial") else []))
