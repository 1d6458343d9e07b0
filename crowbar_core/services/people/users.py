"""People, their passwords, and tokens: who may come in, and as whom."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crowbar_core.domain import names
from crowbar_core.domain.differences import differences
from crowbar_core.errors import (
    BadInput,
    FieldError,
    Forbidden,
    NotFound,
    Refused,
    Unauthenticated,
    Unavailable,
    or_missing,
)
from crowbar_core.services.turns.looking import glance_and_look
from crowbar_core.store import audits, node_fields, sessions, tokens, users

if TYPE_CHECKING:
    from crowbar_core.services.turns.parts import Parts
    from crowbar_core.services.turns.turn import Actor

ROLES: Final = ("viewer", "operator", "admin")
PASSWORD_MIN: Final = 8
PASSWORD_MAX: Final = 1024
LAST_USED_EVERY: Final = timedelta(minutes=5)
ID_MAX: Final = 2**31 - 1

_TOKEN = re.compile(r"cb_([0-9]{1,10})_([A-Za-z0-9_-]{20,128})", re.ASCII)
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
HASHES_AT_ONCE: Final = max(1, (os.cpu_count() or 2) // 2)
HASHES_WAITING: Final = 8
_NOBODY: Final = _HASHER.hash(secrets.token_hex(16))
"""Checked when there is no such user, so that the time an answer takes does not tell who exists."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Someone who has proved who they are. A node has ``node_id`` and the role ``node``, a person ``user_id``."""

    name: str
    role: str
    user_id: int | None = None
    node_id: int | None = None
    epoch: int = 0
    purpose: str = ""
    """What a node's token is for."""


# ---------------------------------------------------------------- proving who one is


def ensure_admin(parts: Parts) -> str | None:
    """Make the user ``admin`` if there is no user yet. Returns the password it was given, to be shown once."""
    with parts.store.read() as session:
        if users.there_are_any(session):
            return None
    password = secrets.token_urlsafe(12)
    hashed = _hash(password)
    try:
        with parts.store.write(graph=False) as session:
            if users.there_are_any(session):
                return None
            users.add(session, name="admin", role="admin", password_hash=hashed)
            _audit(session, None, "user.create", "user admin", {"role": "admin"})
    except IntegrityError:  # another process was faster: its password is the one that counts
        return None
    return password


def authenticate(parts: Parts, name: str, password: str) -> Identity:
    """The user with this name and password. The refusal does not tell which of the two was wrong."""
    with glance_and_look(parts.registry, parts.store) as session:
        row = None
        if "\x00" not in name and len(name) <= names.PLAIN_NAME_MAX:
            row = users.of_name(session, name)
    right = _verify(row.password_hash if row is not None and row.password_hash else _NOBODY, password)
    if row is None or not right:
        raise Unauthenticated("The name or the password is wrong.")
    if row.locked:
        raise Unauthenticated("This user is locked; an administrator can unlock it.")
    return Identity(name=row.name, role=row.role, user_id=row.id, epoch=row.epoch)


def identity_of_session(parts: Parts, *, user_id: int, epoch: int) -> Identity | None:
    """The user of a session, or None when the user is gone or locked, or the password has changed since it began."""
    with glance_and_look(parts.registry, parts.store) as session:
        row = users.of_id(session, user_id)
    if row is None or row.locked or row.epoch != epoch:
        return None
    return Identity(name=row.name, role=row.role, user_id=row.id, epoch=row.epoch)


def identity_of_token(parts: Parts, token: str) -> Identity:
    """The user or node that a bearer token belongs to; never with more rights than the user has now."""
    refusal = Unauthenticated("The token is not valid: it is misspelt, has expired or was revoked.")
    found = _TOKEN.fullmatch(token)
    if found is None or int(found[1]) > ID_MAX:
        raise refusal
    with glance_and_look(parts.registry, parts.store) as session:
        row = tokens.of_id(session, int(found[1]))
        now = parts.store.now(session)
    right = hmac.compare_digest(_digest(found[2]), row.secret_hash if row is not None else _digest(""))
    if row is None or not right or (row.expires_at is not None and row.expires_at <= now) or row.locked:
        raise refusal
    if row.last_used_at is None or now - row.last_used_at > LAST_USED_EVERY:
        _used(parts, row.id, now)
    if row.node_id is not None:
        return Identity(name=row.node_name, role="node", node_id=row.node_id, purpose=row.purpose)
    role = min(row.role, row.user_role, key=ROLES.index)
    return Identity(name=row.user_name, role=role, user_id=row.user_id, epoch=row.epoch)


def _used(parts: Parts, token_id: int, now: datetime) -> None:
    try:
        with parts.store.write(graph=False) as session:
            tokens.note_used(session, now, token_id)
    except Unavailable:
        pass  # a busy or full database keeps nobody out for the sake of this note


# ---------------------------------------------------------------- users


