"""A broken constraint is told in plain words: no SQL, no values, on both databases, whoever broke it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint
from sqlalchemy import delete, insert, text
from sqlalchemy.orm import Session

from crowbar_core import Barclamp, Role, hookimpl, requires
from crowbar_core.services.engine import reactions
from crowbar_core.store.models import Deployment, Group, User
from tests.integration.api import Api, serving

VALUE = "what-is-nobodys-business"


def _twice(session: Session) -> None:
    for _ in range(2):
        session.execute(insert(Group).values(name=VALUE, category="rack"))


def _nowhere(session: Session) -> None:
    session.execute(insert(Deployment).values(name=VALUE, parent_id=999_999))
    session.flush()


def _nothing(session: Session) -> None:
    session.execute(text("INSERT INTO groups (name, category) VALUES (NULL, 'rack')"))


def _wrong(session: Session) -> None:
    session.execute(insert(User).values(name=VALUE, role="emperor"))


def _no_table(session: Session) -> None:
    session.execute(text(f"SELECT '{VALUE}' FROM nothing_of_that_name"))


def _all_groups(session: Session) -> None:
    session.execute(delete(Group))


BREAKING: dict[str, tuple[Callable[[Session], None], str]] = {
    "unique": (_twice, "groups"),
    "empty": (_nothing, "name"),
    "check": (_wrong, "role"),
    "foreign": (_nowhere, ""),
    "no table": (_no_table, ""),
}


class Breaker:
    """A barclamp that breaks what it is told to, in a hook of a transaction, in one after it, and in a page."""

    def __init__(self) -> None:
        self.work: Callable[[Session], None] = lambda _session: None
        self.after = False
        self.api: Api | None = None

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="breaker", roles=(Role(name="fragile"),))

    @hookimpl
    def on_node_bind(self, node_role: Any, session: Session) -> None:
        if not self.after:
            self.work(session)

    @hookimpl
    def on_proposed(self, node_role: Any) -> None:
        if self.after:
            self._write()

    @hookimpl
    def register_blueprints(self) -> list[Blueprint]:
        made = Blueprint("breaker", __name__)

        @made.post("/api/v2/breaker")
        @requires("operator")
        def write() -> str:
            self._write()
            return "done"

        return [made]

    def _write(self) -> None:
        assert self.api is not None
        with self.api.parts.store.write(graph=False) as session:
            self.work(session)


@contextmanager
def breaking(url: str, directory: Path) -> Iterator[tuple[Api, Breaker]]:
    breaker = Breaker()
    with serving(url, directory, plugins=[("breaker", breaker)]) as api:
        breaker.api = api
        api.made("nodes", {"name": "a.b.example.com"})
        yield api, breaker


def is_plain(said: str) -> bool:
    return not any(word in said for word in (VALUE, "SQL", "INSERT", "SELECT", "psycopg2", "sqlite3.", "sqlalche"))


@pytest.mark.parametrize("what", BREAKING)
def test_a_constraint_that_a_hook_breaks_is_told_in_plain_words(database_url: str, tmp_path: Path, what: str) -> None:
    with breaking(database_url, tmp_path) as (api, breaker):
        breaker.work, says = BREAKING[what]
        answer = api.post("node_roles", {"node_id": "a.b.example.com", "role_id": "fragile"})
        assert answer.status_code in (409, 422, 500), answer.text
        assert is_plain(answer.text), answer.text
        if what != "no table":
            assert answer.status_code == 409
            assert "Barclamp breaker" in answer.text
        assert says in answer.text
        assert api.get("node_roles").get_json() == []


@pytest.mark.parametrize("what", BREAKING)
def test_a_constraint_that_is_broken_after_the_transaction_is_told_so_too(
    database_url: str, tmp_path: Path, what: str
) -> None:
    with breaking(database_url, tmp_path) as (api, breaker):
        breaker.work, says = BREAKING[what]
        breaker.after = True
        api.made("node_roles", {"node_id": "a.b.example.com", "role_id": "fragile"})
        reactions.Reactions(api.parts).deliver_due()
        (row,) = [one for one in api.get("events/deliveries").get_json() if one["hook"] == "on_proposed"]
        assert says in row["error"]
        assert is_plain(row["error"]), row["error"]


@pytest.mark.parametrize("what", ["unique", "empty", "check", "foreign"])
def test_a_constraint_that_a_route_breaks_is_a_conflict(database_url: str, tmp_path: Path, what: str) -> None:
    with breaking(database_url, tmp_path) as (api, breaker):
        breaker.work, says = BREAKING[what]
        answer = api.post("/api/v2/breaker")
        assert answer.status_code == 409
        assert answer.get_json()["code"] == "conflict"
        assert says in answer.text
        assert is_plain(answer.text), answer.text


def test_what_a_barclamp_still_refers_to_is_said_to_be_in_the_way(database_url: str, tmp_path: Path) -> None:
    with breaking(database_url, tmp_path) as (api, breaker):
        with api.parts.store.write() as session:
            session.execute(text("CREATE TABLE breaker_things (group_id INTEGER NOT NULL REFERENCES groups (id))"))
            key = session.scalar(insert(Group).values(name="g1", category="rack").returning(Group.id))
            session.execute(text(f"INSERT INTO breaker_things VALUES ({key})"))
        breaker.work = _all_groups
        for answer in (api.delete("groups/g1"), api.post("/api/v2/breaker")):
            assert answer.status_code == 409
            assert "breaker_things (of barclamp breaker) still refers to it" in answer.text
            assert is_plain(answer.text), answer.text
