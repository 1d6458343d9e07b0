"""Lanes: each barclamp's hooks are called in a thread of its own, one at a time; what takes too long is left behind.

A thread cannot be ended from outside. One whose call is overdue is left to itself, another takes its place, and what
the late call returns in the end is heard by nobody. Daemon threads, so that a process that has to stop can stop.
Discarded: a process for each barclamp, which could be killed, but would load everything once more and share nothing.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from crowbar_core.barclamp import Intent
from crowbar_core.store.events import Waiting


@dataclass(eq=False)
class Call:
    """One delivery on its way: ``run`` in the lane's thread, everything else in that of whoever delivers."""

    one: Waiting
    run: Callable[[], Sequence[Intent]]
    ended: Callable[[], None]
    begun: float = field(default_factory=time.monotonic)
    intents: Sequence[Intent] = ()
    error: BaseException | None = None
    trace: str = ""
    done: bool = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def carry_out(self) -> None:
        try:
            self.intents = self.run()
        except (Exception, SystemExit) as error:  # noqa: BLE001  the caller of hooks is an edge: a plugin may raise anything
            self.error, self.trace = error, traceback.format_exc()
        self.done = True
        self.ended()


class Lane:
    """One barclamp's thread, and those that it left behind."""

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin
        self.call: Call | None = None
        self.overruns = 0
        """In a row."""
        self._left: list[threading.Thread] = []
        self._open()

    def _open(self) -> None:
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=_carry_out, args=(self._calls,), name=f"crowbar-hooks-{self.plugin}", daemon=True
        )
        self._thread.start()

    def begin(self, call: Call) -> None:
        self.call = call
        self._calls.put(call)

    def take(self) -> Call | None:
        """The call that has ended, if one has."""
        ended, self.call = (self.call, None) if self.call is not None and self.call.done else (None, self.call)
        return ended

    def leave(self) -> None:
        """Give up the call that is under way, and go on without its thread."""
        self.call = None
        self._calls.put(None)  # should it ever come back, it ends
        self._left.append(self._thread)
        self._open()

    @property
    def left_behind(self) -> int:
        """How many threads are still in calls that nobody waits for."""
        self._left = [one for one in self._left if one.is_alive()]
        return len(self._left)

    def close(self) -> None:
        self._calls.put(None)


def _carry_out(calls: queue.SimpleQueue[Call | None]) -> None:
    while (call := calls.get()) is not None:
        call.carry_out()
