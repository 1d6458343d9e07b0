"""Benchmark ``queue``: how long a run waits from being released until it starts, in process against a bare Celery task
with Redis; and how many runs a second the Celery queue hands to a worker, against one task per run.

In process, one node has a chain of roles of the jig ``python``: each is released by the end of the one before it, and
the time is from that commit, itself included, to the role's function; beside it, from the end of the one function to
the next one, all that is written about either run included. The bare task is sent when the one before it has begun, and
is written down nowhere. Both sides of the second comparison are a process that sends and hears. On PostgreSQL, a commit
is on the disk. Run it with ``./dev bench queue``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from sqlalchemy import Connection, event

from benchmarks.cluster import OPERATOR, cluster, load
from crowbar_core import Task
from crowbar_core.services.cluster import deployments
from crowbar_core.services.engine.engine import Engine
from tests.services import PostgresServer, RedisServer, wait_until

ROUNDS, SAMPLES, MANY = 3, 100, 10_000
HANG_SECONDS = 300.0


def in_process(url: str | None = None) -> tuple[list[float], list[float]]:
    """Seconds from released to started, of each run of a chain on one node, and from the end of the one before it."""
    released, ended = [0.0], [0.0]
    waited: list[float] = []
    between: list[float] = []

    def note(task: Task) -> None:
        now = time.perf_counter()
        waited.append(now - released[0])
        between.append(now - ended[0])
        ended[0] = time.perf_counter()

    with cluster(url, length=SAMPLES, run=note, probe_seconds=0.0) as parts:

        def committing(_connection: Connection) -> None:
            if threading.current_thread().name in ("MainThread", "crowbar-settler"):
                released[0] = time.perf_counter()

        event.listen(parts.store.engine, "commit", committing)
        home = load(parts, nodes=1, length=SAMPLES)
        engine = Engine(parts)
        engine.start()
        deployments.commit(parts, OPERATOR, home)
        wait_until(lambda: len(waited) == SAMPLES, seconds=HANG_SECONDS, what="all have run")
        engine.stop()
    return waited, between[1:]


def side(name: str, url: str, count: int) -> list[float]:
    """What a side says of itself: seconds each, or runs a second."""
    command = [sys.executable, "-m", "benchmarks.sides.celery_tasks", name, url, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    said: list[float] = json.loads(done.stdout.splitlines()[-1])
    return said


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    ratios: dict[str, list[float]] = defaultdict(list)
    with PostgresServer(durable=True) as postgres:
        for number in range(ROUNDS):
            _round(number, postgres, ratios)
    print(json.dumps({name: round(statistics.median(values), 2) for name, values in ratios.items()}))


def _round(number: int, postgres: PostgresServer, ratios: dict[str, list[float]]) -> None:
    with RedisServer() as redis:
        turns: dict[str, Callable[[], tuple[list[float], list[float]]]] = {
            "SQLite": in_process,
            "PostgreSQL": lambda: in_process(postgres.create_database()),
            "bare task": lambda: (side("latency", redis.url, SAMPLES), []),
        }
        got = {name: turns[name]() for name in (reversed(turns) if number % 2 else turns)}
        order = ("portions", "single") if number % 2 else ("single", "portions")
        rate = {name: side(name, redis.url, MANY)[0] for name in order}
    bare, _ = got.pop("bare task")
    for database, (waited, between) in got.items():
        ratios[f"in process/bare task, {database}, p50"].append(percentile(waited, 0.5) / percentile(bare, 0.5))
        ratios[f"in process/bare task, {database}, p99"].append(percentile(waited, 0.99) / percentile(bare, 0.99))
        print(
            f"round {number + 1}: {database}: released to started {_said(waited)}, end to started {_said(between)}"
            f" (load {os.getloadavg()[0]:.1f})",
            flush=True,
        )
    ratios["queue/one task per run"].append(rate["portions"] / rate["single"])
    print(
        f"round {number + 1}: bare task {_said(bare)}; Celery queue {rate['portions']:.0f} runs/s, one task per run"
        f" {rate['single']:.0f}/s",
        flush=True,
    )


def _said(seconds: Sequence[float]) -> str:
    return f"{1000 * percentile(seconds, 0.5):.2f} ms (p99 {1000 * percentile(seconds, 0.99):.2f})"


if __name__ == "__main__":
    main()
