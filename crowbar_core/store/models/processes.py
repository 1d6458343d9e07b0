"""Facts about this installation, who is at work in it, and its periodic jobs."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from crowbar_core.store.models.base import (
    NEVER_REUSE_IDS,
    Model,
    json_list,
    number,
    words,
)


class Meta(Model):
    """Single facts about this installation (its id, when the roles were last synchronised)."""

    __tablename__ = "meta"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str]


class Lease(Model):
    """Who may do a thing that only one process at a time may do."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str]
    until: Mapped[datetime]


class ProcessRow(Model):
    """A process of this installation. It renews ``alive_until`` as long as it lives, and takes its row away when it
    stops.
    """

    __tablename__ = "processes"
    __table_args__ = (NEVER_REUSE_IDS,)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    """The name by which it holds runs and leases."""
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    kinds: Mapped[list[str]] = json_list()
    concurrency: Mapped[int] = number()
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]
    alive_until: Mapped[datetime]


class PeriodicJob(Model):
    """A job that a barclamp wants done now and then, and how its last run ended. ``failures`` are those in a row."""

    __tablename__ = "periodic_jobs"
    __table_args__ = (UniqueConstraint("barclamp", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    barclamp: Mapped[str]
    name: Mapped[str]
    seconds: Mapped[float]
    last_run_at: Mapped[datetime | None]
    took: Mapped[float | None]
    failures: Mapped[int] = number()
    error: Mapped[str] = words()
    traceback: Mapped[str] = words()
