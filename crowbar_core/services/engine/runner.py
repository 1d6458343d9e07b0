"""Executing runs: claim, check that the node is alive, let the jig work, hand in the outcome.

One ``Runner`` per process. Runs of jigs that do nothing are ended in batches by the thread that took them on;
all others are carried out by worker threads, as many as ``concurrency``. Outcomes are handed in by one thread,
all that are there in one transaction. The database decides: what is late or doubled changes nothing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Any

from crowbar_core.errors import CrowbarError
from crowbar_core.logs import log
from crowbar_core.services.annealing.annealer import ANNEALER, settle
from crowbar_core.services.annealing.claiming import Held, take_new, take_on, take_on_in_turn
from crowbar_core.services.annealing.outcomes import Kind, Outcome, finish_in_turn
from crowbar_core.services.engine.executing import Executor, Job
from crowbar_core.services.engine.housekeeping import note_unanswered
from crowbar_core.services.engine.run_logs import RunLogs
from crowbar_core.services.engine.slots import Slots
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Turn, open_turn
from crowbar_core.services.watch.workers import worker_name
from crowbar_core.store import runs as store_runs

BATCH = 500
FLUSH_SECONDS = 0.25
GATHER_SECONDS = 0.05
LOOK_SECONDS = 0.1
"""How often it is looked for room that came without an outcome."""
MANY_LINES = 1000
SHORT_SECONDS = 0.25
"""Where runs are over within this, others are taken on ahead."""
LONGEST_WAIT = 1.0
"""Seconds after which a run that was taken on ahead, and has found no thread, is handed back."""
_LAST_WORDS = 1.0
_BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)


class Runner:
    """Executes runs in this process. ``start`` and ``stop`` are each called once."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.worker = worker_name()
        self.concurrency = parts.settings.concurrency
        self._jobs: dict[int, Job] = {}
        self._lock = threading.Lock()
        self._todo: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[tuple[Job | None, Outcome | None]] = queue.SimpleQueue()
        """Each with the slot that its run had."""
        self._slots = Slots(self.concurrency)
        self._stopping = threading.Event()
        self._executor = Executor(parts, self.worker)
        self._threads: list[threading.Thread] = []
        self._logs = RunLogs(parts.store)
        self._waiting: dict[int, None] = {}
        """Runs for which there was no room, in order, each once."""
        self._carried: set[int] = set()
        """Those made by what was handed in here that do not pass by themselves, until they are rung."""
        self._takes_next = False
        """Whether this process chooses itself what it takes on."""
        self._at_it = False
        self._in_vain: set[int] = set()
        """Runs for whose outcome it was waited while none came."""

    # ------------------------------------------------------------ life

    def start(self) -> None:
        for number in range(self.concurrency):
            self._spawn(self._work, f"worker-{number}")
        self._spawn(self._settle, "settler")
        self._spawn(self._watch, "watcher")
        self._spawn(self._flush_forever, "log-flusher")

    def _spawn(self, target: Any, name: str) -> None:
        thread = threading.Thread(target=target, name=f"crowbar-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, timeout: float = 30.0) -> bool:
        """Claim nothing more, let what runs finish, and hand back what does not end in time. True: all ended by itself.

        What is idempotent is ended on its node, as long before ``timeout`` as that may take. Destructive work that has
        begun is let go on until the last moment: ending it halfway is worse than leaving it. Then it is left alone, and
        its noderole's fate is unknown until its mark is found on the node, or an operator decides.
        """
        self._stopping.set()
        self._hand_back_waiting(0.0)
        deadline = time.monotonic() + timeout
        ending = max(timeout / 4, timeout - self.parts.settings.kill_grace - 3 * _LAST_WORDS)
        self._until_quiet(deadline - timeout + ending)
        if self.busy:
            self._executor.handing_back.set()
            self._stop_all()
            self._until_quiet(deadline - 2 * _LAST_WORDS)
        quiet = not self.busy
        if not quiet:
            self._leave_all()
            self._until_quiet(deadline)
        for _ in range(self.concurrency):
            self._todo.put(None)
        self._outcomes.put((None, None))
        self._flush()
        return quiet

    def _until_quiet(self, moment: float) -> None:
        while self.busy and time.monotonic() < moment:
            time.sleep(0.05)

    def _stop_all(self) -> None:
        """Tell everything to stop that may be begun again."""
        with self._lock, self._executor.lock:
            jobs = list(self._jobs.values())
            for job in jobs:
                job.too_late = not job.has_begun
        self.stop_runs([job.run_id for job in jobs if job.too_late or not job.once])

    def _leave_all(self) -> None:
        """This process ends now: say of what is still under way that nobody holds it any more."""
        for job in list(self._jobs.values()):
            if not self._abandon(job):
                continue
            reason = "its worker was stopped while it was under way"
            log.warning("a run is left behind", run=job.run_id, node=job.node.name, role=job.role_name)
            self._outcomes.put((job, self._executor.said(job, "handed back", reason, unsure=job.has_begun)))

    @property
    def busy(self) -> int:
        """How many runs this process holds."""
        return len(self._jobs)

    def stop_runs(self, run_ids: Collection[int]) -> None:
        """Ask for these runs to stop, where this process holds them."""
        for run_id in run_ids:
            with self._lock:
                job = self._jobs.get(run_id)
            if job is not None and not job.cancelled.is_set():
                job.stop_asked = time.monotonic()
                job.cancelled.set()

    # ------------------------------------------------------------ taking on

    def execute_forever(self, take: Callable[[float, int], Sequence[int]]) -> None:
        """Take ids from ``take(timeout, most)``, claim and execute, until stopped. The loop of the in-process queue.

        When none come, the database is asked: runs that were queued before this process started, or by others.
        """
        waiting = self._waiting
        self._takes_next = True
        while not self._stopping.is_set():
            fresh = take(LOOK_SECONDS if waiting else 0.5, BATCH)
            try:
                if not (fresh or waiting or (fresh := self._left_lying())):
                    continue
                # Whoever hands in outcomes takes on, in the same transaction, what there is room for then.
                room = 0 if self._handing_in else self.room(len(waiting) + len(fresh), wait=0.0)
                # Where nothing can begin, only what passes by itself is worth a transaction.
                unknown = self._not_known_to_wait(fresh)
                offered = fresh if room else self._passing(unknown)
                with self._lock:
                    waiting.update(dict.fromkeys(fresh))
                    # Those that wait and those that have just come are taken on together.
                    offered = list(dict.fromkeys((*islice(waiting, room), *offered)))
                self._wait_no_more(set(offered) - set(self.execute(offered)))
            except CrowbarError as error:
                log.warning("taking on runs failed; it will be tried again", error=error.detail)
                self._ask_again()
            except Exception:  # noqa: BLE001  the runner is an edge: what goes wrong is told, and the thread goes on
                log.exception("taking on runs failed")
                self._ask_again()

    def _wait_no_more(self, run_ids: Iterable[int]) -> None:
        with self._lock:
            for run_id in run_ids:
                self._waiting.pop(run_id, None)

    def _ask_again(self) -> None:
        """The database is asked again for what waits."""
        with self._lock:
            self._waiting.clear()
        self._stopping.wait(1.0)

    def _not_known_to_wait(self, run_ids: Sequence[int]) -> Sequence[int]:
        """Without those that are known, from their making, not to pass by themselves. That is forgotten then."""
        with self._lock:
            unknown = [run_id for run_id in run_ids if run_id not in self._carried]
            self._carried.difference_update(run_ids)
        return unknown

    def _passing(self, run_ids: Sequence[int]) -> Sequence[int]:
        jigs = [name for name in self.parts.registry.jigs if self._passes(name)]
        if not (run_ids and jigs):
            return ()
        with self.parts.store.read() as session:
            return store_runs.of_jigs(session, self.parts.store, run_ids, jigs)

    def _left_lying(self) -> list[int]:
        with self.parts.store.read() as session:
            return store_runs.queued(session, BATCH)

    def execute(self, run_ids: Sequence[int]) -> Sequence[int]:
        """Take on what there is room for and begin it. Returns the ids that must wait."""
        if self._stopping.is_set() or not run_ids:
            return run_ids
        try:
            return self._take_on(run_ids)
        except CrowbarError:
            raise
        except Exception:
            if len(run_ids) == 1:
                raise
            log.exception("taking on runs failed; trying one by one", runs=len(run_ids))
        return [left for run_id in run_ids for left in self.execute([run_id])]

    def _take_on(self, run_ids: Sequence[int]) -> Sequence[int]:
        room = self._slots.take(len(run_ids))
        held: Sequence[Held] = ()
        try:
            taken = take_on(self.parts, run_ids, self.worker, room=room, passes=self._passes)
            held = taken.held
        finally:
            self._slots.give_back(room - len(held))
        self._begin(held)
        return taken.left

    def _begin(self, held: Sequence[Held]) -> None:
        """Have these carried out, each of which has a slot."""
        jobs: list[Job] = []
        try:
            jobs = self._load(held)
        finally:
            self._slots.give_back(len(held) - len(jobs))
        for job in jobs:
            self._todo.put(job)

    def execute_here(self, run_ids: Sequence[int]) -> None:
        """Claim these runs and carry them out in this thread, one after another; outcomes are handed in at the end."""
        jobs = self._load(take_on(self.parts, run_ids, self.worker, room=len(run_ids)).held)
        outcomes = [self._executor.outcome(job) for job in jobs]
        self._hand_in(list(zip(jobs, outcomes, strict=True)))

    def room(self, most: int, *, wait: float) -> int:
        """For how many runs there is room, counted up to ``most``; waits ``wait`` seconds for the first one."""
        return min(most, self._slots.free(wait=wait))

    def _passes(self, jig_name: str) -> bool:
        registry = self.parts.registry
        jig = registry.jigs.get(jig_name)
        if jig is None or not jig.does_nothing:
            return False
        others = registry.implementations("jig_run")
        its = [name for name, one in registry.roles.items() if one.role.jig == jig_name] if others else []
        return not any(one.wants(name) for one in others for name in its)

    def _load(self, held: Sequence[Held]) -> list[Job]:
        jobs = self._executor.load(held)
        with self._lock:
            self._jobs.update({job.run_id: job for job in jobs})
        return jobs

    # ------------------------------------------------------------ executing

    def _work(self) -> None:
        while (job := self._todo.get()) is not None:
            with self._lock:
                if job.abandoned:  # it has waited for this thread for too long
                    continue
                job.begun = time.monotonic()
            outcome = self._executor.outcome(job)
            with self._lock:
                job.took = time.monotonic() - job.begun
                job.ended = not job.abandoned
            if not job.ended:
                # A fresh thread has taken this one's place. Nobody waits for the outcome, but what was to be done once
                # and has been done is remembered all the same.
                if job.once and outcome.kind == "succeeded":
                    self._hand_in([(job, outcome)])
                return
            self._outcomes.put((job, outcome))

    # ------------------------------------------------------------ handing in

    def _settle(self) -> None:
        took = 0.0
        while True:
            self._at_it = False
            pending = [self._outcomes.get()]
            self._at_it = True
            # A transaction costs the same for one outcome as for ten. So while other runs are under way, theirs are
            # waited for twice as long as the last one took, or until there is no other any more.
            self._gather(pending, until=time.monotonic() + min(2 * took, GATHER_SECONDS))
            done = [(job, outcome) for job, outcome in pending if job is not None and outcome is not None]
            if done:
                begun = time.monotonic()
                self._hand_in_and_take_on(done)
                took = time.monotonic() - begun
            if any(job is None for job, _ in pending):
                return

    def _gather(self, pending: list[tuple[Job | None, Outcome | None]], *, until: float) -> None:
        """Take what is there, and what comes until then, as long as there are runs whose outcome may come. Those for
        which it was waited in vain are waited for no more: a long run would hold up each short one beside it.
        """
        ended = {job.run_id for job, _ in pending if job is not None}
        waited = False
        while len(pending) < BATCH:
            self._in_vain -= ended
            awaited = len(self._jobs) - len(self._in_vain) > len(pending) and not self._stopping.is_set()
            left = max(0.0, until - time.monotonic()) if awaited else 0.0
            waited = waited or left > 0
            try:
                pending.append(self._outcomes.get(timeout=left))
            except queue.Empty:
                if waited and len(pending) == 1:
                    self._in_vain = set(self._jobs) - ended
                return
            ended = {job.run_id for job, _ in pending[-1:] if job is not None}

    def _hand_in_and_take_on(self, done: Sequence[tuple[Job, Outcome]]) -> None:
        """Hand in outcomes of runs that had a slot each, and have others begin in their place."""
        takes = self._takes_next and not self._stopping.is_set()
        self._slots.ahead = takes and all(job.begun and job.took < SHORT_SECONDS for job, _ in done)
        self._slots.give_back(len(done))
        room = self._slots.take(BATCH) if takes else 0
        held = self._hand_in(done, room=room)
        self._slots.give_back(room - len(held))
        if held:
            try:
                self._begin(held)
            except Exception:  # noqa: BLE001  the runner is an edge: what goes wrong is told, and the thread goes on
                log.exception("runs were taken on and could not be begun; their leases will end", runs=len(held))
        elif not self._jobs:
            self._slots.ahead = False  # what comes next may take long

    @property
    def _handing_in(self) -> bool:
        """Whether outcomes are being handed in, or will be at once."""
        return self._at_it or not self._outcomes.empty()

    def _hand_in(self, done: Sequence[tuple[Job, Outcome]], *, room: int = 0) -> Sequence[Held]:
        """Write the logs, then the outcomes. A database that does not answer is asked again until it does: what was
        done is not forgotten. Returns what was taken on with it, for which there is ``room``: nothing once something
        went wrong, for outcomes come first.
        """
        tries = 0
        held: Sequence[Held] = ()
        while True:
            try:
                held = self._finish(done, room=room)
                break
            except CrowbarError as error:
                room = 0
                self._carried.clear()  # SQLite gives the ids of runs that came to nothing to others
                log.warning("handing in outcomes failed; trying again", error=error.detail, runs=len(done))
            except Exception:  # noqa: BLE001  the runner is an edge: what goes wrong is told, and the thread goes on
                self._carried.clear()
                if room:
                    room = 0
                    log.exception("handing in outcomes and taking on others failed; trying apart", runs=len(done))
                    continue
                log.exception("handing in outcomes failed; trying one by one", runs=len(done))
                if len(done) == 1:
                    self._flush()
                    break  # its lease will end, and the sweeper says what that means
                for one in done:
                    self._hand_in([one])
                return ()
            time.sleep(_BACKOFF[min(tries, len(_BACKOFF) - 1)])
            tries += 1
        with self._lock:
            for job, _ in done:
                if self._jobs.get(job.run_id) is job:  # a run in steps may have been taken on again meanwhile
                    del self._jobs[job.run_id]
        return held

    def _flush_forever(self) -> None:
        while not self._stopping.wait(FLUSH_SECONDS) or self.busy:
            self._flush(waited=FLUSH_SECONDS)
            if self._stopping.is_set():
                time.sleep(FLUSH_SECONDS)

    def _flush(self, *, waited: float = 0.0) -> None:
        """Write what has waited for so many seconds: the lines of a run that ends soon come with its outcome."""
        with self._lock:
            logs = [job.log for job in self._jobs.values() if job.log.waits(waited)]
        self._logs.try_to_write(logs)

    def _finish(self, done: Sequence[tuple[Job, Outcome]], *, room: int) -> Sequence[Held]:
        """The last lines of these runs and their outcomes, in one transaction; and what begins next. Returns that."""
        logs = [job.log for job, _ in done]
        if sum(len(log.lines) for log in logs) > MANY_LINES:
            self._logs.write(logs)  # not while everybody waits for the graph's lock
        held: list[Held] = []

        def settle_and_take(turn: Turn) -> None:
            settle(turn)
            held.extend(take_new(turn, self.worker, room=room - len(held), passes=self._passes))
            if self._takes_next:
                rung = {run: turn.made[run].jig for run in turn.queued if run in turn.made}
                passing = {jig for jig in set(rung.values()) if self._passes(jig)}
                with self._lock:
                    self._carried.difference_update(turn.made)
                    self._carried.update(run for run, jig in rung.items() if jig not in passing)

        with (
            self._logs.lines_of(logs) as (rows, counts),
            open_turn(self.parts, ANNEALER, settle_and_take) as turn,
        ):
            if rows:
                store_runs.append_log(turn.session, turn.store, rows, counts)
            finish_in_turn(turn, [outcome for _, outcome in done])
            with self._lock:
                waiting = list(islice(self._waiting, room))
            if waiting:  # they come before what this makes runnable
                taken, _ = take_on_in_turn(turn, waiting, self.worker, room=room, passes=self._passes)
                held.extend(taken.held)
        self._wait_no_more(waiting)
        return held

    # ------------------------------------------------------------ watching

    def _watch(self) -> None:
        """Renew leases, notice what is to be cancelled, give up what does not end."""
        settings = self.parts.settings
        renewed = time.monotonic()
        while not self._stopping.is_set() or self.busy:
            self._stopping.wait(settings.cancel_poll_seconds) if not self._stopping.is_set() else time.sleep(0.2)
            ids = list(self._jobs)
            if not ids:
                renewed = time.monotonic()
                continue
            try:
                note_unanswered(self.parts)
                with self.parts.store.read() as session:
                    self.stop_runs(store_runs.to_be_stopped(session, self.parts.store, ids))
                if time.monotonic() - renewed >= settings.heartbeat_seconds:
                    self._renew(ids)
                    renewed = time.monotonic()
            except CrowbarError as error:
                log.warning("the database does not answer; runs go on", error=error.detail, runs=len(ids))
            except Exception:  # noqa: BLE001  the runner is an edge: what goes wrong is told, and the thread goes on
                log.exception("watching runs failed")
            self._give_up_overdue()
            self._hand_back_waiting(LONGEST_WAIT)

    def _renew(self, ids: Sequence[int]) -> None:
        store = self.parts.store
        with store.write(graph=False) as session:
            mine = store_runs.renew(
                session, store, store.now(session), ids, self.worker, self.parts.settings.lease_seconds
            )
        self.stop_runs([run_id for run_id in ids if run_id not in mine])

    def _give_up_overdue(self) -> None:
        now, grace = time.monotonic(), self.parts.settings.kill_grace
        for job in list(self._jobs.values()):
            if not job.begun or job.abandoned:
                continue
            timed_out = now - job.begun > job.timeout + grace
            not_stopping = bool(job.stop_asked) and now - job.stop_asked > grace
            if not (timed_out or not_stopping):
                if now - job.begun > job.timeout and not job.cancelled.is_set() and not self._jig_times_itself(job):
                    job.timed_out = True
                    job.cancelled.set()
                continue
            if not self._abandon(job):
                continue
            reason = f"timed out after {job.timeout:g} s" if timed_out else "it did not stop when it was told to"
            log.error("a run is given up", run=job.run_id, node=job.node.name, role=job.role_name, reason=reason)
            kind: Kind = "failed" if timed_out else "cancelled"
            said = self._executor.said(job, kind, f"{reason} (its jig goes on in the background)", unsure=job.has_begun)
            self._outcomes.put((job, said))
            self._spawn(self._work, f"worker-for-{job.run_id}")

    def _hand_back_waiting(self, older: float) -> None:
        """What was taken on more than so many seconds ago, and has found no thread, is anybody's again."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        for job in list(self._jobs.values()):
            if now - job.at >= older and self._abandon(job, waiting=True):
                said = self._executor.said(job, "handed back", "all threads of its worker were busy")
                self._outcomes.put((job, said))

    def _abandon(self, job: Job, *, waiting: bool = False) -> bool:
        """Its thread does not hand in its outcome any more, whoever asks does. Unless that was just done, or, of one
        that is ``waiting``, it has begun.
        """
        with self._lock:
            mine = not (job.abandoned or job.ended or (waiting and job.begun))
            job.abandoned = job.abandoned or mine
        return mine

    def _jig_times_itself(self, job: Job) -> bool:
        jig = self.parts.registry.jigs.get(job.jig_name)
        return jig is not None and jig.touches_node
