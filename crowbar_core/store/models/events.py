"""What barclamps are told of, and what went wrong with that."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from crowbar_core.store.models.base import (
    NEVER_REUSE_IDS,
    Model,
    json_object,
    moment,
    number,
    one_of,
    ref,
    words,
)


class Event(Model):
    """Something plugins may react to, written in the same transaction as the change it tells of."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_subject", "subject", "id"),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    hook: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(64))
    payload: Mapped[dict[str, Any]] = json_object()
    created_at: Mapped[datetime] = moment()


class Delivery(Model):
    """One event on its way to one plugin. ``position`` is the plugin's place in the dependency order."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "plugin"),
        CheckConstraint(one_of("state", ("waiting", "done", "failed")), name="state"),
        Index(
            "ix_deliveries_waiting",
            "event_id",
            "position",
            sqlite_where=text("state = 'waiting'"),
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("ix_deliveries_state_plugin", "state", "plugin"),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[int] = ref("events.id", "CASCADE", index=False)
    plugin: Mapped[str] = mapped_column(String(128))
    position: Mapped[int] = number()
    state: Mapped[str] = mapped_column(String(8), server_default="waiting")
    attempts: Mapped[int] = number()
    next_try_at: Mapped[datetime | None]
    error: Mapped[str] = words()
    traceback: Mapped[str] = words()
    settled_at: Mapped[datetime | None]


class HookError(Model):
    """A plugin that could not answer a question: the last time, and how often since the processes were started."""

    __tablename__ = "hook_errors"
    plugin: Mapped[str] = mapped_column(String(128), primary_key=True)
    hook: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str]
    error: Mapped[str]
    traceback: Mapped[str]
    count: Mapped[int] = number(1)
    at: Mapped[datetime]
