"""Waiting for what another process, a thread or a node brings about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(question: Callable[[], T], *, seconds: float = 120.0, what: str = "It", pause: float = 0.05) -> T:
    """The first true answer to ``question``, which is asked again after each ``pause``; AssertionError, naming
    ``what``, when none came within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        if answer := question():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(pause)
