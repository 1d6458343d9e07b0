"""Which disks are erased, and what of them is read afterwards: pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crowbar_core import Refused
from crowbar_provisioner import disks

MIB = 1 << 20
_TOLD = ("name", "serial", "wwn", "model")


def chosen(there: Sequence[Mapping[str, Any]], *, wanted: Sequence[str], kept: Sequence[str]) -> list[dict[str, Any]]:
    """Those in ``wanted``, each by its name, serial number, WWN or path; without any, all that are suitable; never one
    of ``kept``, nor one that is removable, read-only or in use. Raises ``Refused``.
    """
    keep = [_one(there, name)["name"] for name in kept]
    found = [_one(there, name) for name in wanted] if wanted else [one for one in there if not disks.against(one, 0)]
    for one in found:
        if why := disks.against(one, 0):
            raise Refused(f"{one['name']} is not erased: it is {why}.")
        if wanted and one["name"] in keep:
            raise Refused(f"{one['name']} is to be erased and to be kept: say one of both.")
    taken = {str(one["name"]): one for one in found if one["name"] not in keep}
    if not taken:
        raise Refused(f"No disk is to be erased: {disks.told(there, 0)}.")
    return [{**{name: str(one.get(name) or "") for name in _TOLD}, "size": int(one["size"])} for one in taken.values()]


def _one(there: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    found = [one for one in there if name and name in [one.get(by) for by in ("name", "serial", "wwn", "by_path")]]
    if len(found) != 1:
        how = "is no disk" if not found else f"are {len(found)} disks"
        raise Refused(f"There {how} called {name}; there are: {disks.told(there, 0)}.")
    return found[0]


def pieces(size: int, sample: int, pick: Callable[[int], int]) -> list[int] | None:
    """Which MiB are read: None for all of them; else the first, the last and by chance others, ``sample`` together.

    ``pick(n)``: a number below n that a disk cannot know beforehand.
    """
    whole = -(-size // MIB)
    if not sample or max(sample, 2) >= whole:
        return None
    found = {0, whole - 1}
    while len(found) < max(sample, 2):
        found.add(pick(whole))
    return sorted(found)


def to_read(size: int, parts: Sequence[int] | None) -> int:
    """Bytes of these pieces; the last of a disk may be shorter."""
    return size if parts is None else sum(min(MIB, size - at * MIB) for at in parts)


def verdict(*, wanted: int, read: int, not_blank: int) -> str:
    """What is wrong with what was read; '' where the disk is erased."""
    if not_blank:
        return f"it lies: {not_blank} of the {read} bytes that were read are not blank"
    if read != wanted:
        return f"{read} bytes were read back, and not the {wanted} that had to be"
    return ""