def create_user(parts: Parts, actor: Actor, *, name: str, password: str, role: str = "viewer") -> int:
    name = names.plain_name(name, what="user")
    _check_role(role)
    hashed = _hash(_check_password(password))
    with parts.store.write(graph=False) as session:
        _check_free(session, name)
        user_id = users.add(session, name=name, role=role, password_hash=hashed)
        _audit(session, actor, "user.create", f"user {name}", {"role": role})
        return user_id


def put_user(session: Session, now: datetime, actor: Actor, *, name: str, password: str, role: str) -> bool:
    """Make a user, or give the one of that name this password, in a transaction that is open. Whether one was made."""
    name = names.plain_name(name, what="user")
    _check_role(role)
    hashed = _hash(_check_password(password))
    known = users.of_name(session, name)
    if known is None:
        users.add(session, name=name, role=role, password_hash=hashed)
        _audit(session, actor, "user.create", f"user {name}", {"role": role})
    else:
        _give_password(session, now, actor, known, hashed)
    return known is None


def _give_password(session: Session, now: datetime, actor: Actor, user: Any, hashed: str, **detail: Any) -> None:
    users.set_password(session, now, user.id, hashed)
    sessions.remove_of_user(session, user.id)
    _audit(session, actor, "user.password", f"user {user.name}", detail)


def change_user(parts: Parts, actor: Actor, user_id: int, changes: Mapping[str, Any]) -> None:
    """Change ``name`` or ``role``. The last administrator keeps that role."""
    values = dict(changes)
    unknown = set(values) - {"name", "role"}
    if unknown:
        raise BadInput(f"A user has no field {', '.join(sorted(unknown))} that can be changed; name and role can.")
    if not values:
        return
    if "name" in values:
        values["name"] = names.plain_name(values["name"], what="user")
    if "role" in values:
        _check_role(values["role"])
    with parts.store.write(graph=False) as session:
        if values.get("role", "admin") == "admin":
            user = _user(session, user_id)
        else:
            user = _user_who_may_go(session, user_id, "made less than an administrator")
        if "name" in values:
            _check_free(session, values["name"], but=user_id)
        users.change(session, parts.store.now(session), user_id, **values)
        was = {"name": user.name, "role": user.role}
        _audit(session, actor, "user.change", f"user {user.name}", {**values, "changed": differences(was, values)})


def set_password(parts: Parts, actor: Actor, user_id: int, password: str, *, revoke_tokens: bool = False) -> int:
    """Give a user a new password. Every session that began with the old one is dead.

    Tokens are credentials of their own, which programs use: they go on, unless ``revoke_tokens``. Returns how many of
    the user's tokens there are (then: were).
    """
    hashed = _hash(_check_password(password))
    with parts.store.write(graph=False) as session:
        user = _user(session, user_id)
        held = tokens.count_of_user(session, user_id)
        if revoke_tokens:
            tokens.remove_of_user(session, user_id)
        told = {"tokens_revoked": held} if revoke_tokens else {}
        _give_password(session, parts.store.now(session), actor, user, hashed, **told)
        return held


def lock(parts: Parts, actor: Actor, user_id: int) -> None:
    """Keep a user out: their sessions and tokens stop working until ``unlock``."""
    with parts.store.write(graph=False) as session:
        user = _user_who_may_go(session, user_id, "locked")
        users.change(session, parts.store.now(session), user_id, locked=True)
        _audit(session, actor, "user.lock", f"user {user.name}", {})


def unlock(parts: Parts, actor: Actor, user_id: int) -> None:
    with parts.store.write(graph=False) as session:
        user = _user(session, user_id)
        users.change(session, parts.store.now(session), user_id, locked=False)
        _audit(session, actor, "user.unlock", f"user {user.name}", {})


def delete_user(parts: Parts, actor: Actor, user_id: int) -> None:
    """Remove a user with all their tokens."""
    with parts.store.write(graph=False) as session:
        user = _user_who_may_go(session, user_id, "deleted")
        users.remove(session, user_id)
        _audit(session, actor, "user.delete", f"user {user.name}", {})


def _user(session: Session, user_id: int) -> Any:
    return or_missing(users.of_id(session, user_id, lock=True), "user", user_id)


def _user_who_may_go(session: Session, user_id: int, what: str) -> Any:
    """The user, unless it is the last administrator who would be gone by this.

    All administrators' rows are locked before the user's own, always in this order, so that of two requests that each
    take the other's administrator away the second one sees what the first one did.
    """
    admins = users.lock_administrators(session)
    user = _user(session, user_id)
    if admins == [user.id]:
        raise Refused(f"User {user.name} is the last administrator and cannot be {what}: make another one first.")
    return user


def _check_free(session: Session, name: str, *, but: int = 0) -> None:
    if users.has(session, name, but=but):
        raise Refused(f"There is already a user {name} (upper and lower case count as the same): take another name.")


def _check_role(role: str) -> None:
    if role not in ROLES:
        detail = f"A user's role is one of {', '.join(ROLES)}."
        raise BadInput(detail, errors=(FieldError(pointer="/role", detail=detail),))


