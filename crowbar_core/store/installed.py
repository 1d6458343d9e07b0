"""What is installed, as it is kept: the rows of barclamps, jigs, roles and attributes, each found by its name."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Table, delete, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.store.models import AttribRow, BarclampRow, JigRow, Meta, RoleRow, table

BARCLAMPS: Final = table(BarclampRow)
JIGS: Final = table(JigRow)
ROLES: Final = table(RoleRow)
ATTRIBS: Final = table(AttribRow)
meta = table(Meta)


def rows(session: Session, of: Table) -> dict[str, Any]:
    """Name -> whole row, of all."""
    return {row.name: row for row in session.execute(select(of))}


def ids(session: Session, of: Table) -> dict[str, int]:
    return {row.name: row.id for row in session.execute(select(of.c.name, of.c.id))}


def add(session: Session, into: Table, name: str, **values: Any) -> None:
    session.execute(insert(into).values(name=name, **values))


def change(session: Session, of: Table, names: Collection[str], **values: Any) -> None:
    session.execute(update(of).where(of.c.name.in_(names)).values(**values))


def remove(session: Session, of: Table, names: Collection[str]) -> None:
    session.execute(delete(of).where(of.c.name.in_(names)))


def ensure_cluster_id(session: Session) -> None:
    """Give this installation what tells it from every other one, if it has it not yet."""
    if session.scalar(select(meta.c.value).where(meta.c.key == "cluster_id")) is None:
        session.execute(insert(meta).values(key="cluster_id", value=str(uuid.uuid4())))
