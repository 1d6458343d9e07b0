"""Barclamps, jigs, roles and attributes, as the processes that load them say."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Integer,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from crowbar_core.store.models.base import (
    Data,
    Model,
    flag,
    json_list,
    json_object,
    moment,
    name_key,
    number,
    one_of,
    ref,
    words,
)


class BarclampRow(Model):
    """A package that was found at least once. ``state``: loaded, failed, disabled, missing."""

    __tablename__ = "barclamps"
    __table_args__ = (CheckConstraint(one_of("state", ("loaded", "failed", "disabled", "missing")), name="state"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = words()
    distribution: Mapped[str] = words()
    version: Mapped[str] = words()
    package: Mapped[str] = words()
    enabled: Mapped[bool] = flag(True)
    state: Mapped[str] = mapped_column(String(16), server_default="loaded")
    error: Mapped[str] = words()
    quarantine: Mapped[str] = words()
    """Why its hooks are not called any more, until an operator lets them be tried again."""
    left_behind: Mapped[int] = number()
    """Threads that are still in calls which took too long."""
    created_at: Mapped[datetime] = moment()
    updated_at: Mapped[datetime] = moment()


class JigRow(Model):
    __tablename__ = "jigs"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = words()
    distribution: Mapped[str] = words()
    installed: Mapped[bool] = flag(True)


class RoleRow(Model):
    """A role as its barclamp last declared it. ``ready``: the barclamp is loaded and the jig installed.

    One that was defined at run time is like the declared role ``like_name``, but for what is ``given``.
    """

    __tablename__ = "roles"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    name_key: Mapped[str] = name_key()
    barclamp_id: Mapped[int] = ref("barclamps.id", "RESTRICT")
    description: Mapped[str] = words()
    like_name: Mapped[str] = words()
    given: Mapped[dict[str, Any]] = json_object()
    jig_name: Mapped[str]
    ready: Mapped[bool] = flag(True)
    discovery: Mapped[bool] = flag()
    bootstrap: Mapped[bool] = flag()
    implicit: Mapped[bool] = flag()
    cluster: Mapped[bool] = flag()
    destructive: Mapped[bool] = flag()
    abstract: Mapped[bool] = flag()
    service: Mapped[bool] = flag()
    milestone: Mapped[bool] = flag()
    powersave: Mapped[bool] = flag()
    library: Mapped[bool] = flag()
    reboots: Mapped[bool] = flag()
    requires: Mapped[list[str]] = json_list()
    wants: Mapped[list[str]] = json_list()
    provides: Mapped[list[str]] = json_list()
    conflicts: Mapped[list[str]] = json_list()
    attaches: Mapped[list[str]] = json_list()
    precedes: Mapped[list[str]] = json_list()
    template: Mapped[dict[str, Any]] = json_object()
    on_change: Mapped[str] = mapped_column(String(8), server_default="rerun")
    timeout: Mapped[float] = mapped_column(server_default=text("600"))
    max_attempts: Mapped[int] = number(3)
    created_at: Mapped[datetime] = moment()
    updated_at: Mapped[datetime] = moment()


class AttribRow(Model):
    """An attribute as its barclamp last declared it; with a role it lives on noderoles, without on nodes."""

    __tablename__ = "attribs"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    barclamp_id: Mapped[int] = ref("barclamps.id", "RESTRICT")
    role_id: Mapped[int | None] = ref("roles.id", "CASCADE")
    description: Mapped[str] = words()
    map: Mapped[str]
    schema: Mapped[dict[str, Any]] = json_object()
    default: Mapped[dict[str, Any]] = mapped_column("default", Data, server_default=text("'null'"))
    writable: Mapped[bool] = flag(True)
    secret: Mapped[bool] = flag()
    required: Mapped[bool] = flag()
    generate: Mapped[str] = words()
    order: Mapped[int] = mapped_column("order", Integer, server_default=text("1000"))
