"""Transactions, the database's clock, and what differs between SQLite and PostgreSQL.

A transaction is either a reading one or a writing one, and says so when it starts. A writing one takes the one write
lock at once: on SQLite by BEGIN IMMEDIATE, on PostgreSQL (when it changes the graph) by an advisory lock. So every
decision is made on a state that nobody else is changing: no lost wake-up, no deadlock, the same behaviour on both.
Discarded: row locks in a fixed order on PostgreSQL. It is faster with many single-run writers, but two runs that finish
at once can then each miss that the other has freed a node. Batching, not parallel commits, is where the speed comes
from.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg2
from sqlalchemy import ColumnElement, Connection, Engine, Integer, bindparam, create_engine, event, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from crowbar_core.errors import ConfigError, Unavailable

ENGINE_LOCK = 0x63726F77  # the advisory lock that every change of the graph holds until its commit
CHANNEL = "crowbar"
BUSY_SECONDS = 30.0
_SUPPORTED = "sqlite:///PATH or postgresql+psycopg2://USER:PASSWORD@HOST/NAME"


_expected: ContextVar[Callable[[Session], None] | None] = ContextVar("crowbar_expected", default=None)


def expect(check: Callable[[Session], None] | None) -> None:
    """Have ``check`` called inside the next writing transaction of this request, before anything else is done there.

    What it raises ends the transaction. None: what was expected and not asked for yet is forgotten.
    """
    _expected.set(check)


_NO_ROOM = ("disk is full", "No space left", "readonly database", "disk I/O error")


class Store:
    """Opens transactions on one database. ``clock`` replaces the database's time (tests)."""

    def __init__(self, url: str, *, clock: Callable[[], datetime] | None = None, pool_size: int = 20) -> None:
        self.url = url
        self.engine = open_engine(url, pool_size=pool_size)
        self.postgresql = self.engine.dialect.name == "postgresql"
        self._reading = self.engine.execution_options(crowbar_write=False)
        self._writing = self.engine.execution_options(crowbar_write=True)
        self._clock = clock
        self.cannot_write: str | None = None
        """Why the last writing transaction failed, when it was for the database's sake."""
        self._writer = threading.Lock()
        self.token = secrets.token_hex(8)
        """Tells this store's notifications from those of other processes."""

    def now(self, session: Session) -> datetime:
        """The database's time, aware, UTC. Leases compare with nothing else."""
        return self._clock() if self._clock is not None else now_of(session)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A reading transaction: one consistent picture. Nothing is written."""
        with _plain_errors(), Session(self._reading, autoflush=False) as session:
            if self.postgresql:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session
            session.rollback()

    @contextmanager
    def write(self, *, graph: bool = True) -> Iterator[Session]:
        """A writing transaction; commits at the end, rolls back when the block raises.

        ``graph=False`` (logs, heartbeats, users) does not take PostgreSQL's advisory lock.
        """
        try:
            with self._turn(), _plain_errors(), Session(self._writing, autoflush=False) as session, session.begin():
                if graph and self.postgresql:
                    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ENGINE_LOCK})
                if (check := _expected.get()) is not None:
                    expect(None)
                    check(session)
                yield session
        except Unavailable as error:
            self.cannot_write = error.detail
            raise
        self.cannot_write = None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """SQLite's writers queue up here: its own way of waiting is to ask again now and then, which may starve one of
        many.
        """
        if self.postgresql:
            yield
            return
        if not self._writer.acquire(timeout=BUSY_SECONDS):
            raise Unavailable(f"The database has been busy for {BUSY_SECONDS:g} s. Try again.")
        try:
            yield
        finally:
            self._writer.release()

    def notify(self, session: Session) -> None:
        """Wake the annealers of other processes when this transaction commits (PostgreSQL; elsewhere they poll)."""
        if self.postgresql:
            session.execute(text(f"NOTIFY {CHANNEL}, '{self.token}'"))

    def ids(self, column: Any, values: Iterable[int], name: str = "ids") -> ColumnElement[bool]:
        """``column IN values`` with one parameter, however many values there are."""
        listed = list(values)
        if self.postgresql:
            return column == func.any(bindparam(name, listed, type_=ARRAY(Integer), unique=True))  # type: ignore[no-any-return]
        items = func.json_each(bindparam(name, orjson.dumps(listed).decode(), unique=True)).table_valued("value")
        return column.in_(select(items.c.value))  # type: ignore[no-any-return]

    def close(self) -> None:
        self.engine.dispose()


def now_of(session: Session) -> datetime:
    """The time of the session's database, aware, UTC."""
    if session.get_bind().dialect.name == "postgresql":
        moment = session.scalar(select(func.clock_timestamp()))
        assert isinstance(moment, datetime)
        return moment.astimezone(UTC)
    return datetime.now(UTC)  # SQLite is one host: its clock is ours


def open_engine(url: str, *, pool_size: int = 20) -> Engine:
    """An engine with the pragmas, time-outs and BEGINs of its database. Raises ``ConfigError`` for any other URL."""
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # it holds password hashes and what nodes reported
        except OSError as error:
            raise ConfigError(
                f"The data directory {path.parent} cannot be made: {error.strerror}. Set data_dir."
            ) from error
        engine = create_engine(
            url, json_serializer=_dumps, json_deserializer=_loads, pool_size=pool_size, max_overflow=100,
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        )  # fmt: skip
        event.listen(engine, "connect", _open_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if re.match(r"postgresql(\+psycopg2)?://", url):
        return create_engine(
            url, json_serializer=_dumps, json_deserializer=_loads, pool_size=pool_size, max_overflow=100,
            pool_pre_ping=True, connect_args={"connect_timeout": 5, "application_name": "crowbar"},
        )  # fmt: skip
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


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("crowbar_write", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn a database that does not answer into ``Unavailable``; leave every other error as it is."""
    try:
        yield
    except OperationalError as error:
        said = str(error.orig).strip().splitlines()[0]
        full = any(words in said for words in _NO_ROOM)
        raise Unavailable(f"The database {'cannot write' if full else 'does not answer'}: {said}.") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable("The connection to the database was lost.") from error
        raise


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
