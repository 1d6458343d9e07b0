"""Messages between the keeper and its rack, a line of JSON each, over a file that both ways go through."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable
from typing import Any

LOOK_SECONDS = 1.0


class Hung(Exception):
    """The other end is not there any more."""


class Line:
    """``fd`` is a socket or a terminal in raw mode, and stays the caller's."""

    def __init__(self, fd: int, *, lives: Callable[[], bool] = lambda: True) -> None:
        self.fd = fd
        self._lives = lives
        self._kept = bytearray()

    def send(self, **message: Any) -> None:
        """``Hung`` when the other end has gone."""
        rest = json.dumps(message).encode() + b"\n"
        while rest:
            try:
                rest = rest[os.write(self.fd, rest) :]
            except OSError as error:
                raise Hung from error

    def receive(self) -> dict[str, Any]:
        """The next message, which is waited for. ``Hung`` when the other end has gone."""
        while b"\n" not in self._kept:
            # The end of a kernel's last process is not always the end of the file: others may hold it still.
            while not select.select([self.fd], [], [], LOOK_SECONDS)[0]:
                if not self._lives():
                    raise Hung
            self._read()
        line, _, rest = bytes(self._kept).partition(b"\n")
        self._kept = bytearray(rest)
        message: dict[str, Any] = json.loads(line)
        return message

    def waits(self) -> bool:
        """Whether ``receive`` would have a message, or the begin of one, at once."""
        return b"\n" in self._kept or bool(select.select([self.fd], [], [], 0)[0])

    def _read(self) -> None:
        try:
            part = os.read(self.fd, 65536)
        except OSError as error:
            raise Hung from error
        if not part:
            raise Hung
        self._kept += part
