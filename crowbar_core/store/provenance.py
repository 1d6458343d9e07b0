"""Who set which value: the provenance of the values at each place of an object's layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from crowbar_core.store.db import Store
from crowbar_core.store.models import Provenance, table

provenance = table(Provenance)


def set_values(session: Session, store: Store, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write these (subject, subject_id, layer, path, at, actor, run_id), in place of what was known of the same
    places.
    """
    if not rows:
        return
    insert: Any = postgresql_insert if store.postgresql else sqlite_insert
    statement = insert(provenance)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["subject", "subject_id", "layer", "path"],
            set_={name: statement.excluded[name] for name in ("at", "actor", "run_id")},
        ),
        list(rows),
    )


def setters(
    session: Session, store: Store, subject: str, layer: str, ids: Collection[int]
) -> dict[tuple[int, str], Any]:
    """(object, path) -> (subject_id, path, at, actor): who set what is there in this layer, and when."""
    if not ids:
        return {}
    rows = session.execute(
        select(provenance.c.subject_id, provenance.c.path, provenance.c.at, provenance.c.actor).where(
            provenance.c.subject == subject, store.ids(provenance.c.subject_id, ids), provenance.c.layer == layer
        )
    )
    return {(row.subject_id, row.path): row for row in rows}


def last_set(session: Session, subject: str, subject_id: int, layer: str, path: Sequence[str]) -> Any:
    """(at, actor, run_id) of who last set what is at this path of a layer, or a part of it or an object around it.
    None: nobody is known.
    """
    around = ["/".join(path[: n + 1]) for n in range(len(path))]
    return session.execute(
        select(provenance.c.at, provenance.c.actor, provenance.c.run_id)
        .where(
            provenance.c.subject == subject,
            provenance.c.subject_id == subject_id,
            provenance.c.layer == layer,
            or_(provenance.c.path.in_(around), provenance.c.path.startswith(f"{'/'.join(path)}/", autoescape=True)),
        )
        .order_by(provenance.c.at.desc())
        .limit(1)
    ).one_or_none()
