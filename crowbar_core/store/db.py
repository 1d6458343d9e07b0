"""Transactions, the database's clock, and what differs between SQLite and PostgreSQL.

A transaction is either a reading one or a writing one, and says so when it starts. A writing one takes the one write
lock at once: on SQLite by BEGIN IMMEDIATE, on PostgreSQL (when it changes the graph) by an advisory lock. So every
decision is made on a state that nobody else is changing: no lost wake-up, no deadlock, the same behaviour on both.
Discarded: row locks in a fixed order on PostgreSQL. It is faster with many single-run writers, but two runs that finish
at once can then each miss that the other has freed a node. Batching, not parallel commits, is where the speed comes
from.
"""

from __future__ import annotations

import math
import re
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg2
import psycopg2.errors
from flask import Flask
from sqlalchemy import ColumnElement, Connection, Engine, Integer, bindparam, create_engine, event, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from crowbar_core.errors import ConfigError, Held, Unavailable
from crowbar_core.logs import log
from crowbar_core.store.among import among
from crowbar_core.store.compiled import COMPILED
from crowbar_core.store.holders import sqlite_writer, who_holds
from crowbar_core.store.models import db
from crowbar_core.store.patience import (
    MARGIN_SECONDS,
    PATIENT,
    Patience,
    Watch,
    connect_arguments,
    prepare,
    timeouts,
)

Reader = Session | Connection
"""Of what a question can be asked: a transaction of either kind, or a glance."""

ENGINE_LOCK = 0x63726F77  # the advisory lock that every change of the graph holds until its commit
CHANNEL = "crowbar"
_SUPPORTED = "sqlite:///PATH or postgresql+psycopg2://USER:PASSWORD@HOST/NAME"
_SHARED = {"compiled_cache": COMPILED}


_expected: ContextVar[Callable[[Session], None] | None] = ContextVar("crowbar_expected", default=None)


def expect(check: Callable[[Session], None] | None) -> None:
    """Have ``check`` called inside the next writing transaction of this request, before anything else is done there.

    What it raises ends the transaction. None: what was expected and not asked for yet is forgotten.
    """
    _expected.set(check)


_BUSY = "Somebody else has been changing the cluster for {:g} s. Try again in a moment; the log says who."
_TELL_AGAIN_SECONDS = 5.0
_NO_ROOM = ("disk is full", "No space left", "readonly database", "disk I/O error")


