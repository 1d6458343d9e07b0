"""People, tokens and sessions, and what was done."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Index,
    String,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from crowbar_core.store.models.base import (
    NEVER_REUSE_IDS,
    Model,
    flag,
    json_object,
    moment,
    name_key,
    number,
    one_of,
    ref,
    words,
)


class User(Model):
    __tablename__ = "users"
    __table_args__ = (
        Index("uq_users_lower_name", func.lower(text("name")), unique=True),
        CheckConstraint(one_of("role", ("admin", "operator", "viewer")), name="role"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = name_key()
    password_hash: Mapped[str] = words()
    role: Mapped[str] = mapped_column(String(16), server_default="viewer")
    locked: Mapped[bool] = flag()
    epoch: Mapped[int] = number()
    """Raised when the password changes: sessions of an older epoch are dead."""
    created_at: Mapped[datetime] = moment()
    updated_at: Mapped[datetime] = moment()


class Token(Model):
    """A bearer token of a user, or of a node (which then reaches only its own node's endpoints)."""

    __tablename__ = "tokens"
    __table_args__ = (
        CheckConstraint("(user_id IS NULL) <> (node_id IS NULL)", name="user_or_node"),
        CheckConstraint(one_of("role", ("admin", "operator", "viewer", "node")), name="role"),
        Index(
            "uq_tokens_node_purpose",
            "node_id",
            "purpose",
            unique=True,
            sqlite_where=text("purpose <> ''"),
            postgresql_where=text("purpose <> ''"),
        ),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = ref("users.id", "CASCADE")
    node_id: Mapped[int | None] = ref("nodes.id", "CASCADE")
    name: Mapped[str] = words()
    role: Mapped[str] = mapped_column(String(16))
    purpose: Mapped[str] = words()
    """Of a node's: what it is for. One for ``boot`` vouches for the host keys that come with it."""
    secret_hash: Mapped[str]
    created_at: Mapped[datetime] = moment()
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class BrowserSession(Model):
    """A log-in of a browser. It lasts while it is here and its epoch is that of its user."""

    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(primary_key=True)
    """SHA-256 of the key in the cookie."""
    user_id: Mapped[int] = ref("users.id", "CASCADE")
    epoch: Mapped[int]
    created_at: Mapped[datetime] = moment()
    ends_at: Mapped[datetime] = mapped_column(index=True)


class Audit(Model):
    """Who did what, from where. Only ever appended to."""

    __tablename__ = "audits"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = moment()
    actor: Mapped[str]
    remote: Mapped[str] = words()
    action: Mapped[str]
    subject: Mapped[str] = words()
    detail: Mapped[dict[str, Any]] = json_object()


class IdempotencyKey(Model):
    """The answer that a POST with this key got, so that asking twice does it once."""

    __tablename__ = "idempotency_keys"
    actor: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    """SHA-256 of method, path and body: the same key for another request is refused."""
    status: Mapped[int]
    body: Mapped[str]
    created_at: Mapped[datetime] = moment()
