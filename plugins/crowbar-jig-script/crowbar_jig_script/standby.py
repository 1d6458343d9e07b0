"""The shell that stands by on a node: one channel, kept, that carries run after run.

A channel for each run would cost a round trip, and on the node a process of sshd's and a login shell. The shell leads a
session of processes, in which are those of the run that it carries out, and nobody else: it ends with a run that left
something behind in it. Discarded: a session for each run, which is two programs more each time. The runs of one shell
follow each other; whatever is not quite as it should be closes it, and the next run has a new one.
"""

from __future__ import annotations

import paramiko

from crowbar_jig_script.connections import Session
from crowbar_jig_script.output import Output
from crowbar_jig_script.payload import STANDBY_COMMAND, standby_program
from crowbar_jig_script.stream import CHUNK, Patient, Stream

LEFT, NO_SETSID = 99, 98
"""With which the shell ends: after a run that left something in the background; where there is no ``setsid``."""


class Standby(Stream):
    """The shell with its channel. Used by one run at a time: see ``Connections.take_standby``."""

    def __init__(self, session: Session, channel: paramiko.Channel) -> None:
        super().__init__(session, channel, _nobody(), _nobody())
        self.fresh = True
        """Whether it has not been given anything yet."""
        # A run is over when both streams have ended, and this is the one that ends first.
        self._lines = Patient(self.wake, channel)
        channel.in_buffer.set_event(self._lines)

    @property
    def usable(self) -> bool:
        channel = self.channel
        return self.session.is_active() and not (channel.closed or channel.eof_received or channel.exit_status_ready())

    def exited(self, wait: float) -> int | None:
        """With what the shell exited; waits so many seconds for its word, which may come after its last output."""
        self.channel.status_event.wait(wait)
        return self.channel.recv_exit_status() if self.channel.exit_status_ready() else None

    def give(self, frame: bytes, out: Output, err: Output, *, timeout: float) -> None:
        """One run. The outputs are its own until ``rest``."""
        self.channel.settimeout(timeout)
        if self.fresh:
            self.fresh = False
            self.session.execute(self.channel, STANDBY_COMMAND)
            frame = standby_program() + frame
        self._drop_the_rest()
        self.out, self.err = out, err
        self._lines.patient = True
        self.channel.sendall(frame)

    def hurry(self) -> None:
        """Be woken by output, too: by itself it is looked for every ``LOOK`` seconds."""
        self._lines.hurry()

    def rest(self) -> None:
        """The run is over, and has ended well with this shell."""
        self.out.end()
        self.err.end()
        self.out, self.err = _nobody(), _nobody()

    def _drop_the_rest(self) -> None:
        while self.channel.recv_ready():
            self.channel.recv(CHUNK)
        while self.channel.recv_stderr_ready():
            self.channel.recv_stderr(CHUNK)


def _nobody() -> Output:
    return Output("", line=lambda line: None, word=lambda word: None, max_report=0)
