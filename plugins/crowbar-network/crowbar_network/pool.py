"""What is free in a range, as gaps between what is taken: to find the first free address costs no scan.

A range begins as one gap. To take an address shortens or splits its gap; to give it back joins what it lies between.
Gaps and allocations are changed in one transaction, under the lock of all changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import and_, bindparam, delete, insert, or_, select, update

from crowbar_network.addressing import key_of
from crowbar_network.remembered import remembered
from crowbar_network.tables import gaps

_MINE = gaps.c.range_id == bindparam("mine")
_FIRST = select(gaps.c.first, gaps.c.last).where(_MINE).order_by(gaps.c.first).limit(1)
_CLOSE = delete(gaps).where(_MINE, gaps.c.first == bindparam("begin"))
MANY = 8
"""From so many addresses on they are taken together."""
_BEGIN_LATER = update(gaps).where(_MINE, gaps.c.first == bindparam("begin")).values(first=bindparam("later"))


def fill(session: Any, range_id: int, first: str, last: str, taken: Iterable[str]) -> None:
    """Make the gaps of a range anew: all of it, but for what is ``taken`` (keys, in any order)."""
    remembered(session).pop(("gap", range_id), None)
    session.execute(delete(gaps).where(gaps.c.range_id == range_id))
    begin, made = first, []
    for key in sorted(taken):
        if first <= key <= last:
            if begin < key:
                made.append({"range_id": range_id, "first": begin, "last": _before(key)})
            begin = _after(key)
    if begin <= last:
        made.append({"range_id": range_id, "first": begin, "last": last})
    if made:
        session.execute(insert(gaps), made)


def take_first(session: Any, range_id: int, count: int = 1) -> list[str]:
    """The lowest free addresses, so many; fewer where there are no more."""
    known, found = remembered(session), list[str]()
    while len(found) < count:
        gap = known.pop(("gap", range_id), None) or session.execute(_FIRST, {"mine": range_id}).first()
        if gap is None:
            break
        first, last = gap
        room = min(count - len(found), int(last[1:], 16) - int(first[1:], 16) + 1)
        end = _moved(first, room - 1)
        found += [_moved(first, step) for step in range(room)]
        if end == last:
            session.execute(delete(gaps).where(gaps.c.range_id == range_id, gaps.c.first == first))
        else:
            known["gap", range_id] = (_after(end), last)
            session.execute(_BEGIN_LATER, {"mine": range_id, "begin": first, "later": _after(end)})
    return found


def take(session: Any, range_id: int, key: str) -> bool:
    """Whether the address was free, and is taken now."""
    remembered(session).pop(("gap", range_id), None)
    below = and_(gaps.c.range_id == range_id, gaps.c.first <= key)
    found = session.execute(
        select(gaps.c.first, gaps.c.last).where(below).order_by(gaps.c.first.desc()).limit(1)
    ).first()
    if found is None or found.last < key:
        return False
    _shorten(session, range_id, found.first, found.last, key)
    return True


def take_these(session: Any, range_id: int, keys: Sequence[str]) -> set[str]:
    """Those of these addresses that were free, and are taken now. Many cost as many statements as a few: the gaps from
    the first to the last of them are read.
    """
    if len(keys) < MANY:
        return {key for key in dict.fromkeys(keys) if take(session, range_id, key)}
    remembered(session).pop(("gap", range_id), None)
    wanted = sorted(set(keys))
    between = (gaps.c.range_id == range_id, gaps.c.first <= wanted[-1], gaps.c.last >= wanted[0])
    there = session.execute(select(gaps.c.first, gaps.c.last).where(*between).order_by(gaps.c.first)).all()
    got: set[str] = set()
    gone, made = [], []
    at = 0
    for first, last in there:
        begin, taken = first, False
        while at < len(wanted) and wanted[at] <= last:
            key = wanted[at]
            at += 1
            if key < begin:
                continue  # it lies before the gap: somebody has it
            got.add(key)
            taken = True
            if begin < key:
                made.append({"range_id": range_id, "first": begin, "last": _before(key)})
            begin = _after(key)
        if taken:
            gone.append({"mine": range_id, "begin": first})
            if begin <= last:
                made.append({"range_id": range_id, "first": begin, "last": last})
    if gone:
        session.execute(_CLOSE, gone)
    if made:
        session.execute(insert(gaps), made)
    return got


def give_back(session: Any, range_id: int, key: str) -> None:
    remembered(session).pop(("gap", range_id), None)
    mine, before, after = gaps.c.range_id == range_id, _before(key), _after(key)
    beside = select(gaps.c.first, gaps.c.last).where(mine, or_(gaps.c.last == before, gaps.c.first == after))
    first = last = key
    for gap in session.execute(beside).all():
        if gap.last == before:
            first = gap.first
        else:
            last = gap.last
    session.execute(delete(gaps).where(mine, or_(gaps.c.last == before, gaps.c.first == after)))
    session.execute(insert(gaps).values(range_id=range_id, first=first, last=last))


def _shorten(session: Any, range_id: int, first: str, last: str, key: str) -> None:
    this = and_(gaps.c.range_id == range_id, gaps.c.first == first)
    if first == last:
        session.execute(delete(gaps).where(this))
    elif key == first:
        session.execute(_BEGIN_LATER, {"mine": range_id, "begin": first, "later": _after(key)})
    else:
        session.execute(update(gaps).where(this).values(last=_before(key)))
        if key != last:
            session.execute(insert(gaps).values(range_id=range_id, first=_after(key), last=last))


def _before(key: str) -> str:
    return _moved(key, -1)


def _after(key: str) -> str:
    return _moved(key, 1)


def _moved(key: str, by: int) -> str:
    bits = 32 if key[0] == "4" else 128
    value = int(key[1:], 16) + by
    # Beyond the last address of all there is a key, though no address: ranges never reach it.
    return f"{key[0]}{value & ((1 << bits + 1) - 1):032x}" if value >= 0 else f"{key[0]}{0:032x}"


__all__ = ["fill", "give_back", "key_of", "take", "take_first", "take_these"]
