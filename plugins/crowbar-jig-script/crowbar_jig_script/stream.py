"""One command on a node: its channel, pushed to in one go and read from both outputs by one thread."""

from __future__ import annotations

import threading
from typing import Any

import paramiko

from crowbar_jig_script.connections import Session
from crowbar_jig_script.output import Output

CHUNK = 256 << 10
MUCH = 64 << 10
"""Bytes of output that wake whoever waits for something else."""
LOOK = 0.2
"""Seconds between looks at what no stream tells of: cancelling, time running out."""


class Wake(threading.Event):
    """Set when either stream has something. Clearing is for the reader of both, not for one that was read empty."""

    def clear(self) -> None:
        pass

    def reset(self) -> None:
        super().clear()


class Patient(Wake):
    """Of a stream that may be read a little later: wakes the reader only when much of it waits, or nothing more comes.

    Until ``hurry``: from then on, at once. For each time that a reader is woken costs more than what it reads then.
    """

    def __init__(self, wake: Wake, channel: paramiko.Channel) -> None:
        super().__init__()
        self._wake = wake
        self._channel = channel
        self.patient = True

    def set(self) -> None:
        # Called by the thread that receives, while nobody else touches the pipe.
        pipe: Any = self._channel.in_buffer
        if not self.patient or pipe._closed or len(pipe._buffer) > MUCH:
            self._wake.set()

    def hurry(self) -> None:
        self.patient = False
        if self._channel.recv_ready():
            self._wake.set()


class Stream:
    """One command on the node: its channel, and the two outputs cut into lines and words."""

    def __init__(self, session: Session, channel: paramiko.Channel, out: Output, err: Output) -> None:
        self.session = session
        self.channel = channel
        self.out = out
        self.err = err
        self.wake = Wake()
        for pipe in (channel.in_buffer, channel.in_stderr_buffer):
            pipe.set_event(self.wake)

    def start(self, command: str, program: bytes, *, timeout: float) -> None:
        self.channel.settimeout(timeout)
        self.session.execute(self.channel, command)
        self.channel.sendall(program)
        self.channel.shutdown_write()

    def pump(self) -> bool:
        """Take what has come, some of each stream. Whether there may be more to come."""
        self.wake.reset()
        # Asked before reading: what came before the end is then read in this very round.
        ended = self.channel.closed or self.channel.eof_received
        if self.channel.recv_ready():
            self.out.feed(self.channel.recv(CHUNK))
        if self.channel.recv_stderr_ready():
            self.err.feed(self.channel.recv_stderr(CHUNK))
        if self.channel.recv_ready() or self.channel.recv_stderr_ready():
            self.wake.set()
            return True
        return not ended

    def finish(self) -> None:
        self.out.end()
        self.err.end()
        self.channel.close()
