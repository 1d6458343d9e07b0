"""How the demo is ended from outside: by SIGTERM and Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Stopped(BaseException):
    """SIGTERM came. Not an ``Exception``: nothing on the way out may take it for a failure of its own."""


class Terminable:
    """Ends the demo on SIGTERM and Ctrl-C: once, and not while something is made that must not be lost from sight."""

    def __init__(self) -> None:
        self._held = 0
        self._came = 0
        self._over = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Terminable:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._old[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        if self._over:
            return  # we are on our way out, and clear up undisturbed
        self._came = number
        if not self._held:
            self._raise()

    def _raise(self) -> None:
        self._over = True
        raise Stopped() if self._came == signal.SIGTERM else KeyboardInterrupt()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A signal waits until the block is over."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self._came and not self._over and not self._held:
            self._raise()

    def over(self) -> None:
        """From now on nothing interrupts."""
        self._over = True
