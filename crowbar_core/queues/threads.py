"""The default queue: run ids go to the runner in this process. Where none listens (a pure web process), the database's
own wake-up serves.
"""

from __future__ import annotations

import queue
from collections.abc import Sequence

from crowbar_core.settings import Settings


class ThreadsQueue:
    """Ids wait in memory until ``take`` fetches them; what is lost with the process is found again in the database."""

    def __init__(self, settings: Settings) -> None:
        self._ids: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.listening = False

    def ring(self, run_ids: Sequence[int]) -> None:
        if self.listening:
            for run_id in run_ids:
                self._ids.put(run_id)

    def take(self, timeout: float, most: int) -> list[int]:
        """At least one id, waiting up to ``timeout`` seconds, and at most ``most``; none when nothing came."""
        taken: list[int] = []
        try:
            taken.append(self._ids.get(timeout=timeout))
            while len(taken) < most:
                taken.append(self._ids.get_nowait())
        except queue.Empty:
            pass
        return taken

    def problem(self) -> str | None:
        return None

    def close(self) -> None:
        self.listening = False
