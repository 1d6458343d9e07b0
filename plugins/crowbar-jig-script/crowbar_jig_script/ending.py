"""Ending a run on its node: every process of its session, over a second channel, or a second connection if need be."""

from __future__ import annotations

import time
from dataclasses import dataclass

import paramiko

from crowbar_core import NodeUnreachable
from crowbar_jig_script.connections import Connections, HostKeyRefused, Kept
from crowbar_jig_script.output import Output
from crowbar_jig_script.payload import end_program
from crowbar_jig_script.stream import LOOK, Stream

_AGAIN = 0.5


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What the node said after being told to end a run."""

    gone: bool
    boot: str
    """Of the node as it is now; another one than the run's when it was rebooted meanwhile."""
    left: tuple[str, ...]
    """The processes that withstood being killed."""


def end_run(connections: Connections, kept: Kept, running: Stream, *, token: str, begun: bool) -> Ended:
    """End the run with this token; what it still says is read on. Raises ``NodeUnreachable``.

    A node that does not let itself be reached is asked again for a while: it may have just been reset.
    """
    settings = connections.settings
    program = end_program(token=token, grace=settings.kill_grace, begun=begun)
    giving_up = time.monotonic() + settings.connect_timeout
    while True:
        try:
            return _ask(connections, kept, running, token, program)
        except HostKeyRefused as problem:
            raise NodeUnreachable(problem.detail) from None
        except NodeUnreachable:
            if time.monotonic() > giving_up:
                raise
        except (OSError, EOFError, paramiko.SSHException) as problem:
            connections.drop(kept)
            if time.monotonic() > giving_up:
                raise NodeUnreachable(f"{kept.node} ({kept.address}) does not answer: {problem}") from None
        running.wake.reset()
        running.wake.wait(_AGAIN)


def _ask(connections: Connections, kept: Kept, running: Stream, token: str, program: bytes) -> Ended:
    settings = connections.settings
    heard: list[str] = []
    kept = connections.open(kept.node, kept.address, known=(kept.host_key,))
    session = kept.live()
    channel = session.open_session(timeout=settings.connect_timeout)
    ending = Stream(
        session,
        channel,
        Output(token, line=lambda line: None, word=heard.append, max_report=0),
        Output(token, line=lambda line: None, word=lambda word: None, max_report=0),
    )
    try:
        ending.start("exec sh", program, timeout=settings.connect_timeout)
        until = time.monotonic() + settings.kill_grace + 10 + settings.connect_timeout
        while not heard and ending.pump() and time.monotonic() < until:
            running.pump()
            ending.wake.wait(LOOK)
    finally:
        ending.finish()
    if not heard:
        raise EOFError("it said nothing of what it was asked to end")
    while running.pump() and running.wake.is_set():
        pass  # the last words
    word, boot, *rest = [*heard[0].split(), "", ""]
    return Ended(gone=word == "gone", boot=boot, left=tuple(filter(None, rest)))
