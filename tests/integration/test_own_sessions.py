"""Flask-SQLAlchemy carries models, metadata and engines; its session belongs to the transaction that one is in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.exc import InvalidRequestError

from crowbar_core.store.db import Store
from crowbar_core.store.migrate import upgrade
from crowbar_core.store.models import Lease, db

UNTIL = datetime(2031, 5, 1, tzinfo=UTC)


def lease(name: str) -> Lease:
    return Lease(name=name, holder="me", until=UNTIL)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    made = Store(database_url)
    upgrade(made, [])
    yield made
    made.close()


def names() -> list[str]:
    return list(db.session.scalars(select(Lease.name).order_by(Lease.name)))


def test_inside_a_change_the_session_is_the_changes(store: Store) -> None:
    with store.write() as session:
        db.session.add(lease("mine"))
        assert db.session() is session
    with store.read():
        assert names() == ["mine"]


def test_what_a_change_wrote_is_seen_by_queries_of_models_in_it(store: Store) -> None:
    with store.write() as session:
        session.add(lease("mine"))
        session.flush()
        assert [one.name for one in db.session.query(Lease)] == ["mine"]
        inner = Flask("inner")
        with inner.app_context():  # whatever context one is in
            assert names() == ["mine"]


def test_a_change_that_is_rolled_back_takes_along_what_was_added(store: Store) -> None:
    def fails() -> None:
        with store.write():
            db.session.add(lease("mine"))
            db.session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    with store.read():
        assert names() == []


def test_outside_of_a_transaction_the_session_of_a_context_reads_and_refuses_to_write(store: Store) -> None:
    with store.write() as session:
        session.add(lease("there"))
    with store.app.app_context():
        assert names() == ["there"]
        db.session.add(lease("mine"))
        with pytest.raises(InvalidRequestError, match=r"cluster\(\)\.change"):
            db.session.flush()
        db.session.expunge_all()
        with pytest.raises(InvalidRequestError, match=r"cluster\(\)\.change"):
            db.session.commit()
    with store.app.app_context():  # and holds up no writer meanwhile
        assert names() == ["there"]
        with store.write() as session:
            session.add(lease("another"))
    with store.read():
        assert names() == ["another", "there"]


def test_outside_of_everything_there_is_no_session() -> None:
    with pytest.raises(RuntimeError, match="application context"):
        names()


def test_two_applications_of_one_process_have_the_engines_of_their_stores(
    store: Store, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Store(f"sqlite:///{tmp_path_factory.mktemp('other')}/other.db")
    try:
        with store.app.app_context():
            first = db.engine.url
        with other.app.app_context():
            assert db.engine.url != first
            assert str(db.engine.url) == other.url
        face = Flask("face")
        store.carried_by(face)
        with face.app_context():
            assert db.engine.url == first
    finally:
        other.close()