class Store:
    """Opens transactions on one database. ``clock`` replaces the database's time (tests)."""

    def __init__(
        self, url: str, *, clock: Callable[[], datetime] | None = None, pool_size: int = 20,
        patience: Patience | None = None,
    ) -> None:  # fmt: skip
        self.url = url
        self.patience = patience or Patience()
        self._watch = Watch(self.patience)
        self._left = threading.local()
        self._told = float("-inf")
        self.engine = open_engine(url, pool_size=pool_size, watch=self._watch, busy_seconds=self._busy_seconds)
        self.app = Flask("crowbar_core.store", static_folder=None)
        """Carries the engine where there is no web application: hooks, jobs and runs are called in its context."""
        self.postgresql = self.engine.dialect.name == "postgresql"
        self._reading = self.engine.execution_options(crowbar_write=False)
        self._glancing = self.engine.execution_options(crowbar_write=None)
        self.carried_by(self.app)
        self._writing = self.engine.execution_options(crowbar_write=True)
        self._clock = clock
        self.cannot_write: str | None = None
        """Why the last writing transaction failed, when it was for the database's sake."""
        self._writer = threading.Lock()
        self.token = secrets.token_hex(8)
        """Tells this store's notifications from those of other processes."""

    def now(self, session: Session | Connection) -> datetime:
        """The database's time, aware, UTC. Leases compare with nothing else."""
        return self._clock() if self._clock is not None else now_of(session)

    def carried_by(self, app: Flask) -> None:
        """Have ``db.engine`` and ``db.session`` belong to this store in the contexts of ``app``. They read."""
        db.carry(app, self.url, self._reading)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A reading transaction: one consistent picture. Nothing is written."""
        with _plain_errors(), Session(self._reading, autoflush=False) as session:
            if self.postgresql:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            with db.session.being(session):
                yield session
            session.rollback()

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """A connection that reads, for one question: without a session, at less than half of what ``read`` costs. On
        SQLite each question is a transaction of its own.
        """
        with _plain_errors(), self._glancing.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, graph: bool = True, patient: bool = False) -> Iterator[Session]:
        """A writing transaction; commits at the end, rolls back when the block raises.

        ``graph=False`` (logs, heartbeats, users) does not take PostgreSQL's advisory lock. What is ``patient``
        (migrations) may take as long as it needs. Raises ``Held`` when the lock is not to be had in time.
        """
        patience = PATIENT if patient else self.patience
        try:
            with (
                self._turn(patience.lock), self._plain_errors(), Session(self._writing, autoflush=False) as session,
                session.begin(),
            ):  # fmt: skip
                if self.postgresql:
                    self._begin(session, patience, graph=graph)
                if (check := _expected.get()) is not None:
                    expect(None)
                    check(session)
                with db.session.being(session):
                    yield session
        except Held:
            raise
        except Unavailable as error:
            self.cannot_write = error.detail
            raise
        self.cannot_write = None

    @contextmanager
    def rebuild(self) -> Iterator[Session]:
        """A patient writing transaction in which tables may be made anew. On SQLite that is dropping the old one, which
        deletes what refers to it ON DELETE CASCADE, so foreign keys do not act meanwhile: whoever calls looks at
        ``dangling`` before and after.
        """
        if self.postgresql:
            with self.write(patient=True) as session:
                yield session
            return
        engine = open_engine(self.url, pool_size=1, watch=self._watch, busy_seconds=self._busy_seconds)
        event.listen(engine, "connect", lambda raw, _record: raw.execute("PRAGMA foreign_keys=OFF"))
        try:
            with self._turn(PATIENT.lock), self._plain_errors(), Session(engine) as session, session.begin():
                yield session
        finally:
            engine.dispose()

    def dangling(self, session: Session) -> Counter[tuple[str, str]]:
        """How many rows of one table refer to rows of another that are not there. PostgreSQL lets none come to be."""
        if self.postgresql:
            return Counter()
        rows = session.execute(text("PRAGMA foreign_key_check")).all()
        return Counter((str(row.table), str(row.parent)) for row in rows)

    def try_graph(self, seconds: float = 3.0) -> None:
        """Go through the door that every change goes through, and out again. Raises ``Held`` if it is shut for so
        long.
        """
        with (
            self._turn(seconds), self._plain_errors(seconds), Session(self._writing, autoflush=False) as session,
            session.begin(),
        ):  # fmt: skip
            session.connection()  # on SQLite this is the door
            if self.postgresql:
                self._begin(session, replace(self.patience, lock=seconds), graph=True)
            session.rollback()

    def _begin(self, session: Session, patience: Patience, *, graph: bool) -> None:
        if patience is not self.patience:
            for name, value in timeouts(patience).items():
                session.execute(text(f"SET LOCAL {name} = '{value}'"))
        if not graph:
            return
        raw: Any = session.connection().connection.dbapi_connection
        try:
            raw.bound = patience.lock + MARGIN_SECONDS if patience.lock else math.inf
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ENGINE_LOCK})
        finally:
            raw.bound = None if patience.statement else math.inf

    @contextmanager
    def _turn(self, seconds: float) -> Iterator[None]:
        """SQLite's writers queue up here: its own way of waiting is to ask again now and then, which may starve one of
        many. What is left of ``seconds`` is for those of other processes.
        """
        if self.postgresql:
            yield
            return
        until = time.monotonic() + (seconds or PATIENT.lock)
        if not self._writer.acquire(timeout=seconds or threading.TIMEOUT_MAX):
            raise Held(_BUSY.format(seconds))
        try:
            self._left.seconds = max(0.1, until - time.monotonic())
            yield
        finally:
            self._left.seconds = None
            self._writer.release()

    def _busy_seconds(self) -> float:
        """How long SQLite may ask whether another process has ended its change."""
        return getattr(self._left, "seconds", None) or self.patience.lock or PATIENT.lock

    @contextmanager
    def _plain_errors(self, seconds: float | None = None) -> Iterator[None]:
        """As ``_plain_errors``; and of a lock that was not to be had, the log says who holds it."""
        try:
            with _plain_errors():
                yield
        except Unavailable as error:
            if not _is_locked(error.__cause__):
                raise
            waited = self.patience.lock if seconds is None else seconds
            self._tell_holders(waited)
            raise Held(_BUSY.format(waited)) from error

    def _tell_holders(self, waited: float) -> None:
        """Once for all who have waited for the same."""
        now = time.monotonic()
        if now - self._told > _TELL_AGAIN_SECONDS:
            self._told = now
            log.error("the database is held by somebody else", waited=waited, holders=self._holders())

    def _holders(self) -> list[str]:
        if not self.postgresql:
            return sqlite_writer(self.url.removeprefix("sqlite:///"))
        try:
            with _plain_errors(), self._reading.connect() as connection:
                return who_holds(connection)
        except (Unavailable, SQLAlchemyError) as error:
            return [f"nobody could be asked: {str(error).splitlines()[0]}"]

    def notify(self, session: Session) -> None:
        """Wake the annealers of other processes when this transaction commits (PostgreSQL; elsewhere they poll)."""
        if self.postgresql:
            session.execute(text(f"NOTIFY {CHANNEL}, '{self.token}'"))

    def ids(self, column: Any, values: Iterable[int], name: str = "ids") -> ColumnElement[bool]:
        """``column IN values`` with one parameter, however many values there are."""
        if self.postgresql:
            given = bindparam(name, self.id_values(values), type_=ARRAY(Integer), unique=True)
        else:
            given = bindparam(name, self.id_values(values), unique=True)
        return among(column, given)

    def id_values(self, values: Iterable[int]) -> Any:
        """Ids as the parameter of ``ids_named``."""
        listed = list(values)
        return listed if self.postgresql else orjson.dumps(listed).decode()

    def close(self) -> None:
        self.engine.dispose()
        self._watch.close()


def ids_named(column: Any, name: str, *, postgresql: bool) -> ColumnElement[bool]:
    """``column IN (the parameter of this name)``, for statements that are built once."""
    return among(column, bindparam(name, type_=ARRAY(Integer) if postgresql else None))


def now_of(session: Session | Connection) -> datetime:
    """The time of the session's database, aware, UTC."""
    bind = session if isinstance(session, Connection) else session.get_bind()
    if bind.dialect.name == "postgresql":
        moment = session.scalar(select(func.clock_timestamp()))
        assert isinstance(moment, datetime)
        return moment.astimezone(UTC)
    return datetime.now(UTC)  # SQLite is one host: its clock is ours


