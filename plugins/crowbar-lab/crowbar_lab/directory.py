"""A lab's directory: who holds it, and what is read and written there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from crowbar_lab.errors import LabError, LabUnavailable
from crowbar_lab.guests import KILL_SECONDS, kill


def check_path(directory: Path) -> None:
    if set(str(directory)) & set(":,\\\n"):
        raise LabError(
            f"{directory} cannot hold a lab: its path has one of ':', ',' and '\\', which overlay mounts cannot say."
        )


def claim(name: str, directory: Path, clear: Callable[[], object]) -> int:
    """Make the lab's directory, which must not be there, and hold its lock: the open file is returned.

    The lock is handed on to the keeper, so that it is free when, and only when, no process of the lab is left. Remains
    of a lab that does not run are cleared first, by ``clear``.
    """
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    base = os.open(directory.parent, os.O_RDONLY)
    try:
        fcntl.flock(base, fcntl.LOCK_EX)
        if (directory / "lock").exists() and _is_free(directory / "lock"):
            clear()
            directory.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            raise LabError(
                f"There is a lab {name} already: "
                f"remove it with `crowbar lab down --name {name}`, or give another --name."
            ) from None
        (directory / "disks").mkdir()
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock
    except FileNotFoundError:
        raise LabError(f"The lab {name} was removed while it was made.") from None
    finally:
        os.close(base)


def closed(fd: int) -> int:
    if fd >= 0:
        os.close(fd)
    return -1


def _is_free(lock: Path) -> bool:
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextlib.contextmanager
def lock_taken_from_keeper(directory: Path) -> Iterator[None]:
    """Kill the keeper, and with it the lab. A lab just being made is waited for, until it has one or gives up."""
    deadline = time.monotonic() + KILL_SECONDS
    with (directory / "lock").open("ab") as lock:
        while True:
            keeper = read_json(directory / "keeper.json")
            if keeper:
                kill(keeper["pid"], keeper["started"])
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LabError(
                        f"The lab in {directory} does not end: its process {keeper.get('pid')} resists being killed."
                    ) from None
                time.sleep(0.01)
        yield


REQUEST_SECONDS = 300.0


def ask(directory: Path, file: str, request: Mapping[str, Any], *, whom: str, lab: str) -> dict[str, Any]:
    """Ask a process of the lab over its socket in ``directory``, with a line of JSON. ``LabError`` has its words."""
    try:
        here = os.open(directory, os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(REQUEST_SECONDS)
                # A socket's path is limited to 108 bytes; the way over the directory's number always fits.
                connection.connect(f"/proc/self/fd/{here}/{file}")
                with connection.makefile("rwb") as stream:
                    stream.write(json.dumps(request).encode() + b"\n")
                    stream.flush()
                    line = stream.readline()
        finally:
            os.close(here)
    except PermissionError as error:
        raise LabUnavailable(f"The lab {lab} belongs to root: run the command with sudo.") from error
    except OSError as error:
        raise LabError(f"{whom} does not answer ({error}): `crowbar lab down --name {lab}` removes the lab.") from error
    if not line:
        raise LabError(f"{whom} ended while it was asked: `crowbar lab down --name {lab}` clears its remains.")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise LabError(answer["error"])
    return answer


def read_json(path: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return read


def write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
