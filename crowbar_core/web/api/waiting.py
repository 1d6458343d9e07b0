"""How many requests may wait at once: each holds a thread, and threads that all wait answer nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Waiting:
    """A bounded number of places for requests that wait for something to happen."""

    def __init__(self, places: int) -> None:
        self._places = threading.BoundedSemaphore(places)

    @contextmanager
    def place(self) -> Iterator[bool]:
        """True inside the block when there was a place; without one, the request must be answered at once."""
        got = self._places.acquire(blocking=False)
        try:
            yield got
        finally:
            if got:
                self._places.release()

    def take(self) -> bool:
        """Like ``place``, for those who give it back elsewhere (streams)."""
        return self._places.acquire(blocking=False)

    def give_back(self) -> None:
        self._places.release()
