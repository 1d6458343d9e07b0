"""What is free in a range, as gaps between what is taken: to find the first free address costs no scan.

A range begins as one gap. To take an address shortens or splits its gap; to give it back joins what it lies between.
Gaps and allocations are changed in one transaction, under the lock of all changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import netaddr
from sqlalchemy import and_, delete, insert, or_, select, update

from crowbar_network.addressing import key_of, of_key
from crowbar_network.tables import gaps


def fill(session: Any, range_id: int, first: str, last: str, taken: Iterable[str]) -> None:
    """Make the gaps of a range anew: all of it, but for what is ``taken`` (keys, in any order)."""
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


def take_first(session: Any, range_id: int) -> str | None:
    """The lowest free address; None when there is none."""
    mine = gaps.c.range_id == range_id
    found = session.execute(select(gaps.c.first, gaps.c.last).where(mine).order_by(gaps.c.first).limit(1)).first()
    if found is None:
        return None
    _shorten(session, range_id, found.first, found.last, found.first)
    return str(found.first)


def take(session: Any, range_id: int, key: str) -> bool:
    """Whether the address was free, and is taken now."""
    below = and_(gaps.c.range_id == range_id, gaps.c.first <= key)
    found = session.execute(
        select(gaps.c.first, gaps.c.last).where(below).order_by(gaps.c.first.desc()).limit(1)
    ).first()
    if found is None or found.last < key:
        return False
    _shorten(session, range_id, found.first, found.last, key)
    return True


def give_back(session: Any, range_id: int, key: str) -> None:
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
        session.execute(update(gaps).where(this).values(first=_after(key)))
    else:
        session.execute(update(gaps).where(this).values(last=_before(key)))
        if key != last:
            session.execute(insert(gaps).values(range_id=range_id, first=_after(key), last=last))


def _before(key: str) -> str:
    return _moved(key, -1)


def _after(key: str) -> str:
    return _moved(key, 1)


def _moved(key: str, by: int) -> str:
    address: netaddr.IPAddress = of_key(key)
    bits = 32 if address.version == 4 else 128
    value = int(address) + by
    # Beyond the last address of all there is a key, though no address: ranges never reach it.
    return f"{key[0]}{value & ((1 << bits + 1) - 1):032x}" if value >= 0 else f"{key[0]}{0:032x}"


__all__ = ["fill", "give_back", "key_of", "take", "take_first"]
