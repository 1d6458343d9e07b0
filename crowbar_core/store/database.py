"""Flask-SQLAlchemy as this program uses it: the models, the metadata and the engines of every process.

What it would do by itself, and does not here: open engines of its own, and give each request a session that writes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FlaskSession
from sqlalchemy import Engine
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

_READS = "db.session only reads here: write inside `with cluster().change() as change:`, with change.session."


class ReadingSession(FlaskSession):
    """What ``db.session`` is in a request that is in no transaction: it only reads."""

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        if self.new or self.dirty or self.deleted:
            raise InvalidRequestError(_READS)

    def commit(self) -> None:
        raise InvalidRequestError(_READS)


class CurrentSession:
    """``db.session``: the session of the transaction that this thread is in, else the request's reading one."""

    def __init__(self, reading: Any) -> None:
        self._reading = reading
        self._mine = threading.local()

    @contextmanager
    def being(self, session: Session) -> Iterator[Session]:
        """Make ``session`` what this thread gets, inside the block."""
        before = getattr(self._mine, "session", None)
        self._mine.session = session
        try:
            yield session
        finally:
            self._mine.session = before

    def __call__(self) -> Session:
        current: Session | None = getattr(self._mine, "session", None)
        return current if current is not None else self._reading()

    def remove(self) -> None:
        """At the end of a request: a transaction's session ends with that."""
        self._reading.remove()

    def __getattr__(self, name: str) -> Any:
        return getattr(self(), name)


class Database(SQLAlchemy):
    """Flask-SQLAlchemy with the engines of this process's stores, and sessions that belong to their transactions.

    ``session`` is that of the reading or writing transaction that this thread is in. In a request outside of both it
    reads; nothing is ever written through it behind a transaction's back.
    """

    session: CurrentSession  # type: ignore[assignment]

    def carry(self, app: Flask, url: str, engine: Engine) -> None:
        """Have ``app`` answer ``engine`` for ``db.engine``, as the process that it belongs to opened it."""
        app.config["SQLALCHEMY_DATABASE_URI"] = url
        app.extensions["crowbar-engine"] = engine
        self.init_app(app)

    def _apply_driver_defaults(self, options: dict[str, Any], app: Flask) -> None:
        """The store has said all that there is to say."""

    def _make_engine(self, bind_key: str | None, options: dict[str, Any], app: Flask) -> Engine:
        engine: Engine = app.extensions["crowbar-engine"]
        return engine

    def _make_scoped_session(self, options: dict[str, Any]) -> Any:
        return CurrentSession(super()._make_scoped_session({**options, "class_": ReadingSession, "autoflush": False}))
