"""A server for a lab: a database of its own, and a process in the lab's network, where it reaches the nodes.

It listens on a socket of this machine's loopback address, which it inherits: from here it is asked like any other.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from crowbar_core.client import Client, Unreachable
from crowbar_lab.errors import LabError
from crowbar_lab.lab import Lab

FIRST_PORT = 3000
PORTS = 100
READY_SECONDS = 60.0
STOP_SECONDS = 35.0
PAUSE = 0.25
LOG = "server.log"


def begin_database(directory: Path) -> subprocess.Popen[str]:
    """`crowbar db upgrade`, which goes on beside the caller; ``admin_password`` waits for it."""
    return subprocess.Popen(
        [*crowbar(), "db", "upgrade", "--format", "json"],
        env=_environment(os.environ, directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        start_new_session=True,
    )


def admin_password(database: subprocess.Popen[str]) -> str:
    """The password of the user admin, when the database is made; '' when it was there before. Raises ``LabError``.

    A barclamp whose tables could not be made is said, and does not keep the server from starting.
    """
    said, complaint = database.communicate()
    try:
        password = str(json.loads(said).get("admin_password") or "")
    except ValueError:
        raise LabError(f"`crowbar db upgrade` failed: {_last(complaint)}") from None
    if database.returncode != 0:
        click.echo(f"`crowbar db upgrade` says: {_last(complaint)} The server starts without that barclamp.", err=True)
    return password


def start(
    lab: Lab, directory: Path, *, port: int = 0, settings: Mapping[str, str] | None = None, at: str = ""
) -> tuple[subprocess.Popen[bytes], str]:
    """`crowbar serve` with the lab's key, and its URL: at ``port`` if that is free, else from 3000 on. ``settings``: by
    the names that they have in the environment. ``at``: in the network of that node, as if it were installed there.
    """
    listener = _loopback_socket(port)
    with listener, open(directory / LOG, "ab") as log:
        environment = _environment(lab.environment, directory) | dict(settings or {})
        if lab.private_key is not None:
            environment["CROWBAR_JIG_SCRIPT_KEY_FILE"] = str(lab.private_key)
        process = lab.popen(
            [*crowbar(), "serve", "--listen", f"fd://{listener.fileno()}"],
            at=at,
            env=environment,
            pass_fds=(listener.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
        return process, f"http://127.0.0.1:{listener.getsockname()[1]}"


def wait_ready(process: subprocess.Popen[bytes], api: Client, directory: Path) -> None:
    """Raises ``LabError`` when the server ends or is not ready in time."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        check_alive(process, directory)
        with contextlib.suppress(Unreachable):
            if api.outside("readyz", accept=(503,))[0] == 200:
                return
        if time.monotonic() > deadline:
            raise LabError(f"The server was not ready within {READY_SECONDS:g} s: {log_end(directory)}")
        time.sleep(PAUSE)


def check_alive(process: subprocess.Popen[bytes], directory: Path) -> None:
    if process.poll() is not None:
        raise LabError(f"The server ended by itself (exit code {process.returncode}): {log_end(directory)}")


def log_end(directory: Path) -> str:
    return _last((directory / LOG).read_text(errors="replace"))


def end(process: subprocess.Popen[Any]) -> None:
    """SIGTERM, and after its grace SIGKILL to whatever is left of the process's session."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    _kill_session(process.pid)
    process.wait()


def end_other(pid: int, lives: Callable[[], bool]) -> None:
    """The same for a server that another process has started; ``lives`` says whether the pid is still its."""
    if lives():
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while lives() and time.monotonic() < deadline:
            time.sleep(PAUSE)
        if lives():
            _kill_session(pid)


def _kill_session(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def crowbar() -> list[str]:
    """The command line `crowbar` of the installation that this is part of."""
    script = Path(sys.executable).with_name("crowbar")
    found = str(script) if script.exists() else shutil.which("crowbar")
    if found is None:
        raise LabError(f"There is no command `crowbar` beside {sys.executable}: install crowbar-core there.")
    return [found]


def _environment(given: Mapping[str, str], directory: Path) -> dict[str, str]:
    """The server's own settings and none of the operator's: what is configured here must not decide what it does."""
    kept = {key: value for key, value in given.items() if not key.startswith("CROWBAR_") or "LAB" in key}
    return {**kept, "CROWBAR_DATA_DIR": str(directory / "data")}


def _loopback_socket(wanted: int) -> socket.socket:
    """A listening socket on this port of the machine's loopback address, or on port 3000, or the next that is free."""
    for port in (*((wanted,) if wanted else ()), *range(FIRST_PORT, FIRST_PORT + PORTS), 0):
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(("127.0.0.1", port))
            made.listen(128)
        except OSError:
            made.close()
        else:
            return made
    raise LabError("This machine has no free port on its loopback address.")


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return plain(lines[-1]) if lines else "it said nothing"


def plain(text: str) -> str:
    """What a machine sent, without what could steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in str(text))
