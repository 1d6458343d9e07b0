"""Orders to nodes' hammers: written with the change that asks for them, begun at most once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.store.models import Node, PowerOrder, table

orders, nodes = table(PowerOrder), table(Node)


@dataclass(frozen=True, kw_only=True)
class Order:
    id: int
    node_id: int
    node: str
    action: str
    actor: str
    worker: str
    ordered_at: datetime
    begun_at: datetime | None


def add(session: Session, now: datetime, *, node_id: int, action: str, actor: str) -> None:
    session.execute(insert(orders).values(node_id=node_id, action=action, actor=actor, ordered_at=now))


def open_orders(session: Session) -> list[Order]:
    """Those that have not ended, in the order in which they were given."""
    rows = session.execute(
        select(
            orders.c.id, orders.c.node_id, nodes.c.name.label("node"), orders.c.action, orders.c.actor,
            orders.c.worker, orders.c.ordered_at, orders.c.begun_at,
        )
        .join(nodes, nodes.c.id == orders.c.node_id)
        .where(orders.c.finished_at.is_(None))
        .order_by(orders.c.id)
    )  # fmt: skip
    return [Order(**row._mapping) for row in rows]


def begin(session: Session, now: datetime, order_id: int, worker: str) -> bool:
    """Take the order. False: somebody else has, or it is over."""
    taken = session.execute(
        update(orders)
        .where(orders.c.id == order_id, orders.c.begun_at.is_(None), orders.c.finished_at.is_(None))
        .values(begun_at=now, worker=worker)
        .returning(orders.c.id)
    ).one_or_none()
    return taken is not None


def end(session: Session, now: datetime, order_id: int, *, result: str = "", error: str = "") -> bool:
    """The order is over. False: it was before."""
    ended = session.execute(
        update(orders)
        .where(orders.c.id == order_id, orders.c.finished_at.is_(None))
        .values(finished_at=now, result=result[:2000], error=error[:2000])
        .returning(orders.c.id)
    ).one_or_none()
    return ended is not None


def stranded(found: list[Order], now: datetime, *, patience: timedelta, died: Callable[[str], bool]) -> dict[int, str]:
    """Order id -> why it will not be performed any more, or not seen to end."""
    why: dict[int, str] = {}
    for one in found:
        if one.begun_at is None and now - one.ordered_at > patience:
            why[one.id] = f"nobody could perform it within {patience.total_seconds():g} s; it is left undone"
        elif one.begun_at is not None and (died(one.worker) or now - one.begun_at > 2 * patience):
            why[one.id] = "whoever performed it has gone: nobody knows whether it was done"
    return why


def forget_before(session: Session, before: datetime) -> int:
    gone = session.execute(delete(orders).where(orders.c.finished_at < before))
    return int(gone.rowcount)  # type: ignore[attr-defined]
