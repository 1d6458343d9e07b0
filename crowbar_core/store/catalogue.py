"""What is installed, who may do what, and what happened: the lists behind the pages that explain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from crowbar_core.domain.states import State
from crowbar_core.store.db import Reader
from crowbar_core.store.listing import lines
from crowbar_core.store.listings.catalogue import ATTRIBS, BARCLAMPS, JIGS, ROLES
from crowbar_core.store.listings.people import TOKENS, USERS
from crowbar_core.store.models import (
    AttribRow,
    BarclampRow,
    Delivery,
    Event,
    HookError,
    JigRow,
    Meta,
    NodeRole,
    RoleRow,
    User,
    table,
)

_barclamps, _jigs, _roles, _attribs = table(BarclampRow), table(JigRow), table(RoleRow), table(AttribRow)
_users = table(User)


def cluster_id(session: Reader) -> str:
    """What tells this installation from every other one."""
    return session.scalars(select(Meta.value).where(Meta.key == "cluster_id")).one()


# ---------------------------------------------------------------- barclamps, roles, attributes


@dataclass(frozen=True, kw_only=True)
class BarclampLine:
    id: int
    name: str
    description: str
    distribution: str
    version: str
    package: str
    enabled: bool
    state: str
    error: str
    quarantine: str
    left_behind: int
    roles: int = 0


def barclamps(session: Session) -> list[BarclampLine]:
    """By name, each with how many roles it brings."""
    roles = dict(session.execute(select(RoleRow.barclamp_id, func.count()).group_by(RoleRow.barclamp_id)).all())
    found = lines(session, BARCLAMPS, BarclampLine, order=(_barclamps.c.name,))
    return [replace(one, roles=roles.get(one.id, 0)) for one in found]


@dataclass(frozen=True, kw_only=True)
class RoleLine:
    id: int
    name: str
    description: str
    barclamp: str
    jig_name: str
    ready: bool
    flags: Sequence[str]
    requires: Sequence[str]
    wants: Sequence[str]
    provides: Sequence[str]
    conflicts: Sequence[str]
    attaches: Sequence[str]
    precedes: Sequence[str]
    on_change: str
    timeout: float
    max_attempts: int
    template: Mapping[str, Any]
    states: Mapping[State, int] = field(default_factory=dict)


def roles(session: Session, *, barclamp_id: int | None = None, role_id: int | None = None) -> list[RoleLine]:
    """Roles by name, each with its noderoles by state."""
    where = []
    counts = select(NodeRole.role_id, NodeRole.state, func.count()).group_by(NodeRole.role_id, NodeRole.state)
    if barclamp_id is not None:
        where.append(_roles.c.barclamp_id == barclamp_id)
    if role_id is not None:
        where.append(_roles.c.id == role_id)
        counts = counts.where(NodeRole.role_id == role_id)
    states: dict[int, dict[State, int]] = defaultdict(dict)
    for id_, state, count in session.execute(counts):
        states[id_][State(state)] = count
    return [
        replace(one, states=states[one.id])
        for one in lines(session, ROLES, RoleLine, where=where, order=(_roles.c.name_key,))
    ]


def role_names(session: Session) -> list[str]:
    """For choosing one of them."""
    return list(session.scalars(select(_roles.c.name).order_by(_roles.c.name_key)))


@dataclass(frozen=True, kw_only=True)
class BindableRole:
    id: int
    name: str
    description: str
    milestone: bool
    cluster: bool
    destructive: bool


def bindable_roles(session: Session) -> list[BindableRole]:
    """What an operator may put on a node: ready, and neither abstract nor drawn in only by others."""
    where = (_roles.c.ready.is_(True), _roles.c.abstract.is_(False), _roles.c.library.is_(False))
    return lines(session, ROLES, BindableRole, where=where, order=(_roles.c.name_key,))


@dataclass(frozen=True, kw_only=True)
class AttributeLine:
    id: int
    name: str
    description: str
    role: str | None
    role_id: int | None
    map: str
    schema: Mapping[str, Any]
    default: Any
    writable: bool
    secret: bool
    required: bool
    generate: str


def attributes(session: Session, *, barclamp_id: int | None = None, role_id: int | None = None) -> list[AttributeLine]:
    where = []
    if barclamp_id is not None:
        where.append(_attribs.c.barclamp_id == barclamp_id)
    if role_id is not None:
        where.append(_attribs.c.role_id == role_id)
    return lines(session, ATTRIBS, AttributeLine, where=where, order=(_attribs.c.order, _attribs.c.name))


@dataclass(frozen=True, kw_only=True)
class JigLine:
    name: str
    description: str
    distribution: str
    installed: bool


def jigs(session: Session) -> list[JigLine]:
    return lines(session, JIGS, JigLine, order=(_jigs.c.name,))


# ---------------------------------------------------------------- events and what plugins made of them


@dataclass(frozen=True, kw_only=True)
class DeliveryLine:
    plugin: str
    state: str
    attempts: int
    next_try_at: datetime | None
    error: str
    traceback: str
    settled_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class EventLine:
    id: int
    hook: str
    subject: str
    created_at: datetime
    deliveries: Sequence[DeliveryLine]


def events_page(
    session: Session, *, before: int | None = None, state: str = "", plugin: str = "", limit: int = 100
) -> list[EventLine]:
    """Newest first; with ``state`` or ``plugin`` only those of which a delivery is so."""
    query = select(Event.id, Event.hook, Event.subject, Event.created_at).order_by(Event.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Event.id < before)
    if state or plugin:
        wanted = select(Delivery.event_id)
        wanted = wanted.where(Delivery.state == state) if state else wanted
        wanted = wanted.where(Delivery.plugin == plugin) if plugin else wanted
        query = query.where(Event.id.in_(wanted))
    rows = session.execute(query).all()
    deliveries: dict[int, list[DeliveryLine]] = defaultdict(list)
    if rows:
        for row in session.execute(
            select(
                Delivery.event_id,
                Delivery.plugin,
                Delivery.state,
                Delivery.attempts,
                Delivery.next_try_at,
                Delivery.error,
                Delivery.traceback,
                Delivery.settled_at,
            )
            .where(Delivery.event_id.in_([row.id for row in rows]))
            .order_by(Delivery.event_id, Delivery.position)
        ):
            values = dict(row._mapping)
            deliveries[values.pop("event_id")].append(DeliveryLine(**values))
    return [EventLine(**row._mapping, deliveries=deliveries[row.id]) for row in rows]


@dataclass(frozen=True, kw_only=True)
class HookFailure:
    delivery_id: int | None
    event_id: int | None
    hook: str
    subject: str
    plugin: str
    state: str
    """``failed``: given up. ``waiting``: to be tried again. ``asked``: could not answer a question, so many times."""
    attempts: int
    next_try_at: datetime | None
    error: str
    traceback: str
    created_at: datetime


def hook_failures(session: Session, *, plugin: str = "", limit: int = 50) -> list[HookFailure]:
    """Questions that plugins could not answer; deliveries given up, and those that raised and wait for their next
    try. Newest first.
    """
    asked = select(HookError).order_by(HookError.at.desc()).limit(limit)
    if plugin:
        asked = asked.where(HookError.plugin == plugin)
    found = [
        HookFailure(
            delivery_id=None, event_id=None, hook=one.hook, subject=one.subject, plugin=one.plugin, state="asked",
            attempts=one.count, next_try_at=None, error=one.error, traceback=one.traceback, created_at=one.at,
        )
        for one in session.scalars(asked)
    ]  # fmt: skip
    query = (
        select(
            Delivery.id.label("delivery_id"),
            Delivery.event_id,
            Event.hook,
            Event.subject,
            Delivery.plugin,
            Delivery.state,
            Delivery.attempts,
            Delivery.next_try_at,
            Delivery.error,
            Delivery.traceback,
            Event.created_at,
        )
        .join(Event, and_(Event.id == Delivery.event_id))
        .where(Delivery.state.in_(("failed", "waiting")), Delivery.error != "")
        .order_by(Delivery.event_id.desc(), Delivery.position)
        .limit(limit)
    )
    if plugin:
        query = query.where(Delivery.plugin == plugin)
    found += [HookFailure(**row._mapping) for row in session.execute(query)]
    return found[:limit]


# ---------------------------------------------------------------- users, tokens


@dataclass(frozen=True, kw_only=True)
class UserLine:
    id: int
    name: str
    role: str
    locked: bool
    created_at: datetime


def users(session: Session) -> list[UserLine]:
    return lines(session, USERS, UserLine, order=(_users.c.name_key,))


@dataclass(frozen=True, kw_only=True)
class TokenLine:
    id: int
    name: str
    role: str
    user: str | None
    node: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


def tokens(session: Session, *, user_name: str = "", limit: int = 500) -> list[TokenLine]:
    """Newest first; all of them, or those of one user."""
    where = [func.lower(_users.c.name) == user_name.lower()] if user_name else []
    return lines(session, TOKENS, TokenLine, where=where, order=(TOKENS.key.desc(),), limit=limit)
