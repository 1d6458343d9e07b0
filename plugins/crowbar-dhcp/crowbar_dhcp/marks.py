"""Which nodes are to be looked at: whoever hears of a change only notes whose it is, in the transaction that has
dhcp-database run.

A mark is there until a run that began after it has told all servers: who is killed in between leaves it for the next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select

from crowbar_core import Change, Refresh, cluster
from crowbar_core.tables import node_roles, roles
from crowbar_dhcp.services import DATABASE
from crowbar_dhcp.tables import marks

EVERYBODY = 0
"""What is noted for all nodes; no node has this id."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """``last``: the id of the newest of them."""

    nodes: frozenset[int] = frozenset()
    last: int = 0


def follow(*ids: int) -> None:
    """Something of these nodes changed: note it, and have dhcp-database run. Where that is not bound nobody looks, and
    its first run looks at everything."""
    with cluster().change() as change:
        if is_bound(change.session):
            note(change, ids)
            change.apply(Refresh(role=DATABASE))


def is_bound(session: Any) -> bool:
    asked = select(node_roles.c.id).join(roles, roles.c.id == node_roles.c.role_id).where(roles.c.name == DATABASE)
    return session.scalar(asked.limit(1)) is not None


def note(change: Change, ids: Iterable[int]) -> None:
    """A mark that is there already becomes the newest: a run that has seen it does not clear it then."""
    several = sorted(set(ids))
    change.session.execute(delete(marks).where(marks.c.node_id.in_(several)))
    change.session.execute(insert(marks), [{"node_id": one} for one in several])


def noted(session: Any) -> Marks:
    rows: Collection[Any] = session.execute(select(marks.c.id, marks.c.node_id)).all()
    return Marks(nodes=frozenset(one.node_id for one in rows), last=max((one.id for one in rows), default=0))


def clear(change: Change, seen: Marks) -> None:
    if seen.last:
        change.session.execute(delete(marks).where(marks.c.id <= seen.last))