def open_engine(url: str, *, pool_size: int, watch: Watch, busy_seconds: Callable[[], float]) -> Engine:
    """An engine with the pragmas, time-outs and BEGINs of its database. Raises ``ConfigError`` for any other URL."""
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)  # it holds password hashes and what nodes reported
        except OSError as error:
            raise ConfigError(
                f"The data directory {path.parent} cannot be made: {error.strerror}. Set data_dir."
            ) from error
        engine = create_engine(
            url, json_serializer=_dumps, json_deserializer=_loads, pool_size=pool_size, max_overflow=100,
            hide_parameters=True, connect_args={"check_same_thread": False}, execution_options=_SHARED,
        )  # fmt: skip
        event.listen(engine, "connect", _open_sqlite)
        event.listen(engine, "begin", lambda connection: _begin_sqlite(connection, busy_seconds()))
        return engine
    if re.match(r"postgresql(\+psycopg2)?://", url):
        engine = create_engine(
            url, json_serializer=_dumps, json_deserializer=_loads, pool_size=pool_size, max_overflow=100,
            hide_parameters=True, pool_pre_ping=True, connect_args=connect_arguments(watch), execution_options=_SHARED,
        )  # fmt: skip
        event.listen(engine, "connect", lambda connection, _record: prepare(connection, watch.patience))
        return engine
    scheme = url.partition(":")[0]
    raise ConfigError(f"The database URL has the scheme {scheme!r}, which is not supported. Use {_SUPPORTED}.")


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def _loads(value: Any) -> Any:
    # A column of the type JSON has numeric affinity in SQLite: a bare number comes back as one, not as text.
    return value if isinstance(value, int | float) else orjson.loads(value)


def _open_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "cache_size=-2000",
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection, busy_seconds: float) -> None:
    write = connection.get_execution_options().get("crowbar_write", True)
    if write is None:
        return
    if write:
        raw: Any = connection.connection.dbapi_connection
        raw.execute(f"PRAGMA busy_timeout={int(busy_seconds * 1000)}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn a database that does not answer into ``Unavailable``; leave every other error as it is."""
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_ERROR:
            raise  # it answers: that what it was asked is wrong
        said = str(error.orig).strip().splitlines()[0]
        full = any(words in said for words in _NO_ROOM)
        raise Unavailable(f"The database {'cannot write' if full else 'does not answer'}: {said}.") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable("The connection to the database was lost.") from error
        raise


def _is_locked(error: BaseException | None) -> bool:
    said = getattr(error, "orig", None)
    return isinstance(said, psycopg2.errors.LockNotAvailable) or (
        isinstance(said, sqlite3.OperationalError) and "database is locked" in str(said)
    )


class Listener:
    """Waits for ``Store.notify`` of other processes: LISTEN on PostgreSQL; nothing to hear on SQLite."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection: Any = None

    def wait(self, timeout: float, select_: Callable[[Sequence[Any], float], bool]) -> bool:
        """True when something was heard within ``timeout`` seconds. Reconnects by itself; a lost connection counts as
        heard.
        """
        if not self._store.postgresql:
            time.sleep(timeout)
            return False
        try:
            if self._connection is None:
                self._connection = psycopg2.connect(_dsn(self._store.engine), connect_timeout=5)
                self._connection.autocommit = True
                with self._connection.cursor() as cursor:
                    cursor.execute(f"LISTEN {CHANNEL}")
                return True
            if not select_([self._connection], timeout):
                return False
            self._connection.poll()
            heard = any(one.payload != self._store.token for one in self._connection.notifies)
            self._connection.notifies.clear()
            return heard
        except psycopg2.Error:
            self.close()
            time.sleep(min(timeout, 1.0))
            return True

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _dsn(engine: Engine) -> str:
    url = engine.url.set(drivername="postgresql")
    return url.render_as_string(hide_password=False)
