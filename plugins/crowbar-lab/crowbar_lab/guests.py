"""Ends processes for good: the lab's own, and the guests that were started in its network from outside."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crowbar_lab import linux

LAB_ID_VARIABLE = "CROWBAR_LAB_ID"
GRACE_SECONDS = 3.0
EXEC_SECONDS = 0.5
KILL_SECONDS = 30.0


def kill(pid: int, started: int) -> None:
    """Kill the process that started then, and wait until it, and all that it is the first process of, is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Asked after the process is held, so that the pid cannot pass to another in between.
        if linux.started(pid) == started:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], KILL_SECONDS)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def end_guests(described: Mapping[str, Any], keeper: Mapping[str, Any]) -> None:
    """End what was started in the lab's network namespace from outside: first asked, then killed, until none is left.

    This process and its ancestors are spared.
    """
    # A second look finds what was forked, or was in the middle of an exec, at the first.
    deadline = time.monotonic() + KILL_SECONDS
    while guests := _find_guests(described, keeper):
        for pid, began in guests:
            if linux.started(pid) == began:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        grace = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < grace and any(linux.started(pid) == began for pid, began in guests):
            time.sleep(0.02)
        for pid, began in guests:
            kill(pid, began)
        if time.monotonic() > deadline:
            break


def _find_guests(described: Mapping[str, Any], keeper: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Their pids and start times."""
    lives = bool(keeper) and linux.started(keeper["pid"]) == keeper["started"]
    nest = inode_of(keeper["pid"], "pid") if lives else None
    inode = inode_of(keeper["pid"], "net") if lives else described.get("network_inode")
    spared = _own_line()
    found = []
    for entry in os.scandir("/proc"):
        if inode is None or not entry.name.isdigit() or int(entry.name) in spared:
            continue
        pid = int(entry.name)
        if inode_of(pid, "net") != inode or (nest is not None and inode_of(pid, "pid") == nest):
            continue
        # A dead lab's namespace number may have passed to another; the mark has not.
        if lives or _is_marked(pid, described):
            began = linux.started(pid)
            if began is not None:
                found.append((pid, began))
    return found


def _is_marked(pid: int, described: Mapping[str, Any]) -> bool:
    mark = f"{LAB_ID_VARIABLE}={described['id']}".encode()
    deadline = time.monotonic() + EXEC_SECONDS
    while True:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        # In the middle of an exec it is empty for a moment.
        if environment or linux.started(pid) is None or time.monotonic() > deadline:
            return mark in environment.split(b"\0")
        time.sleep(0.005)


def _own_line() -> set[int]:
    """This process and its ancestors."""
    line, pid = set(), os.getpid()
    while pid > 0:
        line.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return line


def inode_of(pid: int, kind: str) -> int | None:
    try:
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino
    except OSError:
        return None
