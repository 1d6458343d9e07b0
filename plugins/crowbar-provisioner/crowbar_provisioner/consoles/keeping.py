"""Last lines as they are kept: of each node those that its hammers heard, and those that the machine sent itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, delete, insert, select

from crowbar_core import Change, cluster
from crowbar_core.tables import nodes
from crowbar_provisioner.tables import consoles, machines

CONSOLE, ITSELF = "console", "machine"
FEW, SHORT = 3, 120
"""What the message of a failure has of them: so many lines, of so many characters."""


def keep(change: Change, node_id: int, heard_from: str, lines: Sequence[str]) -> None:
    """In the place of those from there before. Nothing of a node that has gone."""
    session = change.session
    if session.scalar(select(nodes.c.id).where(nodes.c.id == node_id)) is None:
        return
    session.execute(delete(consoles).where(consoles.c.node_id == node_id, consoles.c.heard_from == heard_from))
    session.execute(insert(consoles).values(node_id=node_id, heard_from=heard_from, lines=list(lines), at=change.now))


def of_machines(session: Any, keys: Sequence[int]) -> Mapping[int, list[dict[str, Any]]]:
    """By machine, what was heard last first."""
    asked = (
        select(machines.c.id, consoles.c.heard_from, consoles.c.lines, consoles.c.at)
        .join(machines, machines.c.node_id == consoles.c.node_id)
        .where(machines.c.id.in_(keys))
        .order_by(consoles.c.at.desc(), consoles.c.heard_from)
    )
    found: dict[int, list[dict[str, Any]]] = {}
    for one in session.execute(asked).all():
        line = {"from": one.heard_from, "at": one.at.isoformat(), "lines": list(one.lines)}
        found.setdefault(one.id, []).append(line)
    return found


def of_node(session: Any, node_id: int) -> Sequence[Any]:
    """Rows with heard_from, lines and at; what was heard last first."""
    mine = select(consoles).where(consoles.c.node_id == node_id)
    rows: Sequence[Any] = session.execute(mine.order_by(consoles.c.at.desc(), consoles.c.heard_from)).all()
    return rows


def with_ending(why: str, node_id: int, since: datetime) -> str:
    """The message of a failure, and the very last ones where any came ``since``."""
    asked = (
        select(consoles.c.lines)
        .where(and_(consoles.c.node_id == node_id, consoles.c.at >= since))
        .order_by(consoles.c.at.desc(), consoles.c.heard_from)
        .limit(1)
    )
    with cluster().read() as session:
        last = [one.strip()[:SHORT] for one in (session.scalar(asked) or [])[-FEW:]]
    return f"{why.rstrip('.')}. Its console ended with: {' | '.join(last)}" if last else why
