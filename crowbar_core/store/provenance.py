"""Who set which value: the provenance of the values at each place of an object's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
