"""The annealer of one process: its threads, and its part in the lease that one process at a time holds.

The holder sweeps, probes, delivers events and runs periodic jobs. A holder that dies is noticed at once on the same
machine, and after ``leader_seconds`` from another.
"""

from __future__ import annotations

import select as os_select
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler

from crowbar_core.barclamp import Periodic, serving
from crowbar_core.errors import CrowbarError, Unavailable, told
from crowbar_core.logs import log
from crowbar_core.plugins import CORE
from crowbar_core.questions import Unanswered
from crowbar_core.queues.threads import ThreadsQueue
from crowbar_core.services.annealing.sweeping import sweep, try_delayed
from crowbar_core.services.cluster import powering
from crowbar_core.services.cluster.liveness import probe_all
from crowbar_core.services.engine import housekeeping
from crowbar_core.services.engine.marks import look_for_marks
from crowbar_core.services.engine.reactions import Reactions
from crowbar_core.services.engine.runner import Runner
from crowbar_core.services.engine.seat import LiveCluster, named
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.watch.health import SWEEPER
from crowbar_core.services.watch.workers import has_died
from crowbar_core.store import events, leases, node_fields
from crowbar_core.store import jobs as store_jobs
from crowbar_core.store import runs as store_runs
from crowbar_core.store.db import Listener

LOOK_SECONDS = 1.0
"""How often a process looks for what it cannot hear of."""


POWER_AT_ONCE = 16
"""How many nodes are powered at a time."""
TELL_SECONDS = 10.0
"""How often it is written down at most that a barclamp's job has ended well."""


