"""Nobody waits for ever for the database: not for the lock of all changes, nor for an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from crowbar_core.errors import Held, Unavailable
from crowbar_core.settings import Settings
from crowbar_core.store.db import Store
from crowbar_core.store.patience import MARGIN_SECONDS, Patience, process_label
from tests.acceptance.proxy import BadWire
from tests.services import PostgresServer, database_name, wait_until

SHORT = Patience(lock=0.3, statement=30.0, idle=30.0)
Open = Callable[..., Store]


@pytest.fixture
def opened(ready_database: str) -> Iterator[Open]:
    """Stores on one database; each stands for a process of its own."""
    made: list[Store] = []

    def store(patience: Patience = SHORT, url: str = ready_database) -> Store:
        made.append(Store(url, patience=patience))
        return made[-1]

    yield store
    for one in made:
        one.close()


@pytest.fixture
def postgres(postgres_server: PostgresServer, postgres_template: str) -> Iterator[Open]:
    url = postgres_server.create_database(template=database_name(postgres_template))
    made: list[Store] = []

    def store(patience: Patience = SHORT, url: str = url) -> Store:
        made.append(Store(url, patience=patience))
        return made[-1]

    yield store
    for one in made:
        one.close()
    postgres_server.drop_database(url)


@contextmanager
def holding(store: Store, **how: bool) -> Iterator[None]:
    with store.write(**how) as session:
        session.execute(text("SELECT 1"))
        yield


def change(store: Store, **how: bool) -> None:
    with holding(store, **how):
        pass


def test_a_change_does_not_wait_for_ever_for_somebody_elses(opened: Open) -> None:
    mine, other = opened(), opened()
    with holding(other), capture_logs() as logs:
        with pytest.raises(Held, match=r"has been changing the cluster for 0\.3 s\. Try again"):
            change(mine)
        with pytest.raises(Held):
            mine.try_graph(0.2)
        with mine.read() as session:
            assert session.scalar(text("SELECT 1")) == 1, "who only reads waits for nobody"
    (said,) = [one for one in logs if one["event"] == "the database is held by somebody else"]
    assert len(said["holders"]) == 1
    holder = process_label() if mine.postgresql else f"process {process_label().rpartition('/')[2]}"
    assert holder in said["holders"][0]
    mine.try_graph()
    change(mine)


def test_who_may_take_as_long_as_needed_waits_longer(opened: Open) -> None:
    mine, other = opened(), opened()
    had = threading.Event()

    def migrate() -> None:
        change(mine, patient=True)
        had.set()

    waiting = threading.Thread(target=migrate)
    with holding(other):
        waiting.start()
        with pytest.raises(Held):
            change(opened())
        assert not had.is_set()
    waiting.join(30)
    assert had.is_set()


def test_by_default_a_change_is_answered_within_ten_seconds() -> None:
    assert Settings().database_lock_seconds == Patience().lock
    assert Settings().database_statement_seconds == Patience().statement
    assert Settings().database_idle_seconds == Patience().idle
    assert 0 < Patience().lock + MARGIN_SECONDS <= 10


@pytest.mark.postgres
def test_a_transaction_whose_process_says_nothing_is_ended_and_others_go_on(postgres: Open) -> None:
    stopped, other = postgres(Patience(idle=2.0)), postgres()

    def other_can_write() -> bool:
        try:
            change(other)
        except Held:
            return False
        return True

    def fall_silent() -> None:
        with stopped.write() as session:
            session.execute(text("INSERT INTO leases (name, holder, until) VALUES ('x', 'y', now())"))
            wait_until(other_can_write, seconds=120, what="the database ends the silent transaction")
            session.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        fall_silent()
    with other.read() as session:
        assert session.scalar(text("SELECT count(*) FROM leases")) == 0
    change(stopped)


@pytest.mark.postgres
def test_a_statement_without_end_is_ended_unless_it_may_take_as_long_as_it_needs(postgres: Open) -> None:
    store = postgres(Patience(statement=0.3))
    with pytest.raises(Unavailable, match="statement timeout"), store.read() as session:
        session.execute(text("SELECT pg_sleep(60)"))
    with store.write(patient=True) as session:
        session.execute(text("SELECT pg_sleep(1)"))
    # The same connection, when it serves somebody else, is bound again.
    with pytest.raises(Unavailable, match="statement timeout"), store.write() as session:
        session.execute(text("SELECT pg_sleep(60)"))


@pytest.mark.postgres
def test_an_answer_that_never_comes_is_not_waited_for(
    postgres: Open, postgres_server: PostgresServer, postgres_template: str
) -> None:
    there = postgres()
    wire = BadWire(f"{postgres_server.directory}/.s.PGSQL.{postgres_server.port}")
    name = database_name(there.url)
    url = f"postgresql+psycopg2://{postgres_server.owner}:{postgres_server.password}@127.0.0.1:{wire.port}/{name}"
    store = postgres(Patience(statement=0.5, idle=30.0), url)

    def change_while_it_freezes() -> None:
        with store.write() as session:
            session.execute(text("SELECT 1"))
            wire.freeze()
            session.execute(text("SELECT 1"))

    try:
        with pytest.raises(Unavailable):
            change_while_it_freezes()
        with pytest.raises(Unavailable):
            change(store)
        wire.thaw()
        change(store)
    finally:
        wire.close()
