"""The zones of all servers: how many records each is to have, has, and where the two differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from crowbar_dns.names import zone_of
from crowbar_dns.services import Service
from crowbar_dns.tables import entries, served


def zones(session: Any, several: Sequence[Service]) -> list[Mapping[str, Any]]:
    """A row for each zone of each server: ``server``, ``zone``, ``wanted``, ``served``, ``different``, ``problem``."""
    asked = select(entries.c.name, entries.c.type, entries.c.value).where(entries.c.problem == "")
    wanted = [tuple(one) for one in session.execute(asked).all()]
    found: list[Mapping[str, Any]] = []
    for service in several:
        there = select(served.c.name, served.c.type, served.c.value).where(
            served.c.service_id == service.id, served.c.confirmed, served.c.gone_at.is_(None)
        )
        own = {tuple(one) for one in session.execute(there).all() if not one.name.startswith("crowbar-dns.")}
        known = frozenset(service.zones)
        of_zone = {zone: (set(), set()) for zone in service.zones}  # type: dict[str, tuple[set[Any], set[Any]]]
        for which, records in enumerate((wanted, own)):
            for one in records:
                if (zone := zone_of(one[0], known)) is not None:
                    of_zone[zone][which].add(one)
        found += [
            {
                "server": service.name, "zone": zone, "wanted": len(want), "served": len(have),
                "different": len(want ^ have), "problem": service.zone_problems.get(zone, ""),
            }
            for zone, (want, have) in of_zone.items()
        ]  # fmt: skip
    return found
