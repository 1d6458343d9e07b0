"""The tokens of nodes, as they are kept: of each purpose but none, a node has one at most."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from crowbar_core.store.models import Token, table

tokens = table(Token)


def add_of_node(
    session: Session, node_id: int, *, name: str, purpose: str, secret_hash: str, expires_at: datetime | None
) -> int:
    """Write a new one, which takes the place of the node's older one of that purpose. Returns its id."""
    if purpose:
        session.execute(delete(tokens).where(tokens.c.node_id == node_id, tokens.c.purpose == purpose))
    values = {"node_id": node_id, "name": name, "role": "node", "purpose": purpose, "secret_hash": secret_hash,
              "expires_at": expires_at}  # fmt: skip
    return int(session.scalars(insert(tokens).values(values).returning(tokens.c.id)).one())