class Engine:
    """Starts and stops what this process does for the annealing. ``start`` and ``stop`` are each called once."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.runner = Runner(parts)
        self.name = self.runner.worker
        self.leading = False
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._scheduler: BackgroundScheduler | None = None
        self._spare_until = 0.0
        self._failing: set[tuple[str, str]] = set()
        self._jobs_told: dict[tuple[str, str], float] = {}
        self._reactions = Reactions(parts, go_on=lambda: self.leading and not self._stopping.is_set())

    def start(self, *, executor: bool = True, sweeper: bool = True) -> None:
        """``executor``: carry out runs here (a celery queue carries them out elsewhere). ``sweeper``: take part in the
        lease.
        """
        queue = self.parts.queue
        if executor:
            self.runner.start()
            self.parts.stop_runs = self.runner.stop_runs
            if isinstance(queue, ThreadsQueue):
                queue.listening = True
                self._spawn(lambda: self.runner.execute_forever(queue.take), "dispatcher")
                self._ring_queued()
        self._spawn(self._listen, "listener")
        if sweeper:
            self._spawn(self._lead, "leader")
            self._spawn(self._react, "reactions")
            self._spawn(self._keep_delays, "delays")
            self._spawn(self._power, "power")

    def stop(self, timeout: float = 30.0) -> bool:
        """Stop claiming, let runs finish or hand them back, give up the lease. True: nothing was left running."""
        self._stopping.set()
        self.parts.woken.set()
        self.parts.delayed.set()
        self.parts.ordered.set()
        quiet = self.runner.stop(timeout)
        until = time.monotonic() + 2.0  # for all of them: whoever waits for the database is not waited for
        for thread in self._threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))
        self._stop_leading()
        self._reactions.close()
        return quiet

    def _spawn(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=f"crowbar-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    # ------------------------------------------------------------ waking

    def _listen(self) -> None:
        """Hear of changes that other processes made (PostgreSQL), and look for their queued runs."""
        listener = Listener(self.parts.store)
        while not self._stopping.is_set():
            if listener.wait(1.0, _readable):
                self.parts.woken.set()
                self.parts.delayed.set()
                self.parts.ordered.set()
                self._ring_queued()
        listener.close()

    def _ring_queued(self) -> None:
        """Hand queued runs that somebody else made to this process's own queue. A run rung twice is claimed once."""
        if not (isinstance(self.parts.queue, ThreadsQueue) and self.parts.queue.listening):
            return
        try:
            with self.parts.store.read() as session:
                found = store_runs.queued(session, 1000)
        except CrowbarError as error:
            log.warning("looking for queued runs failed", error=error.detail)
            return
        self.parts.queue.ring(found)

    # ------------------------------------------------------------ reacting

    def _react(self) -> None:
        while not self._stopping.is_set():
            self.parts.woken.wait(1.0)
            self.parts.woken.clear()
            if not self.leading:
                continue
            try:
                self._reactions.deliver_due()
            except CrowbarError as error:
                log.warning("delivering events failed; it will be tried again", error=error.detail)
            except Exception:  # noqa: BLE001  a thread of the engine goes on whatever one round did
                log.exception("delivering events failed")

    def _keep_delays(self) -> None:
        """Try again what asked for a delay when that is over, to a tenth of a second: the sweep comes every few."""
        pause = LOOK_SECONDS
        while not self._stopping.is_set():
            self.parts.delayed.wait(pause)
            self.parts.delayed.clear()
            pause = LOOK_SECONDS
            if not self.leading:
                continue
            try:
                left = try_delayed(self.parts)
                pause = LOOK_SECONDS if left is None else min(max(left, 0.01), LOOK_SECONDS)
            except CrowbarError as error:
                log.warning("delayed retries must wait", error=error.detail)
            except Exception:  # noqa: BLE001  a thread of the engine goes on whatever one round did
                log.exception("delayed retries must wait")

    # ------------------------------------------------------------ powering

    def _power(self) -> None:
        """Have performed what changes asked for, each node by itself: a slow BMC holds up nobody."""
        pool = ThreadPoolExecutor(max_workers=POWER_AT_ONCE, thread_name_prefix="crowbar-power")
        busy: dict[int, Future[None]] = {}
        while not self._stopping.is_set():
            self.parts.ordered.wait(LOOK_SECONDS)
            self.parts.ordered.clear()
            busy = {ref: one for ref, one in busy.items() if not one.done()}
            if not self.leading:
                continue
            try:
                for order in powering.due(self.parts, died=has_died, busy=busy):
                    done = pool.submit(powering.carry_out, self.parts, order, self.name)
                    done.add_done_callback(lambda _: self.parts.ordered.set())  # the node's next one
                    busy[order.node_id] = done
            except CrowbarError as error:
                log.warning("nodes must wait to be powered", error=error.detail)
            except Exception:  # noqa: BLE001  a thread of the engine goes on whatever one round did
                log.exception("nodes must wait to be powered")
        pool.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------ leading

    def _lead(self) -> None:
        """Get the lease, keep it, lose it."""
        seconds = self.parts.settings.leader_seconds
        while not self._stopping.is_set():
            try:
                mine = self._hold_lease()
            except CrowbarError as error:
                log.warning("the lease cannot be renewed", error=error.detail)
                self._note_outage(error)
                mine = False
            except Exception:  # noqa: BLE001  a thread of the engine goes on whatever one round did
                log.exception("the lease cannot be renewed")
                mine = False
            if mine and not self.leading:
                self._start_leading()
            elif not mine and self.leading:
                self._stop_leading(release=False)
            self._stopping.wait(seconds / 3 if mine else min(seconds / 3, 1.0))

    def _note_outage(self, error: CrowbarError) -> None:
        """While the database was away nobody could renew a lease: while another lease lasts, none is taken for lost."""
        if isinstance(error, Unavailable):
            self._spare_until = time.monotonic() + self.parts.settings.lease_seconds

    def _hold_lease(self) -> bool:
        store = self.parts.store
        with store.write(graph=False) as session:
            now = store.now(session)
            until = now + timedelta(seconds=self.parts.settings.leader_seconds)
            return leases.take(session, SWEEPER, self.name, now, until, is_dead=has_died)

    def _start_leading(self) -> None:
        log.info("this process sweeps now", holder=self.name)
        self.leading = True
        settings = self.parts.settings
        scheduler = BackgroundScheduler(
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}, timezone="UTC"
        )
        often = max(settings.sweep_seconds, 0.05)
        scheduler.add_job(self._guarded(self._sweep, "sweep"), "interval", seconds=often)
        looking = self._guarded(lambda: look_for_marks(self.parts), "look for marks")
        scheduler.add_job(looking, "interval", seconds=often)
        if settings.probe_seconds > 0:
            for which, name, seconds in (
                (node_fields.to_probe, "probe", settings.probe_seconds),
                (node_fields.never_probed, "first probe", often),
                (node_fields.taken_away, "probe of who restarts", often),
            ):
                probing = self._guarded(partial(probe_all, self.parts, which), name)
                scheduler.add_job(probing, "interval", seconds=seconds)
        cleaning = self._guarded(lambda: housekeeping.clean(self.parts), "housekeeping")
        scheduler.add_job(cleaning, "interval", hours=1)
        for barclamp, job in self._register_jobs():
            run = self._guarded(job.run, job.name, barclamp)
            scheduler.add_job(run, "interval", seconds=max(float(job.seconds), 0.1))
        self._scheduler = scheduler
        scheduler.start()
        self._guarded(self._sweep, "sweep")()
        self.parts.woken.set()

    def _register_jobs(self) -> list[tuple[str, Periodic]]:
        """The barclamps' jobs, as everybody can see them from now on."""
        registered = self.parts.registry.registered("register_periodic", Periodic)
        found = [(barclamp.name, job) for barclamp, jobs in registered for job in jobs]
        try:
            with self.parts.store.write(graph=False) as session:
                store_jobs.register(session, [(barclamp, job.name, float(job.seconds)) for barclamp, job in found])
        except CrowbarError as error:
            log.warning("the periodic jobs could not be written down", error=error.detail)
        return found

    def _stop_leading(self, *, release: bool = True) -> None:
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)
            self._scheduler = None
        if self.leading and release:
            try:
                with self.parts.store.write(graph=False) as session:
                    leases.give_up(session, SWEEPER, self.name)
            except CrowbarError as error:
                log.warning("the lease could not be given up; it will end by itself", error=error.detail)
        self.leading = False

    def _guarded(self, job: Callable[[], Any], name: str, barclamp: str = CORE) -> Callable[[], None]:
        def run() -> None:
            if not self.leading or self._stopping.is_set():
                return
            begun = time.monotonic()
            try:
                with serving(LiveCluster(self.parts, named(barclamp))):
                    job()
            except Unavailable as error:
                log.warning("a periodic job failed", barclamp=barclamp, job=name, error=error.detail)
                self._note_outage(error)
            except CrowbarError as error:
                log.warning("a periodic job failed", barclamp=barclamp, job=name, error=error.detail)
                self._job_failed(barclamp, name, error.detail, begun)
            except Exception as error:  # noqa: BLE001  a thread of the engine goes on whatever one round did
                log.exception("a periodic job failed", barclamp=barclamp, job=name)
                self._job_failed(barclamp, name, told(error), begun)
            else:
                self._job_done(barclamp, name, begun)

        return run

    def _job_failed(self, barclamp: str, name: str, error: str, begun: float) -> None:
        """Everybody is to see it, until the job succeeds again."""
        self._failing.add((barclamp, name))
        said = Unanswered(
            plugin=barclamp, hook=events.job_name(name), subject="", error=error, traceback=traceback.format_exc()
        )
        try:
            with self.parts.store.write(graph=False) as session:
                now = self.parts.store.now(session)
                events.note_unanswered(session, now, [said])
                took = time.monotonic() - begun
                store_jobs.note(session, barclamp, name, now, took, error, said.traceback)
        except CrowbarError as problem:
            log.warning("that a job failed could not be written down", job=name, error=problem.detail)

    def _job_done(self, barclamp: str, name: str, begun: float) -> None:
        now = time.monotonic()
        last = self._jobs_told.get((barclamp, name), float("-inf"))
        if (barclamp, name) not in self._failing and (barclamp == CORE or now - last < TELL_SECONDS):
            return
        self._jobs_told[barclamp, name] = now
        try:
            with self.parts.store.write(graph=False) as session:
                events.forget_job(session, barclamp, name)
                store_jobs.note(session, barclamp, name, self.parts.store.now(session), now - begun, "", "")
            self._failing.discard((barclamp, name))
        except CrowbarError as problem:
            log.warning("that a job succeeded could not be written down", job=name, error=problem.detail)

    @property
    def _sparing(self) -> bool:
        return time.monotonic() < self._spare_until

    def _sweep(self) -> None:
        with self.parts.store.read() as session:
            holders = list(store_runs.holders(session))
        sweep(self.parts, dead_workers=[holder for holder in holders if has_died(holder)], spare=self._sparing)
        housekeeping.save_power(self.parts)
        housekeeping.note_unanswered(self.parts)
        self.parts.woken.set()


def _readable(connections: Sequence[Any], timeout: float) -> bool:
    return bool(os_select.select(connections, [], [], timeout)[0])
