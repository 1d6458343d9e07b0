"""People and tokens in the services, without HTTP."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from crowbar_core.errors import BadInput, CrowbarError, NotFound, Refused, Unauthenticated
from crowbar_core.services.build import build_parts
from crowbar_core.services.cluster import nodes
from crowbar_core.services.people import users
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import SYSTEM
from crowbar_core.store.models import Audit, Token, User
from tests.integration.api import settings


@pytest.fixture
def parts(database_url: str, tmp_path: Path) -> Iterator[Parts]:
    built = build_parts(settings(database_url, tmp_path))
    yield built
    built.close()


def _user(parts: Parts, name: str, role: str = "viewer") -> int:
    return users.create_user(parts, SYSTEM, name=name, password="long-enough", role=role)


def test_the_first_start_makes_an_administrator_once(parts: Parts) -> None:
    password = users.ensure_admin(parts)
    assert password is not None
    assert users.ensure_admin(parts) is None
    identity = users.authenticate(parts, "admin", password)
    assert (identity.name, identity.role) == ("admin", "admin")


def test_two_processes_that_start_at_once_make_one_administrator(parts: Parts) -> None:
    shown: list[str | None] = []
    threads = [threading.Thread(target=lambda: shown.append(users.ensure_admin(parts))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    (password,) = [one for one in shown if one is not None]
    assert users.authenticate(parts, "admin", password).role == "admin"


def test_a_password_is_neither_kept_nor_told(parts: Parts) -> None:
    _user(parts, "ann")
    with parts.store.read() as session:
        kept = session.scalars(select(User.password_hash)).one()
        trail = [str(row) for row in session.execute(select(Audit.action, Audit.subject, Audit.detail))]
    assert kept.startswith("$argon2id$")
    assert not [row for row in trail if "long-enough" in row or "argon2" in row]


@pytest.mark.parametrize("name", ["ann", "nobody", "", "a\x00b", "x" * 500])
def test_a_wrong_name_and_a_wrong_password_look_alike(parts: Parts, name: str) -> None:
    _user(parts, "ann")
    with pytest.raises(Unauthenticated) as refused:
        users.authenticate(parts, name, "wrong-password")
    assert refused.value.detail == "The name or the password is wrong."


def test_the_name_counts_without_regard_to_case(parts: Parts) -> None:
    _user(parts, "Ann")
    assert users.authenticate(parts, "aNN", "long-enough").name == "Ann"
    with pytest.raises(Refused):
        _user(parts, "ANN")


@pytest.mark.parametrize("password", ["", "short", "1234567", "        ", "with\x00nul-inside", "x" * 1025])
def test_a_password_that_is_none_is_refused(parts: Parts, password: str) -> None:
    with pytest.raises(BadInput) as refused:
        users.create_user(parts, SYSTEM, name="ann", password=password)
    assert [error.pointer for error in refused.value.errors] == ["/password"]
    if password.strip():
        assert password not in refused.value.detail


def test_a_locked_user_neither_comes_in_nor_stays_until_unlocked(parts: Parts) -> None:
    user = _user(parts, "ann")
    before = users.authenticate(parts, "ann", "long-enough")
    users.lock(parts, SYSTEM, user)
    with pytest.raises(Unauthenticated, match="locked"):
        users.authenticate(parts, "ann", "long-enough")
    assert users.identity_of_session(parts, user_id=user, epoch=before.epoch) is None
    users.unlock(parts, SYSTEM, user)
    assert users.authenticate(parts, "ann", "long-enough") == before
    assert users.identity_of_session(parts, user_id=user, epoch=before.epoch) == before


def test_a_new_password_ends_the_sessions_of_the_old_one(parts: Parts) -> None:
    user = _user(parts, "ann")
    before = users.authenticate(parts, "ann", "long-enough")
    assert users.identity_of_session(parts, user_id=user, epoch=before.epoch) == before
    users.set_password(parts, SYSTEM, user, "another-one")
    assert users.identity_of_session(parts, user_id=user, epoch=before.epoch) is None
    with pytest.raises(Unauthenticated):
        users.authenticate(parts, "ann", "long-enough")


def test_the_last_administrator_stays(parts: Parts) -> None:
    first, second = _user(parts, "ann", "admin"), _user(parts, "bob", "admin")
    users.lock(parts, SYSTEM, second)
    with pytest.raises(Refused, match="last administrator"):
        users.delete_user(parts, SYSTEM, first)
    with pytest.raises(Refused, match="last administrator"):
        users.lock(parts, SYSTEM, first)
    with pytest.raises(Refused, match="last administrator"):
        users.change_user(parts, SYSTEM, first, {"role": "operator"})
    users.unlock(parts, SYSTEM, second)
    users.delete_user(parts, SYSTEM, first)


def test_two_administrators_cannot_remove_each_other_at_once(parts: Parts) -> None:
    for _ in range(5):
        both = [_user(parts, "ann", "admin"), _user(parts, "bob", "admin")]
        gate = threading.Barrier(2)
        refused: list[CrowbarError] = []

        def remove(user: int, gate: threading.Barrier = gate, refused: list[CrowbarError] = refused) -> None:
            gate.wait(60)
            try:
                users.delete_user(parts, SYSTEM, user)
            except Refused as error:
                refused.append(error)

        threads = [threading.Thread(target=remove, args=(user,)) for user in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        with parts.store.read() as session:
            left = session.scalars(select(User.id).where(User.role == "admin")).all()
        assert len(left) == 1
        assert len(refused) == 1
        spare = _user(parts, "spare", "admin")
        users.delete_user(parts, SYSTEM, left[0])
        users.change_user(parts, SYSTEM, _user(parts, "keeper", "admin"), {"name": "kept"})
        users.delete_user(parts, SYSTEM, spare)
        with parts.store.write() as session:
            kept = session.scalars(select(User).where(User.name == "kept")).one()
            session.delete(kept)


def test_a_token_is_kept_as_a_digest_and_works_until_revoked(parts: Parts) -> None:
    user = _user(parts, "ann", "operator")
    token = users.create_token(parts, SYSTEM, user_id=user, name="laptop, at home")
    assert token.startswith(f"cb_{users.token_id_of(token)}_")
    assert users.identity_of_token(parts, token).role == "operator"
    with parts.store.read() as session:
        row = session.execute(select(Token.secret_hash, Token.last_used_at)).one()
    assert token.split("_", 2)[2] not in row.secret_hash
    assert row.last_used_at is not None
    users.change_user(parts, SYSTEM, user, {"role": "viewer"})
    assert users.identity_of_token(parts, token).role == "viewer"
    users.revoke_token(parts, SYSTEM, users.token_id_of(token))
    with pytest.raises(Unauthenticated):
        users.identity_of_token(parts, token)
    with pytest.raises(NotFound):
        users.revoke_token(parts, SYSTEM, users.token_id_of(token))


def test_a_nodes_token_goes_with_its_node(parts: Parts) -> None:
    node = nodes.create_node(parts, SYSTEM, name="a.b.example.com")
    token = users.create_token(parts, SYSTEM, node_id=node)
    identity = users.identity_of_token(parts, token)
    assert (identity.role, identity.node_id, identity.user_id) == ("node", node, None)
    nodes.delete_node(parts, SYSTEM, node)
    with pytest.raises(Unauthenticated):
        users.identity_of_token(parts, token)


def test_tokens_that_make_no_sense_are_refused(parts: Parts) -> None:
    user = _user(parts, "ann")
    node = nodes.create_node(parts, SYSTEM, name="a.b.example.com")
    now = datetime.now(UTC)
    for wrong in (
        {},
        {"user_id": user, "node_id": node},
        {"node_id": node, "role": "admin"},
        {"user_id": user, "role": "admin"},
        {"user_id": user, "role": "node"},
        {"user_id": user, "expires_at": now - timedelta(days=1)},
        {"user_id": user, "expires_at": datetime(2099, 1, 1)},  # noqa: DTZ001 - without a zone is what is tested
        {"user_id": user, "name": "two\nlines"},
    ):
        with pytest.raises(BadInput):
            users.create_token(parts, SYSTEM, **wrong)
    with pytest.raises(NotFound):
        users.create_token(parts, SYSTEM, user_id=999)


def test_what_the_installation_keeps_is_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        chosen = settings(f"sqlite:///{tmp_path}/made/deep/crowbar.sqlite", tmp_path / "made" / "deep")
        build_parts(chosen).close()
        # A copy is kept before the schema is changed, here by the migrations of installed barclamps.
        parts = build_parts(replace(chosen, disabled_barclamps=()))
        _user(parts, "ann")
        found = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "made" / "deep").rglob("*")}
        parts.close()
    finally:
        os.umask(before)
    assert {path.name for path in found} >= {"crowbar.sqlite", "crowbar.sqlite.before-upgrade", "secret.key"}
    assert stat.S_IMODE((tmp_path / "made" / "deep").stat().st_mode) == 0o700
    assert {path.name: oct(mode) for path, mode in found.items() if mode & 0o077} == {}
