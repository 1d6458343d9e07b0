"""The processes of this installation: saying that this one lives, and reading which others do.

A process beats in the database, because that is the one place which all of them reach. A row whose time is over, or
whose process is known on this machine to be gone, is shown as dead for a day; then it is forgotten.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from crowbar_core.errors import CrowbarError
from crowbar_core.logs import log
from crowbar_core.plugins.entry_points import version_of
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.watch.workers import has_died, worker_name
from crowbar_core.store import processes as rows
from crowbar_core.store.db import Store
from crowbar_core.store.processes import Seen

KINDS = ("web", "annealer", "worker")
SHOWN_DEAD = timedelta(days=1)
_PATIENCE = 10.0
"""Seconds that a beat may be late beyond two others, on a machine that is very busy."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process and whether it lives."""

    seen: Seen
    alive: bool
    died: bool
    """Known to be gone; otherwise a dead one has only given no sign of life."""

    @property
    def state(self) -> str:
        return "alive" if self.alive else "dead"


def judged(seen: Seen, now: datetime) -> Process:
    died = has_died(seen.name)
    return Process(seen=seen, alive=not died and seen.alive_until > now, died=died)


def processes(session: Session, store: Store) -> list[Process]:
    """All that have a row, oldest first."""
    now = store.now(session)
    return [judged(one, now) for one in rows.seen(session)]


class Presence:
    """This process among the others, from ``start`` to ``stop``, each called once."""

    def __init__(self, parts: Parts, kinds: Sequence[str], *, name: str = "", concurrency: int = 0) -> None:
        self.parts = parts
        self.name = name or worker_name()
        self._kinds = list(kinds)
        self._concurrency = concurrency
        self._stopping = threading.Event()
        self._started_at: datetime | None = None
        self._thread = threading.Thread(target=self._beat_forever, name="crowbar-presence", daemon=True)

    def start(self) -> None:
        """Be seen from now on, in place of processes of this machine that died and did the same."""
        with self.parts.store.write(graph=False) as session:
            now = self.parts.store.now(session)
            rows.leave(session, [one.seen.name for one in processes(session, self.parts.store) if self._replaces(one)])
            self._started_at = now
            self._beat(session, now)
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye. A database that does not answer finds out by itself."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)
        try:
            with self.parts.store.write(graph=False) as session:
                rows.leave(session, [self.name])
        except CrowbarError as error:
            log.warning("this process could not say that it stops", error=error.detail)

    def _replaces(self, other: Process) -> bool:
        return not other.alive and other.seen.host == socket.gethostname() and set(other.seen.kinds) <= set(self._kinds)

    def _beat(self, session: Session, now: datetime) -> None:
        patience = 2 * self.parts.settings.heartbeat_seconds + _PATIENCE
        rows.beat(
            session,
            self.name,
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "version": version_of("crowbar-core"),
                "kinds": self._kinds,
                "concurrency": self._concurrency,
                "started_at": self._started_at,
                "beat_at": now,
                "alive_until": now + timedelta(seconds=patience),
            },
        )

    def _beat_forever(self) -> None:
        while not self._stopping.wait(max(self.parts.settings.heartbeat_seconds, 0.1)):
            try:
                with self.parts.store.write(graph=False) as session:
                    self._beat(session, self.parts.store.now(session))
            except CrowbarError as error:
                log.warning("the database does not answer; others may take this process for dead", error=error.detail)
            except Exception:  # noqa: BLE001  a thread of the process goes on whatever one round did
                log.exception("this process could not say that it lives")


def tell_problems(parts: Parts) -> None:
    """One line in the log for each installed package that did not load, or not whole."""
    for problem in parts.registry.problems():
        log.error("a package did not load", problem=problem.detail)


def alive_of_kind(found: Iterable[Process], kind: str) -> list[Seen]:
    return [one.seen for one in found if one.alive and kind in one.seen.kinds]
