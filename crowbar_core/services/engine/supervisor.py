"""Keeping the barclamps' services at work: a process each, begun again when it ends, and ended with this one.

Each child hears of this process through its standard input: first the settings, then nothing, and its end when this
process has ended, however that came about. So nothing is left behind by a kill -9, and no child has to be found again.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

from crowbar_core.barclamp import Service
from crowbar_core.logs import log
from crowbar_core.services.engine.standing import STEADY_SECONDS, note, services
from crowbar_core.services.turns.parts import Parts

TOLD = 70
"""The exit code of a service that has written down itself why it failed."""
PATIENCE = 10.0
"""Seconds in which a service that is told to stop has to end."""
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 60.0


class Supervisor:
    """All services that this installation brings, but for those that ``disabled_services`` names. ``start`` and
    ``stop`` are each called once, ``begin_stop`` as often as one likes.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for barclamp, service in services(self.parts.registry):
            if service.name not in self.parts.settings.disabled_services:
                thread = threading.Thread(
                    target=self._keep, args=(barclamp, service), name=f"crowbar-keeps-{service.name}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def begin_stop(self) -> None:
        """Tell them all to stop."""
        self._stopping.set()
        with self._lock:
            for child in self._children.values():
                child.terminate()

    def stop(self) -> None:
        """Wait until all have ended; those that do not are killed."""
        self.begin_stop()
        until = time.monotonic() + PATIENCE + 2.0
        for thread in self._threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))
        with self._lock:
            for child in self._children.values():
                _kill(child)

    def _keep(self, barclamp: str, service: Service) -> None:
        delay = _FIRST_DELAY
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                ended = self._carry_out(service)
            except OSError as error:
                ended = f"its process could not be started: {error.strerror}"
            if self._stopping.is_set():
                return
            if ended:
                note(self.parts, barclamp, service.name, ended)
            delay = _FIRST_DELAY if time.monotonic() - begun > STEADY_SECONDS else min(delay * 2, _LONGEST_DELAY)
            log.warning("service is begun again", service=service.name, barclamp=barclamp, seconds=delay)
            self._stopping.wait(delay)

    def _carry_out(self, service: Service) -> str:
        """Start it, and wait for its end. Returns what that was, unless it has written it down itself."""
        command = [sys.executable, "-m", "crowbar_core.cli", "service", service.name, "--supervised"]
        with self._lock:
            if self._stopping.is_set():
                return ""
            child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
            self._children[service.name] = child
        assert child.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(pickle.dumps(self.parts.settings))
                child.stdin.flush()
            code = child.wait()
        finally:
            with self._lock:
                del self._children[service.name]
            _kill(child)
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
        if code in (0, TOLD):
            return "" if code == TOLD else "it ended by itself"
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}; the log says why"


def _kill(child: subprocess.Popen[bytes]) -> None:
    """With all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
