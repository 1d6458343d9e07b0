"""Who has addresses, in words: for whoever is refused because of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from crowbar_core.tables import nodes
from crowbar_network.tables import allocations

NAMED = 5
"""How many are named; the others are counted."""


def who(session: Any, *where: Any) -> str:
    """``n1.example.com, the reservation for a printer and 3 more``; empty when nobody has such an address."""
    rows = session.execute(
        select(nodes.c.name, allocations.c.reserved_for)
        .outerjoin_from(allocations, nodes, nodes.c.id == allocations.c.node_id)
        .where(*where)
        .order_by(allocations.c.address)
        .limit(NAMED + 1)
    ).all()
    named = list(dict.fromkeys(called(row) for row in rows[:NAMED]))
    if len(rows) <= NAMED:
        return ", ".join(named)
    count = session.scalar(select(func.count()).select_from(allocations).where(*where))
    return f"{', '.join(named)} and {count - NAMED:,} more"


def called(row: Any) -> str:
    """A node's name, or what the address is reserved for."""
    return str(row.name) if row.name else f"the reservation for {row.reserved_for}"
