"""The lines of runs on their way to the database: masked, bounded, many written at a time, none lost."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from crowbar_core.barclamp import Json
from crowbar_core.domain.attributes import MASK, SECRET
from crowbar_core.errors import CrowbarError
from crowbar_core.logs import log
from crowbar_core.store import runs as store_runs
from crowbar_core.store.db import Store

SHORTEST = 4
"""Characters that a secret has at least to be masked."""
_TRUNCATED = "(the log is cut off here: it has reached its limit)"


@dataclass
class RunLogBuffer:
    """The lines of one run on their way to the database, masked and bounded."""

    run_id: int
    max_lines: int
    max_bytes: int
    secrets: tuple[str, ...] = ()
    seq: int = 0
    size: int = 0
    cut: bool = False
    lines: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, line: str, /, *, stream: Literal["stdout", "stderr", "crowbar"] = "crowbar") -> None:
        at = datetime.now(UTC)
        with self.lock:
            if self.cut:
                return
            line = self.masked(line)
            line = line.replace("\x00", "\ufffd").rstrip("\r\n")
            self.size += len(line.encode(errors="replace"))
            if self.seq >= self.max_lines - 1 or self.size > self.max_bytes:
                self.cut, line, stream = True, _TRUNCATED, "crowbar"
            self.seq += 1
            row = {"run_id": self.run_id, "seq": self.seq, "at": at, "stream": stream}
            self.lines.append(row | {"line": line.encode(errors="replace").decode()})

    def waits(self, seconds: float) -> bool:
        """Whether it has lines that have waited for so long."""
        with self.lock:
            return bool(self.lines) and (datetime.now(UTC) - self.lines[0]["at"]).total_seconds() >= seconds

    def masked(self, text: str) -> str:
        """The text without the run's secrets."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return text

    def take(self) -> list[dict[str, Any]]:
        with self.lock:
            taken, self.lines = self.lines, []
            return taken

    def give_back(self, lines: list[dict[str, Any]]) -> None:
        """What was taken could not be written."""
        with self.lock:
            self.lines[:0] = lines


class RunLogs:
    """Writes what the runs of one process have said. Safe to use from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()

    def write(self, logs: Sequence[RunLogBuffer]) -> None:
        with self.lines_of(logs) as (rows, counts):
            if rows:
                with self._store.write(graph=False) as session:
                    store_runs.append_log(session, self._store, rows, counts)

    def try_to_write(self, logs: Sequence[RunLogBuffer]) -> None:
        """The same where the next time is soon enough: never raises."""
        try:
            self.write(logs)
        except CrowbarError as error:
            log.warning("writing logs failed; they are kept", error=error.detail)
        except Exception:  # noqa: BLE001  an edge: what goes wrong is told, and the thread goes on
            log.exception("writing logs failed")

    @contextmanager
    def lines_of(self, logs: Sequence[RunLogBuffer]) -> Iterator[tuple[list[dict[str, Any]], dict[int, int]]]:
        """Their unwritten lines, and how many each then has; what the block fails to write is kept."""
        with self._lock:
            taken = [(log, lines) for log in logs if (lines := log.take())]
            try:
                yield (
                    [row for _, lines in taken for row in lines],
                    {log.run_id: lines[-1]["seq"] for log, lines in taken},
                )
            except Exception:
                for log, lines in taken:
                    log.give_back(lines)
                raise


def has_secrets(tree: Json) -> bool:
    if isinstance(tree, dict):
        return SECRET in tree or any(has_secrets(value) for value in tree.values())
    return isinstance(tree, list) and any(has_secrets(value) for value in tree)


def secret_texts(sealed: Json, opened: Json) -> set[str]:
    """What must not appear in a log: the secret texts and numbers, each line of them by itself, as a log has lines, and
    each as JSON, a shell or Python would write it. Of fewer than four characters nothing can be masked: they are
    everywhere.
    """
    return {form for text in _secret_values(sealed, opened) for form in _forms(text) if len(form) >= SHORTEST}


def _secret_values(sealed: Json, opened: Json) -> set[str]:
    if isinstance(sealed, dict):
        if SECRET in sealed:
            return _texts(opened)
        return {text for key, value in sealed.items() for text in _secret_values(value, opened[key])}
    if isinstance(sealed, list):
        return {text for low, high in zip(sealed, opened, strict=True) for text in _secret_values(low, high)}
    return set()


def _texts(value: Json) -> set[str]:
    if isinstance(value, dict):
        return {text for below in value.values() for text in _texts(below)}
    if isinstance(value, list):
        return {text for below in value for text in _texts(below)}
    return {str(value)} if isinstance(value, str | int | float) and not isinstance(value, bool) else set()


def _forms(text: str) -> Iterator[str]:
    for one in (text, *text.splitlines()):
        yield one.strip()
        yield json.dumps(one)[1:-1]
        yield json.dumps(one, ensure_ascii=False)[1:-1]
        yield shlex.quote(one).strip("'")
        yield repr(one)[1:-1]
