"""The tokens of users and nodes, as they are kept: of each purpose but none, a node has one at most."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.store.db import Reader
from crowbar_core.store.models import Node, Token, User, table

tokens, users, nodes = table(Token), table(User), table(Node)


# Asked for every request: built once.
_OF_ID = (
    select(
        tokens.c.id, tokens.c.role, tokens.c.secret_hash, tokens.c.expires_at, tokens.c.last_used_at,
        tokens.c.node_id, tokens.c.purpose, users.c.id.label("user_id"), users.c.name.label("user_name"),
        users.c.role.label("user_role"), users.c.locked, users.c.epoch, nodes.c.name.label("node_name"),
    )
    .outerjoin(users, users.c.id == tokens.c.user_id)
    .outerjoin(nodes, nodes.c.id == tokens.c.node_id)
    .where(tokens.c.id == bindparam("token"))
)  # fmt: skip


def of_id(session: Reader, token_id: int) -> Any:
    """The token with whose it is: (id, role, secret_hash, expires_at, last_used_at, node_id, purpose, user_id,
    user_name, user_role, locked, epoch, node_name); None when there is none.
    """
    return session.execute(_OF_ID, {"token": token_id}).one_or_none()


def note_used(session: Session, now: datetime, token_id: int) -> None:
    session.execute(update(tokens).where(tokens.c.id == token_id).values(last_used_at=now))


def count_of_user(session: Session, user_id: int) -> int:
    return session.scalar(select(func.count()).select_from(tokens).where(tokens.c.user_id == user_id)) or 0


def remove_of_user(session: Session, user_id: int) -> None:
    session.execute(delete(tokens).where(tokens.c.user_id == user_id))


def remove(session: Session, token_id: int) -> bool:
    """False: there is none."""
    return session.scalar(delete(tokens).where(tokens.c.id == token_id).returning(tokens.c.id)) is not None


def add_of_user(
    session: Session, user_id: int, *, name: str, role: str, secret_hash: str, expires_at: datetime | None
) -> int:
    """Write a new one. Returns its id."""
    values = {"user_id": user_id, "name": name, "role": role, "secret_hash": secret_hash, "expires_at": expires_at}
    return int(session.scalars(insert(tokens).values(values).returning(tokens.c.id)).one())


def add_of_node(
    session: Session, node_id: int, *, name: str, purpose: str, secret_hash: str, expires_at: datetime | None
) -> int:
    """Write a new one, which takes the place of the node's older one of that purpose. Returns its id."""
    if purpose:
        session.execute(delete(tokens).where(tokens.c.node_id == node_id, tokens.c.purpose == purpose))
    values = {"node_id": node_id, "name": name, "role": "node", "purpose": purpose, "secret_hash": secret_hash,
              "expires_at": expires_at}  # fmt: skip
    return int(session.scalars(insert(tokens).values(values).returning(tokens.c.id)).one())
