"""One command on a node: its channel, pushed to in one go and read from both outputs by one thread."""

from __future__ import annotations

import threading

import paramiko

from crowbar_jig_script.connections import Session
from crowbar_jig_script.output import Output

CHUNK = 256 << 10
LOOK = 0.2
"""Seconds between looks at what no stream tells of: cancelling, time running out."""


class Wake(threading.Event):
    """Set when either stream has something. Clearing is for the reader of both, not for one that was read empty."""

    def clear(self) -> None:
        pass

    def reset(self) -> None:
        super().clear()


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
