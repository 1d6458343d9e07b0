"""The default queue: run ids go to the runner in this process. Where none listens (a pure web process), the database's
own wake-up serves.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Sequence

from crowbar_core.settings import Settings


class ThreadsQueue:
    """Ids wait in memory until ``take`` fetches them; what is lost with the process is found again in the database."""

    def __init__(self, settings: Settings) -> None:
        self._ids: queue.SimpleQueue[Sequence[int]] = queue.SimpleQueue()
        self._left: deque[int] = deque()
        """What was fetched, of which whoever takes had enough."""
        self.listening = False

    def ring(self, run_ids: Sequence[int]) -> None:
        if self.listening and run_ids:
            self._ids.put(tuple(run_ids))  # in one piece: each wakes whoever takes

    def take(self, timeout: float, most: int) -> list[int]:
        """At least one id, waiting up to ``timeout`` seconds, and at most ``most``; none when nothing came."""
        left = self._left
        try:
            if not left:
                left.extend(self._ids.get(timeout=timeout))
            while len(left) < most:
                left.extend(self._ids.get_nowait())
        except queue.Empty:
            pass
        return [left.popleft() for _ in range(min(most, len(left)))]

    def problem(self) -> str | None:
        return None

    def close(self) -> None:
        self.listening = False