def _check_password(password: str) -> str:
    detail = ""
    if len(password) < PASSWORD_MIN:
        detail = f"A password has at least {PASSWORD_MIN} characters."
    elif len(password) > PASSWORD_MAX:
        detail = f"A password has at most {PASSWORD_MAX} characters."
    elif "\x00" in password:
        detail = "A password may not hold a NUL character."
    elif not password.strip():
        detail = "A password is not made of blanks alone."
    if detail:
        raise BadInput(detail, errors=(FieldError(pointer="/password", detail=detail),))
    return password


# ---------------------------------------------------------------- tokens


def create_token(
    parts: Parts,
    actor: Actor,
    *,
    user_id: int | None = None,
    node_id: int | None = None,
    name: str = "",
    role: str | None = None,
    purpose: str = "",
    expires_at: datetime | None = None,
) -> str:
    """Make a token for a user or a node, and return it: it cannot be shown again.

    A user's token has at most the rights of the one who makes it; a node's token has the role ``node``, and takes the
    place of its older one of that ``purpose``.
    """
    if (user_id is None) == (node_id is None):
        raise BadInput("A token belongs either to a user or to a node: give one of user_id and node_id.")
    name = names.label(name, what="token")
    if expires_at is not None and expires_at.tzinfo is None:
        raise BadInput("expires_at needs a time zone, for example 2030-01-31T12:00:00Z.")
    secret = secrets.token_urlsafe(32)
    with parts.store.write(graph=False) as session:
        if expires_at is not None and expires_at <= parts.store.now(session):
            raise BadInput("expires_at is in the past: the token would never be valid.")
        if node_id is not None:
            if node_fields.name_of(session, node_id) is None:
                raise NotFound(f"There is no node {node_id}.")
            if role not in (None, "node"):
                raise BadInput("A node's token has the role node.")
            return node_token(session, actor, node_id, name=name, purpose=purpose, expires_at=expires_at)
        assert user_id is not None
        if purpose:
            raise BadInput("Only tokens of nodes have a purpose.")
        user = _user(session, user_id)
        owner, role = user.name, role or user.role
        _check_role(role)
        if ROLES.index(role) > ROLES.index(user.role):
            raise BadInput(f"User {owner} is {user.role}: a token cannot be more than its user.")
        if actor.role in ROLES and ROLES.index(role) > ROLES.index(actor.role):
            raise Forbidden(f"You are {actor.role} here: you cannot make a token that is {role}.")
        token_id = tokens.add_of_user(
            session, user_id, name=name, role=role, secret_hash=_digest(secret), expires_at=expires_at
        )
        _audit(session, actor, "token.create", f"token {token_id}", {"owner": owner, "role": role, "name": name})
    return f"cb_{token_id}_{secret}"


def node_token(
    session: Session, actor: Actor, node_id: int, *, name: str = "", purpose: str = "", expires_at: datetime | None
) -> str:
    """Make a token for a node that is there, in a transaction that is open. The older one of that purpose is gone."""
    if purpose:
        names.plain_name(purpose, what="purpose")
    secret = secrets.token_urlsafe(32)
    owner = node_fields.name_of(session, node_id)
    token_id = tokens.add_of_node(
        session, node_id, name=name, purpose=purpose, secret_hash=_digest(secret), expires_at=expires_at
    )
    _audit(session, actor, "token.create", f"token {token_id}",
           {"owner": owner, "role": "node", "name": name, "purpose": purpose})  # fmt: skip
    return f"cb_{token_id}_{secret}"


def token_id_of(token: str) -> int:
    """The id that a token carries in itself."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise BadInput("This is not a token.")
    return int(found[1])


def revoke_token(parts: Parts, actor: Actor, token_id: int) -> None:
    with parts.store.write(graph=False) as session:
        if not tokens.remove(session, token_id):
            raise NotFound(f"There is no token {token_id}.")
        _audit(session, actor, "token.revoke", f"token {token_id}", {})


# ---------------------------------------------------------------- hashes, audit


class _Hashing:
    """Lets few passwords be hashed at once, and few wait for it: each takes a core and 19 MB, and a thread meanwhile.
    The rest of the machine is for those who have signed in already.
    """

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(HASHES_AT_ONCE + HASHES_WAITING)
        self._turn = threading.BoundedSemaphore(HASHES_AT_ONCE)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise Unavailable("Too many passwords are to be checked at this moment: try again in a few seconds.")
        try:
            with self._turn:
                yield
        finally:
            self._places.release()


_hashing: Final = _Hashing()


def _hash(password: str) -> str:
    with _hashing():
        return _HASHER.hash(password)


def _verify(hashed: str, password: str) -> bool:
    if len(password) > PASSWORD_MAX:
        return False
    with _hashing():
        try:
            return _HASHER.verify(hashed, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _audit(session: Session, actor: Actor | None, action: str, subject: str, detail: Mapping[str, Any]) -> None:
    by, remote = (actor.name, actor.remote) if actor else ("crowbar", "")
    audits.append(session, action, [(subject, detail)], actor=by, remote=remote)
