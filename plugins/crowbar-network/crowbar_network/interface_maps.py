"""Interface maps: in which order the buses of one kind of machine are, where that is not the order of their paths.
Nodes whose conduits mean other cards by a change of them follow it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update

from crowbar_core import Change, NotFound, Refused, differences
from crowbar_network.errors import bad
from crowbar_network.remapping import follow
from crowbar_network.resolving import map_rows
from crowbar_network.tables import interface_maps

MOST_BUSES = 64
_BUS = re.compile(r"[0-9a-zA-Z:./_-]{1,120}")


def values_of(row: Any) -> dict[str, Any]:
    """What ``create`` takes."""
    return {"pattern": row.pattern, "buses": row.buses.split("\n"), "order": row.order}


def create(change: Change, values: Mapping[str, Any]) -> int:
    """Make one; returns its id. Raises ``BadInput``, ``Refused``."""
    _refuse_twice(change.session, values["pattern"])
    was = map_rows(change.session)
    made: int = change.session.scalar(
        insert(interface_maps)
        .values(pattern=values["pattern"], buses=_joined(values["buses"]), order=values["order"])
        .returning(interface_maps.c.id)
    )
    follow(change, was)
    change.audit("interface_map.create", f"interface map {values['pattern']}"[:200])
    return made


def alter(change: Change, key: int, values: Mapping[str, Any]) -> None:
    """Set these fields. Raises ``NotFound``, ``BadInput``, ``Refused``."""
    now = _row(change.session, key)
    new = dict(values)
    if "buses" in new:
        new["buses"] = _joined(new["buses"])
    if new.get("pattern", now.pattern) != now.pattern:
        _refuse_twice(change.session, new["pattern"])
    if new:
        was = map_rows(change.session)
        change.session.execute(update(interface_maps).where(interface_maps.c.id == key).values(**new))
        follow(change, was)
    change.audit("interface_map.change", f"interface map {now.pattern}", changed=differences(now._mapping, new))


def remove(change: Change, key: int) -> None:
    """Raises ``NotFound``."""
    now, was = _row(change.session, key), map_rows(change.session)
    change.session.execute(delete(interface_maps).where(interface_maps.c.id == key))
    follow(change, was)
    change.audit("interface_map.delete", f"interface map {now.pattern}")


def _row(session: Any, key: int) -> Any:
    found = session.execute(select(interface_maps).where(interface_maps.c.id == key)).first()
    if found is None:
        raise NotFound(f"There is no interface map {key}.")
    return found


def _refuse_twice(session: Any, pattern: str) -> None:
    if session.scalar(select(interface_maps.c.id).where(interface_maps.c.pattern == pattern)) is not None:
        raise Refused(f"There is an interface map for {pattern} already: change that one.")


def _joined(buses: Sequence[str]) -> str:
    check_buses(buses)
    return "\n".join(buses)


def check_buses(buses: Sequence[str]) -> None:
    """Raises ``BadInput``."""
    if not 1 <= len(buses) <= MOST_BUSES:
        raise bad("buses", f"An interface map has 1 to {MOST_BUSES} buses; here are {len(buses)}.")
    for number, bus in enumerate(buses):
        if not _BUS.fullmatch(bus):
            raise bad(f"buses/{number}", f"{bus[:60]!r} is no beginning of a bus path such as 0000:00:1c.0.")
        if bus in buses[:number]:
            raise bad(f"buses/{number}", f"{bus} is named twice: leave one out.")
