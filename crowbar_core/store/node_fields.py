"""Fields of nodes: read for a change of them, written, and what is only noted of a node beside its changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, Text, bindparam, cast, func, insert, or_, select, update
from sqlalchemy.orm import Session

from crowbar_core.domain.names import keyed
from crowbar_core.store.bulk import insert_rows, portions
from crowbar_core.store.db import Store, ids_named
from crowbar_core.store.flags import flag
from crowbar_core.store.models import Deployment, Node, NodeRole, table

nodes, deployments, node_roles = table(Node), table(Deployment), table(NodeRole)


def rows_of(session: Session, store: Store, ids: Collection[int]) -> dict[int, Any]:
    """The whole rows of these nodes, by id; of those that are there."""
    return {row.id: row for row in session.execute(select(nodes).where(store.ids(nodes.c.id, ids)))}


def every(session: Session) -> list[int]:
    return list(session.scalars(select(nodes.c.id).where(~nodes.c.system)))


def said(session: Session, store: Store, ids: Collection[int]) -> list[Any]:
    """What these nodes reported, and what operators say of them: (id, discovery, hint)."""
    return list(
        session.execute(select(nodes.c.id, nodes.c.discovery, nodes.c.hint).where(store.ids(nodes.c.id, ids))).all()
    )


def hints(session: Session, store: Store, ids: Collection[int]) -> dict[int, Any]:
    """Node -> its hints, of those that have any."""
    given = {"ids": store.id_values(ids)}
    return {row.id: row.hint for row in session.execute(_hints(store.postgresql), given)}


@cache
def _hints(postgresql: bool) -> Select[Any]:
    """Built once: each run that is made asks it."""
    return select(nodes.c.id, nodes.c.hint).where(
        ids_named(nodes.c.id, "ids", postgresql=postgresql), func.length(cast(nodes.c.hint, Text)) > 2
    )


def write(session: Session, store: Store, now: datetime, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Write fields of nodes, node -> field -> value: one statement for all that change the same fields."""
    fields = list(changes.values())
    if len(fields) > 1 and all(one == fields[0] for one in fields):
        values = {**keyed(fields[0]), "updated_at": now}
        session.execute(update(nodes).where(store.ids(nodes.c.id, changes)).values(values))
        return
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for ref, values in ((ref, keyed(fields)) for ref, fields in changes.items()):
        given = {f"new_{name}": value for name, value in values.items()}
        alike.setdefault(tuple(sorted(values)), []).append({"ref": ref, **given})
    for names, rows in alike.items():
        statement = (
            update(nodes)
            .where(nodes.c.id == bindparam("ref"))
            .values({name: bindparam(f"new_{name}") for name in names} | {"updated_at": now})
        )
        session.connection().execute(statement, rows)


def add(session: Session, store: Store, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Write new nodes. Returns their ids, in the same order."""
    return insert_rows(session, store, nodes, [keyed(row) for row in rows])


def add_system(session: Session, *, name: str, description: str, deployment_id: int) -> int:
    """Write the node that carries the services of a deployment. Returns its id."""
    values = {"name": name, "description": description, "deployment_id": deployment_id, "system": True, "alive": True,
              "available": True}  # fmt: skip
    return int(session.scalars(insert(nodes).values(values).returning(nodes.c.id)).one())


def named(session: Session, lowered: Collection[str]) -> dict[str, int]:
    """The nodes with these names (in lower case): name -> id."""
    found: dict[str, int] = {}
    for portion in portions(sorted(lowered)):
        rows = session.execute(select(nodes.c.name, nodes.c.id).where(func.lower(nodes.c.name).in_(portion)))
        found.update({row.name: row.id for row in rows})
    return found


def row_of(session: Session, node_id: int) -> Any:
    """The node's whole row, or None."""
    return session.execute(select(nodes).where(nodes.c.id == node_id)).one_or_none()


def to_probe(session: Session) -> list[int]:
    """The nodes that are worked on."""
    return list(session.scalars(_WORKED_ON))


def never_probed(session: Session) -> list[int]:
    """Up to a thousand nodes that are worked on and were never probed."""
    return list(session.scalars(_WORKED_ON.where(nodes.c.probed_at.is_(None)).limit(1000)))


def taken_away(session: Session) -> list[int]:
    """Up to a thousand nodes that are not alive because a run of theirs took them away, the longest not probed first:
    they come back any moment, and the run waits for it.
    """
    away = select(node_roles.c.node_id).where(flag(node_roles.c.away))
    wanted = _WORKED_ON.where(~nodes.c.alive, nodes.c.id.in_(away)).order_by(nodes.c.probed_at, nodes.c.id)
    return list(session.scalars(wanted.limit(1000)))


_WORKED_ON = select(nodes.c.id).where(~nodes.c.system, nodes.c.available)


def name_of(session: Session, node_id: int) -> str | None:
    return session.scalar(select(nodes.c.name).where(nodes.c.id == node_id))


def homes(session: Session) -> dict[int, Any]:
    """Where nodes may be: deployment id -> (id, name, system)."""
    rows = session.execute(select(deployments.c.id, deployments.c.name, deployments.c.system))
    return {row.id: row for row in rows}


def first_called(session: Session, name: str) -> int | None:
    """The node of this name, else the first one of which it is the first label."""
    if (found := who_is_called(session, name)) is not None:
        return found
    begins = func.lower(nodes.c.name).startswith(f"{name.lower()}.", autoescape=True)
    return session.scalar(select(nodes.c.id).where(begins).order_by(nodes.c.name).limit(1))


def who_is_called(session: Session, name: str) -> int | None:
    """The node of this name, whatever its case."""
    return session.scalar(select(nodes.c.id).where(func.lower(nodes.c.name) == name.lower()))


def holder_of_key(session: Session, node_id: int, keys: Collection[str]) -> str | None:
    """The name of another node that one of these host keys is known for."""
    texts = [key.split()[1] for key in keys if len(key.split()) > 1]
    if not texts:
        return None
    held = cast(nodes.c.host_keys, Text)
    return session.scalar(
        select(nodes.c.name)
        .where(nodes.c.id != node_id, or_(*(held.contains(text, autoescape=True) for text in texts)))
        .order_by(nodes.c.id)
        .limit(1)
    )


def discard_drafts(session: Session, store: Store, ids: Collection[int]) -> None:
    """Take what is proposed for these nodes back to what is committed."""
    session.execute(update(nodes).where(store.ids(nodes.c.id, ids)).values(proposed_hint=nodes.c.hint))


def mark_leaving(session: Session, store: Store, ids: Collection[int]) -> None:
    """These nodes go when nothing is bound to them any more."""
    session.execute(update(nodes).where(store.ids(nodes.c.id, ids)).values(leaving=True))


def note_probed(session: Session, now: datetime, node_id: int) -> None:
    session.execute(update(nodes).where(nodes.c.id == node_id).values(probed_at=now))


def note_reason(session: Session, node_id: int, reason: str) -> None:
    """Why a node that is not alive is not; of one that was powered off by order, that is known."""
    session.execute(
        update(nodes)
        .where(nodes.c.id == node_id, ~nodes.c.alive, ~nodes.c.switched_off, nodes.c.status != reason)
        .values(status=reason)
    )  # fmt: skip
