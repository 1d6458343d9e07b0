"""What is asked of a node beside a run: to end one, with every process of its session, or to look for a mark.

Each is a short program over a second channel, or a second connection if need be.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

import paramiko

from crowbar_core import NodeUnreachable, Task
from crowbar_jig_script.connections import Connections, HostKeyRefused, Kept, Session
from crowbar_jig_script.output import Output
from crowbar_jig_script.payload import end_program, look_program
from crowbar_jig_script.stream import LOOK, Stream

_AGAIN = 0.5
_REFUSED = 0.05


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What the node said after being told to end a run."""

    gone: bool
    boot: str
    """Of the node as it is now; another one than the run's when it was rebooted meanwhile."""
    left: tuple[str, ...] = ()
    """The processes that withstood being killed."""
    known: Literal["never", "begun", "done"] = "begun"
    """``never``: it did not begin, and will not. ``done``: the role is destructive and has ended well."""
    report: bytes = b""
    """What it had reported when it had ended well."""


@dataclass(frozen=True, kw_only=True)
class _Said:
    words: list[str] = field(default_factory=list)
    report: bytes = b""


def end_run(connections: Connections, kept: Kept, running: Stream, task: Task, *, token: str) -> Ended:
    """End the run with this token; what it still says is read on. Raises ``NodeUnreachable``.

    A node that does not let itself be reached is asked again for a while: it may have just been reset.
    """
    settings = connections.settings
    program = end_program(task, token=token, grace=settings.kill_grace)
    giving_up = time.monotonic() + settings.connect_timeout
    while True:
        try:
            said = _ask(connections, kept, running, token, program)
            word, boot, *rest = [*said.words, "", ""]
            if word != "gone":
                return Ended(gone=False, boot=boot, left=tuple(filter(None, rest)))
            known: Literal["never", "begun", "done"] = "begun"
            if "done" in rest:
                known = "done"
            elif "never" in rest:
                known = "never"
            return Ended(gone=True, boot=boot, known=known, report=said.report)
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


def look_for_mark(connections: Connections, kept: Kept, task: Task, *, token: str) -> tuple[str, bytes]:
    """``found`` with what was reported, ``none``, or ``busy``. Raises ``NodeUnreachable``."""
    program = look_program(task, token=token)
    try:
        said = _ask(connections, kept, None, token, program)
    except (OSError, EOFError, paramiko.SSHException) as problem:
        connections.drop(kept)
        raise NodeUnreachable(f"{kept.node} ({kept.address}) does not answer: {problem}") from None
    return said.words[0], said.report


def _channel(connections: Connections, kept: Kept, session: Session, *, beside: Stream | None) -> paramiko.Channel:
    """A channel of its own. Where the server allows only one, the shell that stands by makes room."""
    giving_up = time.monotonic() + connections.settings.connect_timeout
    while True:
        try:
            return session.open_session(timeout=connections.settings.connect_timeout)
        except paramiko.ChannelException:
            if (standby := connections.take_standby(kept)) is not None:
                standby.finish()
            if beside is not None or time.monotonic() > giving_up:
                raise
            time.sleep(_REFUSED)


def _ask(connections: Connections, kept: Kept, running: Stream | None, token: str, program: bytes) -> _Said:
    settings = connections.settings
    heard: list[str] = []
    kept = connections.open(kept.node, kept.address, known=(kept.host_key,))
    session = kept.live()
    ending = Stream(
        session,
        _channel(connections, kept, session, beside=running),
        Output(token, line=lambda line: None, word=heard.append, max_report=settings.max_report),
        Output(token, line=lambda line: None, word=lambda word: None, max_report=0),
    )
    try:
        ending.start("exec sh", program, timeout=settings.connect_timeout)
        until = time.monotonic() + settings.kill_grace + 10 + settings.connect_timeout
        while not heard and ending.pump() and time.monotonic() < until:
            if running is not None:
                running.pump()
            ending.wake.wait(LOOK)
    finally:
        ending.finish()
    if not heard:
        raise EOFError("it said nothing of what it was asked for")
    while running is not None and running.pump() and running.wake.is_set():
        pass  # the last words
    return _Said(words=heard[0].split() or [""], report=ending.out.report)
