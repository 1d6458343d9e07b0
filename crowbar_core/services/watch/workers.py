"""Who holds a run or a lease: a name from which a process on the same machine can tell that the holder has died."""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from pathlib import Path


def worker_name() -> str:
    """``host/machine/pid/start/nonce``: ``machine`` says which boot and which process namespace the pid is of."""
    pid = os.getpid()
    return f"{socket.gethostname()}/{_machine()}/{pid}/{_started(pid)}/{uuid.uuid4().hex[:8]}"


def has_died(name: str) -> bool:
    """True when the process that had this name ran on this machine and is gone. False when that cannot be told from
    here.
    """
    try:
        _, machine, pid, started, _ = name.rsplit("/", 4)
        if machine != _machine():
            return False
        return _started(int(pid)) != started
    except ValueError:
        return False


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        pids = os.stat("/proc/self/ns/pid")
        seen = f"{boot.read_text()}{pids.st_dev}:{pids.st_ino}"
    except OSError:
        seen = uuid.uuid4().hex  # no /proc: nobody can tell
    return hashlib.sha256(seen.encode()).hexdigest()[:12]


def _started(pid: int) -> str:
    """The process's start time in clock ticks since boot, or '' when there is none (a zombie counts as none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
