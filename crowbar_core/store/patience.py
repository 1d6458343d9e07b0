"""How long anybody waits for PostgreSQL, and how long PostgreSQL waits for anybody.

The server ends what a stopped process or a cut wire holds on to: it knows for how long a transaction may be idle, a
statement may take and a lock may be waited for. What the server cannot know is that its answers do not arrive; so each
statement has a bound here as well, kept by one thread that hangs up for those who have waited too long. Discarded:
psycopg2's wait callback, which is one for the whole process, barclamps' own connections included.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import psycopg2.extensions

from crowbar_core.logs import log

CONNECT_SECONDS: Final = 5
"""For a new connection, and for an old one to show that it still works."""
MARGIN_SECONDS: Final = 2.0
"""By which an answer may be late: the server's own bound comes first, and says more."""
NETWORK_SECONDS: Final = 10
"""For the other end's kernel to take what was sent, or to answer that it is there."""
LOOK_SECONDS: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Patience:
    """In seconds; 0 is for ever.

    ``lock``: for the lock of whoever else changes the cluster. ``statement``: for one statement. ``idle``: between two
    statements of a transaction.
    """

    lock: float = 8.0
    statement: float = 30.0
    idle: float = 15.0


PATIENT: Final = Patience(lock=600.0, statement=0.0, idle=0.0)
"""Of migrations and of what an operator tells the database to do."""


def timeouts(patience: Patience) -> dict[str, str]:
    """PostgreSQL's names for them."""
    seconds = {
        "lock_timeout": patience.lock,
        "statement_timeout": patience.statement,
        "idle_in_transaction_session_timeout": patience.idle,
    }
    return {name: f"{int(value * 1000)}ms" for name, value in seconds.items()}


def connect_arguments(watch: Watch) -> dict[str, Any]:
    """For ``psycopg2.connect``."""
    return {
        "connect_timeout": CONNECT_SECONDS,
        # By this the server's list of connections says whose a lock is.
        "application_name": process_label(),
        "keepalives_idle": NETWORK_SECONDS,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": NETWORK_SECONDS * 1000,
        "connection_factory": watch.connection,
    }


def process_label() -> str:
    return f"crowbar {socket.gethostname()[:40]}/{os.getpid()}"


def prepare(connection: Any, patience: Patience) -> None:
    """Tell the server how patient it is to be with this connection."""
    network = {
        "tcp_keepalives_idle": str(NETWORK_SECONDS),
        "tcp_keepalives_interval": "3",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": f"{NETWORK_SECONDS * 1000}",
    }
    settings = {**timeouts(patience), **network}
    before, connection.autocommit = connection.autocommit, True
    try:
        with connection.cursor() as cursor:
            cursor.execute(";".join(f"SET {name} = %s" for name in settings), tuple(settings.values()))
    finally:
        connection.autocommit = before


class _Connection(psycopg2.extensions.connection):
    """Says to a watch when it begins to wait for an answer, and when it has it."""

    watch: Watch
    bound: float | None = None
    """Seconds for the statements of this transaction, instead of what the watch says; infinite for none."""

    def commit(self) -> None:
        self._waiting(super().commit)
        self.bound = None

    def rollback(self) -> None:
        self.bound = None
        self._waiting(super().rollback)

    def _waiting(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        self.watch.begin(self)
        try:
            return ask(*arguments)
        finally:
            self.watch.end(self)


class _Cursor(psycopg2.extensions.cursor):
    connection: _Connection

    def execute(self, query: Any, vars: Any = None) -> None:
        self.connection._waiting(super().execute, query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        self.connection._waiting(super().executemany, query, vars_list)


class Watch:
    """Hangs up connections on which an answer is overdue; whoever waits on them then gets an error."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self._until: dict[int, tuple[float, _Connection]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def connection(self, *arguments: Any) -> _Connection:
        made = _Connection(*arguments)
        made.watch = self
        made.cursor_factory = _Cursor
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._look, name="crowbar-database-watch", daemon=True)
                self._thread.start()
        return made

    def begin(self, connection: _Connection) -> None:
        seconds = connection.bound
        if seconds is None:
            # Nothing but "do you still work?" and the settings of a new connection is said outside a transaction.
            seconds = CONNECT_SECONDS if connection.autocommit else self.patience.statement + MARGIN_SECONDS
            if not self.patience.statement and not connection.autocommit:
                return
        with self._lock:
            self._until[id(connection)] = (time.monotonic() + seconds, connection)

    def end(self, connection: _Connection) -> None:
        with self._lock:
            self._until.pop(id(connection), None)

    def close(self) -> None:
        self._closing.set()

    def _look(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            with self._lock:  # while it is held, nobody goes on, so that no connection is another one meanwhile
                now = time.monotonic()
                overdue = [one for until, one in self._until.values() if until < now]
                for one in overdue:
                    _hang_up(one)
                    del self._until[id(one)]
            if overdue:
                log.warning("the database does not answer; connections are given up", connections=len(overdue))


def _hang_up(connection: _Connection) -> None:
    with contextlib.suppress(OSError, psycopg2.Error):
        handle = socket.socket(fileno=connection.fileno())
        try:
            handle.shutdown(socket.SHUT_RDWR)
        finally:
            handle.detach()
