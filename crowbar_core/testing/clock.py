"""A clock that stands still until it is moved on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2030, 1, 1, tzinfo=UTC)


class FakeClock:
    """What the core asks for the time in a ``Testbed``: call it, and it says where it stands."""

    def __init__(self, start: datetime = START) -> None:
        if start.tzinfo is None:
            raise ValueError("A clock's time needs a time zone: datetime(..., tzinfo=UTC).")
        self.now = start

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        """Move on; time never runs backwards."""
        if seconds < 0:
            raise ValueError(f"A clock cannot go back by {-seconds:g} seconds.")
        self.now += timedelta(seconds=seconds)
        return self.now
