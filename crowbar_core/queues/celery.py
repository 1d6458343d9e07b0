"""The queue for workers on many machines: Celery with Redis, used as a doorbell.

A message carries ids of queued runs and nothing else. Claim, lease, attempt and outcome are in the database, so a
message may be lost (the sweep rings again) or doubled (the second claim finds nothing). Hence no Celery retries, no
results, early acknowledgement, and the default exchange: nothing in Redis needs to outlive a flush.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from crowbar_core.errors import ConfigError
from crowbar_core.logs import log
from crowbar_core.settings import Settings

try:
    from celery import Celery
    from celery.worker import WorkController, state
    from celery.worker.consumer import Consumer
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
    from redis.retry import Retry
except ImportError as error:
    raise ConfigError("The queue celery needs more packages: pip install crowbar-core[celery].") from error


NAME = "crowbar"
TASK = "crowbar.ring"
MOST_IDS = 16
"""In one message. Fewer when there are few, so that several workers get some."""
SPREAD = 8
KEPT = 10_000
"""Ids kept while Redis is away; older ones are left to the sweep."""
EXPIRES = 600.0
"""Seconds after which nobody need hear a message. Long, because sender and worker compare their own clocks."""
PAUSE = 1.0
FRESH = 2.0
"""Seconds for which the last word from Redis says whether it works."""
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0


def messages(run_ids: Sequence[int]) -> Iterator[list[int]]:
    """The ids in portions, one for each message: single ids when there are few, up to ``MOST_IDS`` when many."""
    size = max(1, min(MOST_IDS, -(-len(run_ids) // SPREAD)))
    for start in range(0, len(run_ids), size):
        yield list(run_ids[start : start + size])


def make_app(settings: Settings, **transport: Any) -> Celery:
    """A Celery application with everything off that a doorbell does not need."""
    app = Celery(NAME, broker=settings.redis_url, set_as_current=False, fixups=[])
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_default_queue=NAME,
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=False,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_prefetch_count_reduction=False,
        broker_connection_timeout=CONNECT_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            "socket_keepalive": True,
            **transport,
        },
    )
    return app


class CeleryQueue:
    """Rings from a thread of its own: whoever calls ``ring`` waits for nothing, whatever Redis does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        try:
            # No retries anywhere: after a failure the thread pauses, which is the circuit breaker.
            self._app = make_app(settings, max_retries=0)
            self._redis = Redis.from_url(
                settings.redis_url,
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=CONNECT_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise ConfigError(f"redis_url is no address of a Redis: {error}.") from error
        self._ids: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._problem: str | None = None
        self._heard = float("-inf")

    def ring(self, run_ids: Sequence[int]) -> None:
        for run_id in run_ids:
            self._ids.put(run_id)
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._publish, name="crowbar-doorbell", daemon=True)
                self._thread.start()

    def problem(self) -> str | None:
        """Asks Redis when nothing has been heard from it just now."""
        if time.monotonic() - self._heard > FRESH:
            try:
                self._redis.ping()
                self._note(None)
            except (RedisError, OSError) as error:
                self._note(error)
        return self._problem

    def close(self) -> None:
        """Send what is on its way if Redis takes it at once; the sweep finds the rest."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(CONNECT_SECONDS)
        self._redis.close()
        self._app.close()

    def listener(self, take: Callable[[list[int]], None]) -> Listener:
        """Hears the messages in this process; ``take`` gets the ids of each, and may wait until there is room."""
        return Listener(self._settings, take)

    def _publish(self) -> None:
        waiting: deque[int] = deque(maxlen=KEPT)
        while True:
            waiting.extend(self._arrived(0.0 if waiting else 0.2))
            if waiting:
                try:
                    for message in messages(list(waiting)):
                        self._app.send_task(TASK, args=[message], queue=NAME, expires=EXPIRES, retry=False)
                        for _ in message:
                            waiting.popleft()
                    self._note(None)
                except Exception as error:  # noqa: BLE001  kombu and redis raise whatever their socket did
                    self._note(error)
                    if self._closing.wait(PAUSE):
                        return
            elif self._closing.is_set():
                return

    def _arrived(self, timeout: float) -> list[int]:
        arrived: list[int] = []
        try:
            arrived.append(self._ids.get(timeout=timeout) if timeout else self._ids.get_nowait())
            while len(arrived) < KEPT:
                arrived.append(self._ids.get_nowait())
        except queue.Empty:
            pass
        return arrived

    def _note(self, error: Exception | None) -> None:
        said = None if error is None else f"Redis does not answer: {str(error) or type(error).__name__}"
        if said is not None and self._problem is None:
            log.warning("the queue does not answer; queued runs are handed over when it returns", error=said)
        elif said is None and self._problem is not None:
            log.info("the queue answers again")
        self._problem = said
        self._heard = time.monotonic()


class _Consumer(Consumer):  # type: ignore[misc]  # celery has no types
    """Celery's own, except that it looks for a Redis that went away every few seconds, not every thirty."""

    def ensure_connected(self, conn: Any) -> Any:
        def failed(error: Exception, interval: float) -> None:
            log.warning("Redis cannot be reached", error=str(error), again_in=interval)

        conn.ensure_connection(
            failed, callback=state.maybe_shutdown, interval_start=0.5, interval_step=0.5, interval_max=3.0
        )
        return conn


class Listener:
    """A Celery worker in a thread. Its pool only hands ids over, so a few threads serve any number of runs."""

    def __init__(self, settings: Settings, take: Callable[[list[int]], None], *, threads: int = 2) -> None:
        app = make_app(settings)
        app.task(name=TASK, ignore_result=True, acks_late=False, max_retries=0)(_checked(take))
        app.finalize()
        self._worker = WorkController(
            app=app, queues=[NAME], pool_cls="threads", concurrency=threads, consumer_cls=_Consumer,
            without_gossip=True, without_mingle=True, without_heartbeat=True, loglevel="WARNING",
        )  # fmt: skip
        self._thread = threading.Thread(target=self._worker.start, name="crowbar-celery", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Take no more messages; those that were fetched and not begun go back to Redis."""
        state.should_stop = 0

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)


def _checked(take: Callable[[list[int]], None]) -> Callable[[Any], None]:
    def ring(run_ids: Any) -> None:
        # Whoever reaches Redis can write there: nothing but numbers goes further.
        take([one for one in run_ids if isinstance(one, int)] if isinstance(run_ids, list) else [])

    return ring
