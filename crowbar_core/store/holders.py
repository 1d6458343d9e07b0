"""Who holds the lock that everybody else waits for: asked when somebody has waited too long, for the log."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text

_WRITE_LOCK = 120
"""The byte of SQLite's -shm file that is locked by the one who writes (WAL_WRITE_LOCK)."""


def who_holds(connection: Connection) -> list[str]:
    """Of PostgreSQL's advisory locks here: the process, its connection, what it does, and for how long."""
    rows = connection.execute(
        text(
            "SELECT a.application_name, a.client_addr, a.pid, a.state, now() - a.xact_start AS since,"
            " now() - a.state_change AS still"
            " FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
            " WHERE l.locktype = 'advisory' AND l.granted"
            " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    ).all()
    return [
        f"{row.application_name or 'unknown'} (at {row.client_addr or 'this machine'}, server process {row.pid}), "
        f"{row.state} for {row.still.total_seconds():.0f} s, in its transaction for {row.since.total_seconds():.0f} s"
        for row in rows
        if row.still is not None and row.since is not None
    ]


def sqlite_writer(path: str) -> list[str]:
    """Of SQLite's write lock: the processes of this machine, as the kernel lists them."""
    try:
        wanted = Path(f"{path}-shm").stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    found: list[str] = []
    for line in lines:
        fields = line.split()  # "1: POSIX  ADVISORY  WRITE 4711 fd:00:3938 120 120"
        if len(fields) == 8 and fields[1] == "POSIX" and fields[3] == "WRITE" and fields[6].isdecimal():
            first, last = int(fields[6]), int(fields[7]) if fields[7].isdecimal() else _WRITE_LOCK
            if int(fields[5].rpartition(":")[2]) == wanted and first <= _WRITE_LOCK <= last:
                found.append(f"process {fields[4]}")
    return found
