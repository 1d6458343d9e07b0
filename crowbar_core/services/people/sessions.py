"""Log-ins of browsers: each is a row, which ends it on the server, whoever still holds a copy of the cookie."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from crowbar_core.services.people.users import Identity
from crowbar_core.services.turns.looking import glance_and_look
from crowbar_core.services.turns.parts import Parts
from crowbar_core.store import sessions


def begin(parts: Parts, identity: Identity) -> str:
    """A new log-in of a person; its key goes into the cookie, and is kept as a digest only."""
    key = secrets.token_urlsafe(24)
    with parts.store.write(graph=False) as session:
        ends = parts.store.now(session) + timedelta(hours=parts.settings.session_hours)
        sessions.add(session, _digest(key), user_id=identity.user_id, epoch=identity.epoch, ends_at=ends)
    return key


def identity(parts: Parts, key: str) -> Identity | None:
    """Whose log-in this is. None when it has ended: by logging out, in time, with a new password, or with its user."""
    with glance_and_look(parts.registry, parts.store) as session:
        row = sessions.user_of(session, _digest(key), parts.store.now(session))
    return None if row is None else Identity(name=row.name, role=row.role, user_id=row.id, epoch=row.epoch)


def end(parts: Parts, key: str) -> None:
    """A second call does nothing."""
    with parts.store.write(graph=False) as session:
        sessions.remove(session, _digest(key))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
