"""Celery's sides of the benchmark ``queue``, each a process of its own with a worker in a thread of it.

``latency``: a bare task, sent when the one before it has begun; seconds each. ``single``: one task per run;
``portions``: Crowbar's queue; runs a second, from the first that is sent to the last that is heard.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable

from celery import Celery
from celery.worker import WorkController

from crowbar_core.queues.celery import CeleryQueue
from crowbar_core.settings import load_settings

HANG_SECONDS = 240.0
WARM = 20


def bare(url: str, begun: Callable[[int], None]) -> Celery:
    """A Celery application as its manual begins. Its worker has no pool: the fastest way for tasks that do nothing."""
    app = Celery("bare", broker=url, set_as_current=False)
    app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)
    app.task(name="bare.run")(begun)
    app.finalize()
    worker = WorkController(app=app, pool_cls="solo", loglevel="WARNING")
    threading.Thread(target=worker.start, daemon=True).start()
    return app


def latency(url: str, count: int) -> list[float]:
    arrived = threading.Event()
    at = [0.0]

    def begun(_number: int) -> None:
        at[0] = time.perf_counter()
        arrived.set()

    app = bare(url, begun)
    taken = []
    for number in range(WARM + count):
        arrived.clear()
        sent = time.perf_counter()
        app.send_task("bare.run", args=[number])
        if not arrived.wait(HANG_SECONDS):
            raise SystemExit("a task did not arrive")
        taken.append(at[0] - sent)
    return taken[WARM:]


class Counter:
    """Says when so many runs have been heard of."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.lock = threading.Lock()
        self.done = threading.Event()

    def take(self, heard: int) -> None:
        with self.lock:
            self.left -= heard
            if self.left <= 0:
                self.done.set()


def single(url: str, count: int) -> list[float]:
    warm, counter = Counter(WARM), Counter(WARM + count)

    def begun(_number: int) -> None:
        warm.take(1)
        counter.take(1)

    app = bare(url, begun)
    for number in range(WARM):
        app.send_task("bare.run", args=[number])
    warm.done.wait(HANG_SECONDS)
    return _rate(counter, count, lambda: [app.send_task("bare.run", args=[number]) for number in range(count)])


def portions(url: str, count: int) -> list[float]:
    warm, counter = Counter(WARM), Counter(WARM + count)

    def heard(run_ids: list[int]) -> None:
        warm.take(len(run_ids))
        counter.take(len(run_ids))

    queue = CeleryQueue(load_settings(environ={}, redis_url=url, queue="celery"))
    queue.listener(heard).start()
    queue.ring(range(WARM))
    warm.done.wait(HANG_SECONDS)
    return _rate(counter, count, lambda: queue.ring(range(count)))


def _rate(counter: Counter, count: int, send: Callable[[], object]) -> list[float]:
    begun = time.perf_counter()
    send()
    if not counter.done.wait(HANG_SECONDS):
        raise SystemExit(f"{counter.left} runs did not arrive")
    return [count / (time.perf_counter() - begun)]


SIDES = {"latency": latency, "single": single, "portions": portions}

if __name__ == "__main__":
    name, url, count = sys.argv[1:]
    print(json.dumps(SIDES[name](url, int(count))), flush=True)
    os._exit(0)  # the worker's threads would go on
