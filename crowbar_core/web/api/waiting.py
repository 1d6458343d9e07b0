"""How many requests may wait at once: each holds a thread, and threads that all wait answer nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from flask import g, has_request_context, request


class Place:
    """One place among those who wait. Given back once: by ``give_back``, or when nobody remembers it any more."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave: Callable[[], None] | None = leave

    def give_back(self) -> None:
        """A second call does nothing."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def __del__(self) -> None:
        self.give_back()


def broken() -> None:
    """The current request ended in an error: its place is free, whatever still holds on to the answer it had begun."""
    place: Place | None = g.pop("crowbar_place", None)
    if place is not None:
        place.give_back()


class Waiting:
    """A bounded number of places for requests that wait for something to happen, until the server stops."""

    def __init__(self, places: int) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._stopped = threading.Event()

    def take(self) -> Place | None:
        """A place, or None when there is none: then the request must be answered at once.

        HEAD never gets one, for nobody would see what it waited for.
        """
        if (
            (has_request_context() and request.method == "HEAD")
            or self._stopped.is_set()
            or not self._places.acquire(blocking=False)
        ):
            return None
        place = Place(self._places.release)
        if has_request_context():
            g.crowbar_place = place  # for ``broken``
        return place

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Like ``take``, given back after the block. True inside the block when there was a place."""
        place = self.take()
        try:
            yield place is not None
        finally:
            if place is not None:
                place.give_back()

    def pauses(self) -> Callable[[float], bool]:
        """How the current request lets seconds pass. The answer is False when there is nothing more to wait for: the
        server stops, or the client is gone.
        """
        is_gone: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
        return lambda seconds: not self._stopped.wait(seconds) and not is_gone()

    def stop(self) -> None:
        """The server stops: whoever waits ends, and nobody begins."""
        self._stopped.set()


class Stream:
    """The body of an answer that goes on. It holds a place until it ends, however it does: by itself, by an error, with
    its client, or before it began.
    """

    def __init__(self, place: Place, chunks: Generator[str, None, None]) -> None:
        self._place = place
        self._chunks = chunks

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> str:
        try:
            return next(self._chunks)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        try:
            self._chunks.close()
        finally:
            self._place.give_back()
