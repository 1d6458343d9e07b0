"""Messages between the keeper and its rack, a line of JSON each, over a file that both ways go through.

In the rack that file is a serial port, which never comes back from having been full (User Mode Linux stops to look at
it when the terminal's 4 KB are used up). So what the keeper has to say is a file that the rack reads through hostfs,
and the line tells its name.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOOK_SECONDS = 1.0


class Hung(Exception):
    """The other end is not there any more."""


class Line:
    """``fd`` is a socket or a terminal in raw mode, and stays the caller's; ``lives`` tells of the other end."""

    def __init__(self, fd: int, *, lives: Callable[[], bool] = lambda: True) -> None:
        self.fd = fd
        self._lives = lives
        self._kept = bytearray()

    def send(self, **message: Any) -> None:
        """``Hung`` when the other end has gone."""
        self._write(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """The next message, which is waited for. ``Hung`` when the other end has gone."""
        while (message := self.take()) is None:
            # The end of a kernel's last process is not always the end of the file: others may hold it still.
            if not select.select([self.fd], [], [], LOOK_SECONDS)[0]:
                if not self._lives():
                    raise Hung
                # An empty line means nothing, but has the other end look again.
                self._write(b"\n")
        return message

    def take(self) -> dict[str, Any] | None:
        """The next message, if it has come. ``Hung`` when the other end has gone."""
        while True:
            line, end, rest = bytes(self._kept).partition(b"\n")
            if end:
                self._kept = bytearray(rest)
                if line:
                    message: dict[str, Any] = json.loads(line)
                    return message
            elif select.select([self.fd], [], [], 0)[0]:
                self._read()
            else:
                return None

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.fd, data) :]
            except OSError as error:
                raise Hung from error

    def _read(self) -> None:
        try:
            part = os.read(self.fd, 65536)
        except OSError as error:
            raise Hung from error
        if not part:
            raise Hung
        self._kept += part


class Post:
    """What goes to the rack: a directory that it sees under another name, and a line to tell of what is there."""

    def __init__(self, directory: Path, line: Line) -> None:
        self.directory = directory
        self.line = line
        self._sent = 0

    def send(self, message: dict[str, Any]) -> None:
        """``Hung`` when the other end has gone."""
        self._sent += 1
        # A name that has never been used, so that nothing of it is remembered.
        file = self.directory / str(self._sent)
        file.write_text(json.dumps(message))
        file.chmod(0o444)
        self.line.send(post=file.name)

    def clear(self) -> None:
        """After the answer: keys of nodes may have been among what was sent."""
        (self.directory / str(self._sent)).unlink(missing_ok=True)

    @staticmethod
    def open(directory: Path, notice: dict[str, Any]) -> dict[str, Any]:
        """At the other end: what a line has told of."""
        message: dict[str, Any] = json.loads((directory / notice["post"]).read_text())
        return message
