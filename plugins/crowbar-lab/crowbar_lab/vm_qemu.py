"""A virtual machine's power and boot order: QEMU as a child process, told what to do over its socket (QMP).

What it boots from is the ``bootindex`` of cards and disks. QEMU writes it down for the firmware at each reset of the
machine, so that a change holds from the next boot on, whoever causes that, BIOS and UEFI alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from crowbar_lab.vm_plan import TARGETS, VmPlan, boot_order

SETTLE_SECONDS = 3.0
"""A boot has begun when so long no reset came: SeaBIOS resets the machine up to eight times at its start, and reads the
order anew each time."""
START_SECONDS = 30.0
ANSWER_SECONDS = 20.0
ONCE, ALWAYS, DISABLED = "Once", "Continuous", "Disabled"


class PowerError(Exception):
    """The machine cannot do this now; the message is for whoever asked."""


class Vm:
    """A machine that is on or off. ``command`` gives the line that starts it, by what it boots from first."""

    def __init__(self, plan: VmPlan, command: Callable[[str], Sequence[str]], qmp: str) -> None:
        self.plan = plan
        self._command = command
        self._qmp_path = qmp
        self._lock = threading.RLock()
        # QEMU asks for its end with whoever started it, and to the kernel that is a thread: one that stays.
        self._starter = ThreadPoolExecutor(max_workers=1)
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: _Qmp | None = None
        self._timer: threading.Timer | None = None
        self.target: str | None = None
        """What the override names, one of TARGETS."""
        self.mode = DISABLED
        self._order: dict[str, int] = {}
        self.starts = 0

    @property
    def on(self) -> bool:
        process = self._process
        return process is not None and process.poll() is None

    @property
    def pid(self) -> int | None:
        """QEMU's, as this process counts."""
        return self._process.pid if self._process is not None and self.on else None

    @property
    def first(self) -> str:
        """What the next boot is from: the network, unless overridden."""
        return self.target or TARGETS[0]

    # ---- power

    def power_on(self) -> None:
        """Does nothing when it is on. ``PowerError`` when QEMU does not start."""
        with self._lock:
            if self.on:
                return
            self._forget()
            self._process = self._starter.submit(_start, self._command(self.first)).result()
            self._order = boot_order(self.plan, self.first)
            self.starts += 1
            try:
                self._qmp = _Qmp(self._connect(self._process), self._reset_seen)
                self._qmp.ask("qmp_capabilities")
            except (OSError, PowerError) as error:
                self._process.kill()
                said = self._process.communicate()[1].decode(errors="replace").strip().splitlines()
                raise PowerError(f"QEMU does not start: {said[-1] if said else error}") from error
            threading.Thread(target=self._read_complaints, args=(self._process.stderr,), daemon=True).start()
            self._reset_seen()

    def power_off(self) -> None:
        """As if the plug were pulled; returns when it is off."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            self._forget()

    def reset(self) -> None:
        with self._lock:
            self._ask("system_reset")

    def press_button(self) -> None:
        """The power button, which an operating system answers by ending, if it does."""
        with self._lock:
            self._ask("system_powerdown")

    # ---- boot order

    def override(self, target: str | None, mode: str) -> None:
        """Boot from ``target`` at the next boot (ONCE) or from now on (ALWAYS); None or DISABLED end that."""
        with self._lock:
            self.target, self.mode = (None, DISABLED) if target is None or mode == DISABLED else (target, mode)
            if self.on:
                self._write_order()

    def _write_order(self) -> None:
        # Two devices cannot have the same index for a moment either: disks keep theirs, cards move below or above. A
        # device that has it already is refused, too.
        for device, index in boot_order(self.plan, self.first).items():
            if self._order[device] != index:
                self._order[device] = index
                self._ask("qom-set", path=f"/machine/peripheral/{device}", property="bootindex", value=index)

    def _reset_seen(self) -> None:
        """A boot begins, or begins again."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(SETTLE_SECONDS, self._boot_has_begun)
            self._timer.daemon = True
            self._timer.start()

    def _boot_has_begun(self) -> None:
        with self._lock:
            if self.mode == ONCE and self.on:
                with contextlib.suppress(PowerError):  # it went off at this moment; the order is written at its start
                    self.override(None, DISABLED)

    # ---- QEMU

    def _ask(self, command: str, **arguments: Any) -> None:
        if self._qmp is None or not self.on:
            raise PowerError(f"{self.plan.name} is off.")
        self._qmp.ask(command, **arguments)

    def _connect(self, process: subprocess.Popen[bytes]) -> socket.socket:
        deadline = time.monotonic() + START_SECONDS
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self._qmp_path)
                return connection
            except OSError:
                connection.close()
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._qmp is not None:
            self._qmp.close()
            self._qmp = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._qmp_path)

    def _read_complaints(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                print(f"qemu: {line.decode(errors='replace').rstrip()}", flush=True)


def _start(line: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(line, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


class _Qmp:
    """QEMU's socket. ``reset`` is called in a thread of its own at each reset of the machine: it may take locks that a
    command's caller holds while waiting for its answer."""

    def __init__(self, connection: socket.socket, reset: Callable[[], None]) -> None:
        self._connection = connection
        self._reset = reset
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._stream = connection.makefile("rwb")
        connection.settimeout(START_SECONDS)
        self._stream.readline()  # the greeting
        connection.settimeout(None)
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, command: str, **arguments: Any) -> None:
        try:
            self._stream.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            self._stream.flush()
            answer = self._answers.get(timeout=ANSWER_SECONDS)
        except (OSError, ValueError, queue.Empty) as error:
            raise PowerError(f"QEMU does not answer to {command}.") from error
        if "error" in answer:
            raise PowerError(f"QEMU refuses {command}: {answer['error']['desc']}")

    def _listen(self) -> None:
        try:
            for line in self._stream:
                told = json.loads(line)
                if told.get("event") == "RESET":
                    threading.Thread(target=self._reset, daemon=True).start()
                elif "event" not in told:
                    self._answers.put(told)
        except (OSError, ValueError):
            pass  # the machine has gone
        self._answers.put({"error": {"desc": "the machine has gone off"}})

    def close(self) -> None:
        # Not the stream: its reader may be inside it.
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
