"""Serial over LAN: what ipmitool hears of a console. It wants a terminal, and gets one on which nobody types."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from crowbar_core import CancelFlag, ConfigError

BEGUN = b"SOL Session operational"
END = b"~."
"""Typed to ipmitool, which then gives the console back; nothing of it goes to the machine."""
LOOK_AGAIN = 0.5
END_SECONDS = 5.0
MOST = 4096


def listen(
    line: Sequence[str], environment: Mapping[str, str], heard: Callable[[bytes], None], stopped: CancelFlag, *,
    patience: float,
) -> str | None:  # fmt: skip
    """None once it was listened to, until ``stopped`` or its end; else what ipmitool says why it does not begin, within
    ``patience`` seconds. Raises ``ConfigError`` without ipmitool.
    """
    ours, its = pty.openpty()
    try:
        process = subprocess.Popen(
            line, env=dict(environment), stdin=its, stdout=its, stderr=subprocess.PIPE, start_new_session=True
        )
    except FileNotFoundError:
        os.close(ours)
        raise ConfigError("The hammer ipmi calls ipmitool, which is not here: install ipmitool.") from None
    finally:
        os.close(its)
    try:
        return _hear(process, ours, heard, stopped, until=time.monotonic() + patience)
    finally:
        _end(process, ours)


def _hear(
    process: subprocess.Popen[bytes], ours: int, heard: Callable[[bytes], None], stopped: CancelFlag, *, until: float
) -> str | None:  # fmt: skip
    assert process.stderr is not None
    errors = process.stderr.fileno()
    open_, begun, said, complaints = {ours, errors}, False, b"", b""
    while open_ and not stopped.is_set():
        if not begun and time.monotonic() > until:
            return "No answer came in time: unable to establish a session."
        for one in select.select(list(open_), [], [], LOOK_AGAIN)[0]:
            new = _read(one)
            if not new:
                open_.discard(one)
            elif one == errors:
                complaints = (complaints + new)[-MOST:]
            elif begun:
                heard(new)
            else:
                said = (said + new)[-MOST:]
                if BEGUN in said:
                    begun = True
                    heard(said.partition(BEGUN)[2].partition(b"\n")[2])
    return None if begun or stopped.is_set() else (said + b"\n" + complaints).decode(errors="replace")


def _read(one: int) -> bytes:
    try:
        return os.read(one, MOST)
    except OSError:  # whoever was at its other end has gone
        return b""


def _end(process: subprocess.Popen[bytes], ours: int) -> None:
    with contextlib.suppress(OSError):
        if process.poll() is None:
            os.write(ours, END)
    try:
        process.communicate(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    os.close(ours)
