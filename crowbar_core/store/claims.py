"""Nodes' claims to addresses, as they are kept: an address may be claimed by several, one of whom has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, delete, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from crowbar_core.store.bulk import portions
from crowbar_core.store.db import Store, ids_named
from crowbar_core.store.models import AddressClaim, Node, table

claims, nodes = table(AddressClaim), table(Node)
_CLAIM = tuple_(claims.c.node_id, claims.c.address)


def kept(session: Session, store: Store, node_ids: Collection[int]) -> Mapping[int, Mapping[str, str]]:
    """Node -> address -> source."""
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for row in session.execute(
        select(claims.c.node_id, claims.c.address, claims.c.source).where(store.ids(claims.c.node_id, node_ids))
    ):
        found[row.node_id][row.address] = row.source
    return found


def add(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write new ones: node_id, address, source, since."""
    if rows:
        session.execute(insert(claims), rows)


def move(session: Session, now: datetime, ones: Sequence[tuple[int, str]], source: str) -> None:
    """From now on, what these (node, address) are claimed by is ``source``."""
    for portion in portions(ones):
        session.execute(update(claims).where(_CLAIM.in_(portion)).values(source=source, since=now))


def remove(session: Session, ones: Sequence[tuple[int, str]]) -> None:
    """Remove these (node, address)."""
    for portion in portions(ones):
        session.execute(delete(claims).where(_CLAIM.in_(portion)))


def of_nodes(session: Session, store: Store, node_ids: Collection[int]) -> list[Any]:
    """(node_id, address, source, since), with the id (``first``) and the name (``holder``) of who goes before all
    others that claim the address.
    """
    return list(session.execute(_of_nodes(store.postgresql), {"node_ids": store.id_values(node_ids)}).all())


@cache
def _of_nodes(postgresql: bool) -> Select[Any]:
    """Built once: each run that begins asks it."""
    rival = claims.alias()
    first = (
        select(rival.c.node_id)
        .where(rival.c.address == claims.c.address)
        .order_by(rival.c.source, rival.c.since, rival.c.node_id)
        .limit(1)
        .correlate(claims)
        .scalar_subquery()
    )
    return (
        select(claims.c.node_id, claims.c.address, claims.c.source, claims.c.since, nodes.c.id.label("first"),
               nodes.c.name.label("holder"))
        .select_from(claims)
        .join(nodes, nodes.c.id == first)
        .where(ids_named(claims.c.node_id, "node_ids", postgresql=postgresql))
        .order_by(claims.c.node_id, claims.c.source, claims.c.since, claims.c.address)
    )  # fmt: skip


def contested(session: Session, *, most: int, shown: int) -> list[Any]:
    """Addresses that several nodes claim, those that operators gave first, ``most`` of them: (address, source, name) of
    the first ``shown`` nodes of each, the one that has it first.
    """
    several = (
        select(claims.c.address)
        .group_by(claims.c.address)
        .having(func.count() > 1)
        .order_by(func.min(claims.c.source), claims.c.address)
        .limit(most)
        .subquery()
    )
    place = func.row_number().over(
        partition_by=claims.c.address, order_by=(claims.c.source, claims.c.since, claims.c.node_id)
    )
    ranked = (
        select(claims.c.address, claims.c.source, claims.c.node_id, place.label("place"))
        .join(several, several.c.address == claims.c.address)
        .subquery()
    )
    return list(
        session.execute(
            select(ranked.c.address, ranked.c.source, nodes.c.name)
            .join(nodes, nodes.c.id == ranked.c.node_id)
            .where(ranked.c.place <= shown)
            .order_by(ranked.c.address, ranked.c.place)
        ).all()
    )
