"""Keeping the table of what nodes are to be called: claims are made anew for those nodes of which something changed.

Whoever hears of a change only notes which node it is (``note``). The claims are compared with those in the table. So it
makes no difference how often, or in which order, a change is told; and for nodes of which nobody told anything, all
claims are made anew every few minutes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update

from crowbar_core import Change
from crowbar_core.tables import insert_many
from crowbar_dns import facts
from crowbar_dns.names import Record
from crowbar_dns.naming import Claim, claims_of, settle
from crowbar_dns.tables import changed_nodes, entries

EVERYBODY = 0
"""What is noted for all nodes; no node has this id."""
_MANY = 400
_SO_MANY = 2000
"""Of more nodes than these it costs less to look at all."""


def note(change: Change, ids: Iterable[int]) -> None:
    """Something of these nodes changed, or of everybody."""
    table, wanted = changed_nodes, set(ids)
    known = set(change.session.scalars(select(table.c.node_id).where(table.c.node_id.in_(wanted))).all())
    if new := wanted - known:
        change.session.execute(insert(table), [{"node_id": one} for one in sorted(new)])


def renew(change: Change) -> frozenset[str]:
    """Make the claims of the noted nodes anew. Returns the names of which the records to be served have changed: who
    takes them tells all servers of them, or writes down in the same transaction that they are still to be told.
    """
    session = change.session
    noted = set(session.scalars(select(changed_nodes.c.node_id)).all())
    if not noted:
        return frozenset()
    session.execute(delete(changed_nodes))
    every = EVERYBODY in noted or len(noted) > _SO_MANY
    known = facts.hosts(session, None if every else noted)
    made = claims_of(known, facts.addresses(known, every=every), facts.filters(session))
    before = _of_nodes(session, None if every else noted)
    if every:
        return _put(session, before, settle(made, {one.id: one.name for one in known}.__getitem__))
    rivals = _rivals(session, _all_names(made) | _all_names(before), noted)
    names_of = facts.names_of(session, {one.node_id for one in [*made, *rivals.values()]})
    sound = {key: one for key, one in rivals.items() if not one.cannot_be}
    unsettled = [one._replace(problem="") for one in sound.values()]
    settled = settle([*made, *unsettled], lambda key: names_of.get(key, f"number {key}"))
    return _put(session, {**before, **sound}, settled)


def _of_nodes(session: Any, ids: Collection[int] | None) -> dict[int, Claim]:
    found: dict[int, Claim] = {}
    for some in facts.parts(ids):
        asked = select(entries) if some is None else select(entries).where(entries.c.node_id.in_(some))
        found |= {one.id: _claim(one) for one in session.execute(asked).all()}
    return found


def _rivals(session: Any, names: Collection[str], but: Collection[int]) -> dict[int, Claim]:
    """What others claim of these names, of the names that lead back to them, and so on until nothing is left out."""
    found: dict[int, Claim] = {}
    seen: set[str] = set()
    waiting = set(names)
    while waiting:
        seen |= waiting
        listed = sorted(waiting)
        more: set[str] = set()
        for first in range(0, len(listed), _MANY):
            some = listed[first : first + _MANY]
            for which in (entries.c.name.in_(some), (entries.c.type == "PTR") & entries.c.value.in_(some)):
                for row in session.execute(select(entries).where(which)).all():
                    if row.node_id not in but:
                        found[row.id] = _claim(row)
                        more |= {row.name, row.value} if row.type == "PTR" else {row.name}
        waiting = more - seen
    return found


def _claim(row: Any) -> Claim:
    return Claim(node_id=row.node_id, filter_id=row.filter_id, record=record_of(row), problem=row.problem)


def record_of(row: Any) -> Record:
    return Record(row.name, row.type, row.value, row.ttl)


def _all_names(claims: Any) -> set[str]:
    return {one.record.name for one in (claims.values() if isinstance(claims, dict) else claims)}


def _put(session: Any, before: dict[int, Claim], after: Sequence[Claim]) -> frozenset[str]:
    """Make the table so; returns the names of which the records to be served are others than before."""
    there = {_identity(one): key for key, one in before.items()}
    wanted = {_identity(one): one for one in after}
    changed: set[str] = set()
    gone = [key for key, one in before.items() if _identity(one) not in wanted or there[_identity(one)] != key]
    for first in range(0, len(gone), _MANY):
        session.execute(delete(entries).where(entries.c.id.in_(gone[first : first + _MANY])))
    changed |= {before[key].record.name for key in gone if not before[key].problem}
    new = []
    for identity, one in wanted.items():
        key = there.get(identity)
        if key is None:
            new.append(_row(one))
            if not one.problem:
                changed.add(one.record.name)
        elif before[key] != one:
            session.execute(update(entries).where(entries.c.id == key).values(**_row(one)))
            changed.add(one.record.name)
    insert_many(session, entries, new)
    return frozenset(changed)


def _identity(one: Claim) -> tuple[Any, ...]:
    return one.node_id, one.filter_id, one.record.name, one.record.type, one.record.value


def _row(one: Claim) -> dict[str, Any]:
    record = one.record
    return {
        "node_id": one.node_id, "filter_id": one.filter_id, "name": record.name, "type": record.type,
        "value": record.value, "ttl": record.ttl, "problem": one.problem,
    }  # fmt: skip
