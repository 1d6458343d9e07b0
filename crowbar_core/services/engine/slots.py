"""Room for runs in a process: how many it takes on at once, and how many of them ahead of its threads."""

from __future__ import annotations

import threading


class Slots:
    """One for each thread; with ``ahead`` as many again. Safe for threads.

    A run that was taken on ahead waits for a thread, which then has its next one at once: else each thread would wait
    until the outcome of its last one is written. It must not wait long, for nobody else carries it out meanwhile.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._ahead = False
        self._free = threads
        """Below zero where more are taken than there may be now."""
        self._changed = threading.Condition()

    @property
    def ahead(self) -> bool:
        """Whether runs are taken on ahead. Once not any more, slots come free only as those that are too many end."""
        return self._ahead

    @ahead.setter
    def ahead(self, wanted: bool) -> None:
        with self._changed:
            self._free += (wanted - self._ahead) * self.threads
            self._ahead = wanted
            self._changed.notify_all()

    def free(self, *, wait: float = 0.0) -> int:
        """How many there are; waits so many seconds for the first one."""
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0, timeout=wait)
            return max(0, self._free)

    def take(self, most: int) -> int:
        """Take at most so many. Returns how many there were."""
        with self._changed:
            taken = max(0, min(most, self._free))
            self._free -= taken
            return taken

    def give_back(self, count: int) -> None:
        with self._changed:
            self._free += count
            self._changed.notify_all()
