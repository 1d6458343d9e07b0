"""`crowbar worker`: executes the runs that annealers hand to a queue with workers of its own (celery)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import click

from crowbar_core.cli.local import settings_options
from crowbar_core.cli.output import say
from crowbar_core.errors import ConfigError, CrowbarError
from crowbar_core.logs import log
from crowbar_core.services.build import build_parts, spare_the_collector
from crowbar_core.services.engine.runner import Runner
from crowbar_core.services.watch.processes import Presence, tell_problems
from crowbar_core.settings import Settings

STOP_SECONDS = 28.0
"""For the runs; what is left of the promised thirty seconds is for saying goodbye to Redis and the database."""


class _Listener(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...

    def join(self, timeout: float) -> None: ...

    @property
    def alive(self) -> bool: ...


@runtime_checkable
class _RemoteQueue(Protocol):
    """A queue whose messages another process can hear."""

    def listener(self, take: Callable[[list[int]], None]) -> _Listener: ...


@click.command("worker")
@settings_options
def worker(settings: Settings) -> None:
    """Run a worker of the queue `celery`: it executes runs. Any number of them, on PostgreSQL."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopped.set())
    parts = build_parts(settings)
    try:
        if not isinstance(parts.queue, _RemoteQueue):
            raise ConfigError(
                f"The queue {settings.queue!r} needs no workers: the annealers execute the runs. To have workers, "
                "set queue to celery, for all processes."
            )
        runner = Runner(parts)
        parts.stop_runs = runner.stop_runs
        listener = parts.queue.listener(lambda run_ids: _take(runner, run_ids, stopped))
        presence = Presence(parts, ["worker"], name=runner.worker, concurrency=runner.concurrency)
        spare_the_collector()
        runner.start()
        listener.start()
        presence.start()
        tell_problems(parts)
        say(f"The worker is at work (concurrency {settings.concurrency}).")
        while not stopped.wait(0.5):
            if not listener.alive:
                raise ConfigError("The connection to Redis ended for good; the log says why.")
        say("The worker stops: it takes nothing new, and finishes or hands back what runs.")
        listener.stop()
        runner.stop(STOP_SECONDS)
        presence.stop()
        listener.join(1.0)
    finally:
        parts.close()


def _take(runner: Runner, run_ids: list[int], stopped: threading.Event) -> None:
    """Begin these runs; waits while the runner has no room, so that other workers get what this one cannot do yet."""
    waiting: Sequence[int] = run_ids
    try:
        while waiting and not stopped.is_set():
            waiting = runner.execute(waiting)
            if waiting:
                runner.room(1, wait=0.5)
    except CrowbarError as error:
        # The sweep rings them again.
        log.warning("taking on runs failed", error=error.detail, runs=waiting)
