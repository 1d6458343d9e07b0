"""Benchmark ``queue``: how long a run waits from being released until it starts, in process against a bare Celery task
with Redis; and how many runs a second the Celery queue hands to a worker, against one task per run.

In process, one node has a chain of roles of the jig ``python``: each is released by the end of the one before it, and
the time is from that commit, itself included, to the role's function. The bare task is sent when the one before it
has begun. Both sides of the second comparison are a process that sends and hears. Run it with ``./dev bench queue``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from sqlalchemy import Connection, event

from benchmarks.cluster import OPERATOR, cluster, load
from crowbar_core import Task
from crowbar_core.services.cluster import deployments
from crowbar_core.services.engine.engine import Engine
from tests.services import RedisServer, wait_until

ROUNDS, SAMPLES, MANY = 3, 100, 10_000
HANG_SECONDS = 300.0


def in_process() -> list[float]:
    """Seconds from released to started, of each run of a chain on one node."""
    released = [0.0]
    waited: list[float] = []

    def note(task: Task) -> None:
        waited.append(time.perf_counter() - released[0])

    with cluster(None, length=SAMPLES, run=note, probe_seconds=0.0) as parts:

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
    return waited


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
    p50s, p99s, rates = [], [], []
    for number in range(ROUNDS):
        with RedisServer() as redis:
            if number % 2:
                bare, ours = side("latency", redis.url, SAMPLES), in_process()
            else:
                ours, bare = in_process(), side("latency", redis.url, SAMPLES)
            order = ("portions", "single") if number % 2 else ("single", "portions")
            rate = {name: side(name, redis.url, MANY)[0] for name in order}
        p50s.append(percentile(ours, 0.5) / percentile(bare, 0.5))
        p99s.append(percentile(ours, 0.99) / percentile(bare, 0.99))
        rates.append(rate["portions"] / rate["single"])
        print(
            f"round {number + 1}: released to started {1000 * percentile(ours, 0.5):.2f} ms (p99"
            f" {1000 * percentile(ours, 0.99):.2f}), bare task {1000 * percentile(bare, 0.5):.2f} ms (p99"
            f" {1000 * percentile(bare, 0.99):.2f}); Celery queue {rate['portions']:.0f} runs/s, one task per run"
            f" {rate['single']:.0f}/s",
            flush=True,
        )
    results = {"in process/bare task, p50": p50s, "in process/bare task, p99": p99s, "queue/one task per run": rates}
    print(json.dumps({name: round(statistics.median(values), 2) for name, values in results.items()}))


if __name__ == "__main__":
    main()
