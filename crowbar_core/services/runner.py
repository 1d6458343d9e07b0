"""Executing runs: claim, check that the node is alive, let the jig work, hand in the outcome.

One ``Runner`` per process. Runs of jigs that do nothing are ended in batches by the thread that took them on;
all others are carried out by worker threads, as many as ``concurrency``. Outcomes are handed in by one thread,
all that are there in one transaction. The database decides: what is late or doubled changes nothing.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import orjson
from sqlalchemy import select

from crowbar_core.barclamp import Done, Jig, Json, NodeView, Pending, Role, Task
from crowbar_core.domain.attributes import check_report_size
from crowbar_core.errors import (
    CrowbarError,
    Interrupted,
    NodeUnreachable,
    PermanentError,
    RunCancelled,
    TemporaryError,
    Unavailable,
    told,
)
from crowbar_core.plugins import LoadedRole
from crowbar_core.services.addresses import claims_for_views
from crowbar_core.services.annealer import ANNEALER, Kind, Outcome, change, claim, finish_in_turn, take_on
from crowbar_core.services.housekeeping import note_unanswered
from crowbar_core.services.liveness import look
from crowbar_core.services.parts import Parts, log
from crowbar_core.services.run_logs import RunLogBuffer, RunLogs, has_secrets, secret_texts
from crowbar_core.services.secrets import open_secrets
from crowbar_core.services.views import node_view
from crowbar_core.services.workers import worker_name
from crowbar_core.store import runs as store_runs
from crowbar_core.store.catalogue import cluster_id
from crowbar_core.store.models import Deployment, Node, NodeRole, RoleRow, Run, table

nodes, node_roles, roles, runs, deployments = (
    table(Node),
    table(NodeRole),
    table(RoleRow),
    table(Run),
    table(Deployment),
)

BATCH = 500
MAX_DEADLINE = 10 * 365 * 86400.0
FLUSH_SECONDS = 0.25
GATHER_SECONDS = 0.05
MANY_LINES = 1000
_LAST_WORDS = 1.0
_BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass
class Job:
    """A claimed run, as this process holds it."""

    run_id: int
    node_role_id: int
    attempt: int
    refresh: bool
    node: NodeView
    role: LoadedRole | None
    role_name: str
    jig_name: str
    deployment: str
    input: dict[str, Json]
    timeout: float
    log: RunLogBuffer
    once: str = ""
    """The token of the binding, where the role is destructive."""
    has_begun: bool = False
    """Whether the jig may have touched anything."""
    too_late: bool = False
    """It may not begin any more: its worker stops."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    begun: float = 0.0
    stop_asked: float = 0.0
    timed_out: bool = False
    abandoned: bool = False


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
        self._slots = threading.Semaphore(self.concurrency)
        self._stopping = threading.Event()
        self._handing_back = threading.Event()
        self._threads: list[threading.Thread] = []
        self._logs = RunLogs(parts.store)
        self._installation = ""

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
        deadline = time.monotonic() + timeout
        ending = max(timeout / 4, timeout - self.parts.settings.kill_grace - 3 * _LAST_WORDS)
        self._until_quiet(deadline - timeout + ending)
        if self.busy:
            self._handing_back.set()
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
        with self._lock:
            jobs = list(self._jobs.values())
            for job in jobs:
                job.too_late = not job.has_begun
        self.stop_runs([job.run_id for job in jobs if job.too_late or not job.once])

    def _leave_all(self) -> None:
        """This process ends now: say of what is still under way that nobody holds it any more."""
        for job in list(self._jobs.values()):
            if job.abandoned:
                continue
            job.abandoned = True
            reason = "its worker was stopped while it was under way"
            log.warning("a run is left behind", run=job.run_id, node=job.node.name, role=job.role_name)
            self._outcomes.put((job, self._said(job, "handed back", reason, unsure=job.has_begun)))

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
        waiting: dict[int, None] = {}  # in order, each once: known to need a worker thread
        while not self._stopping.is_set():
            fresh = take(0.0 if waiting else 0.5, BATCH)
            try:
                if not (fresh or waiting):
                    fresh = self._left_lying()
                if waiting and (room := self.room(len(waiting), wait=0.0 if fresh else 0.1)):
                    first = list(islice(waiting, room))
                    for run_id in set(first) - set(self.execute(first)):
                        del waiting[run_id]
                if fresh:
                    waiting.update(dict.fromkeys(self.execute(fresh)))
            except CrowbarError as error:
                log.warning("taking on runs failed; it will be tried again", error=error.detail)
                waiting.clear()  # the database is asked for them again
                self._stopping.wait(1.0)
            except Exception:  # noqa: BLE001  the runner is an edge: what goes wrong is told, and the thread goes on
                log.exception("taking on runs failed")
                waiting.clear()
                self._stopping.wait(1.0)

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
        room = self._take_slots(len(run_ids))
        jobs: list[Job] = []
        try:
            taken = take_on(self.parts, run_ids, self.worker, room=room, passes=self._passes)
            jobs = self._load(taken.held)
        finally:
            if room > len(jobs):
                self._slots.release(room - len(jobs))
        for job in jobs:
            self._todo.put(job)
        return taken.left

    def execute_here(self, run_ids: Sequence[int]) -> None:
        """Claim these runs and carry them out in this thread, one after another; outcomes are handed in at the end."""
        jobs = self._load(claim(self.parts, run_ids, self.worker))
        outcomes = [self._outcome(job) for job in jobs]
        self._hand_in(list(zip(jobs, outcomes, strict=True)))

    def room(self, most: int, *, wait: float) -> int:
        """How many worker threads are free, counted up to ``most``; waits ``wait`` seconds for the first one."""
        free = self._take_slots(most, wait=wait)
        if free:
            self._slots.release(free)
        return free

    def _take_slots(self, most: int, *, wait: float = 0.0) -> int:
        got = self._slots.acquire(timeout=wait) if wait else self._slots.acquire(blocking=False)
        taken = int(got)
        while got and taken < most and self._slots.acquire(blocking=False):
            taken += 1
        return taken

    def _passes(self, jig_name: str) -> bool:
        registry = self.parts.registry
        jig = registry.jigs.get(jig_name)
        return jig is not None and jig.does_nothing and not registry.listens("jig_run")

    def _load(self, run_ids: Sequence[int]) -> list[Job]:
        parts, settings = self.parts, self.parts.settings
        if not run_ids:
            return []
        home = deployments.alias()
        with parts.store.read() as session:
            self._installation = self._installation or cluster_id(session)
            rows = session.execute(
                select(
                    runs.c.id.label("run_id"), runs.c.node_role_id, runs.c.attempt, runs.c.refresh, runs.c.input,
                    nodes.c.id, nodes.c.name, nodes.c.admin, nodes.c.system, nodes.c.alive, nodes.c.available,
                    nodes.c.bootenv, nodes.c.discovery, nodes.c.hint, nodes.c.host_keys,
                    home.c.name.label("deployment"), deployments.c.name.label("run_deployment"),
                    roles.c.name.label("role"), roles.c.jig_name, roles.c.timeout, roles.c.destructive,
                    node_roles.c.once,
                )
                .join(nodes, nodes.c.id == runs.c.node_id)
                .join(home, home.c.id == nodes.c.deployment_id)
                .join(node_roles, node_roles.c.id == runs.c.node_role_id)
                .join(deployments, deployments.c.id == node_roles.c.deployment_id)
                .join(roles, roles.c.id == node_roles.c.role_id)
                .where(parts.store.ids(runs.c.id, run_ids))
                .order_by(runs.c.id)
            ).all()  # fmt: skip
            claims = claims_for_views(parts.registry, session, parts.store, [row.id for row in rows])
        jobs = [
            Job(
                run_id=row.run_id, node_role_id=row.node_role_id, attempt=row.attempt, refresh=row.refresh,
                node=node_view(parts.registry, row, claims.get(row.id, ())),
                role=parts.registry.roles.get(row.role), role_name=row.role, jig_name=row.jig_name,
                deployment=row.run_deployment, input=row.input, timeout=row.timeout,
                log=RunLogBuffer(row.run_id, settings.log_lines, settings.log_bytes),
                once=row.once if row.destructive else "",
            )
            for row in rows
        ]  # fmt: skip
        with self._lock:
            self._jobs.update({job.run_id: job for job in jobs})
        return jobs

    # ------------------------------------------------------------ executing

    def _work(self) -> None:
        while (job := self._todo.get()) is not None:
            outcome = self._outcome(job)
            if job.abandoned:
                # A fresh thread has taken this one's place. Nobody waits for the outcome, but what was to be done once
                # and has been done is remembered all the same.
                if job.once and outcome.kind == "succeeded":
                    self._hand_in([(job, outcome)])
                return
            self._outcomes.put((job, outcome))

    def _outcome(self, job: Job) -> Outcome:
        """Carry out one run. Never raises: this is where anything that a jig does wrong stops."""
        job.begun = time.monotonic()
        try:
            return self._carry_out(job)
        except NodeUnreachable as error:
            self._look_again(job)
            return self._said(job, "retry", error.detail, delay=error.delay, unsure=job.has_begun)
        except Interrupted as error:
            return self._said(job, "retry", error.detail, delay=error.delay, unsure=job.has_begun)
        except TemporaryError as error:
            return self._said(job, "retry", error.detail, delay=error.delay)
        except RunCancelled as error:
            if job.timed_out:
                return self._said(job, "failed", f"timed out after {job.timeout:g} s", unsure=job.has_begun)
            kind: Kind = "handed back" if self._handing_back.is_set() else "cancelled"
            return self._said(job, kind, error.detail, unsure=job.has_begun)
        except CrowbarError as error:
            return self._said(job, "failed", error.detail, unsure=job.has_begun)
        except (Exception, SystemExit) as error:  # noqa: BLE001  the runner is an edge: what goes wrong is told, and the thread goes on
            for line in traceback.format_exc().splitlines():
                job.log(line)
            return self._said(job, "failed", told(error), unsure=job.has_begun)

    def _said(self, job: Job, kind: Kind, reason: str, *, delay: float = 0.0, unsure: bool = False) -> Outcome:
        # A node's own words may be in it: what no database takes must not keep the outcome from being handed in.
        reason = job.log.masked(reason).replace("\x00", "\ufffd").encode(errors="replace").decode()
        job.log(f"{kind}: {reason}" if reason else kind)
        return Outcome(
            run_id=job.run_id, kind=kind, reason=reason[:2000], worker=self.worker, delay=delay, unsure=unsure
        )

    def _carry_out(self, job: Job) -> Outcome:
        registry = self.parts.registry
        jig = registry.jigs.get(job.jig_name)
        if job.role is None or jig is None:
            missing = f"jig {job.jig_name!r}" if jig is None else f"barclamp that brings {job.role_name}"
            raise TemporaryError(f"The {missing} is not installed on this worker.", delay=30.0)
        if job.cancelled.is_set():
            raise RunCancelled("cancelled before it began")
        address = self._alive_address(job, jig) if jig.touches_node else None
        task = self._task(job, job.role, address)
        result = None
        others = registry.implementations("jig_run", role=job.role_name)
        if others or not (jig.begins or jig.does_nothing):
            task.begin()
        for implementation in others:
            if (result := implementation(task=task)) is not None:
                break
        result = jig.run(task) if result is None else result
        if isinstance(result, Pending):
            if not isinstance(result.deadline, int | float) or not 0 < result.deadline < MAX_DEADLINE:
                raise PermanentError(f"Jig {job.jig_name} waits with a deadline of {result.deadline!r} seconds.")
            return Outcome(
                run_id=job.run_id, kind="pending", reason=job.log.masked(result.reason), deadline=result.deadline,
                worker=self.worker, unsure=True,
            )  # fmt: skip
        if not isinstance(result, Done):
            raise PermanentError(f"Jig {job.jig_name} answered {type(result).__name__}, neither Done nor Pending.")
        if result.before:
            job.log("it has succeeded before: nothing was done")
        return Outcome(
            run_id=job.run_id, kind="succeeded", wall=_as_json(job, result.wall), worker=self.worker, once=job.once
        )

    def _begin(self, job: Job) -> None:
        """The last look at the lease before anything is touched: a worker that was stopped must not go on as if nothing
        had been. What happens between this look and the node, the node itself must fence off.
        """
        if job.cancelled.is_set():
            raise RunCancelled("cancelled before it began")
        store = self.parts.store
        try:
            with store.read() as session:
                mine = store_runs.is_held(session, store.now(session), job.run_id, self.worker)
        except Unavailable as error:
            raise TemporaryError(f"Nothing was begun, for nobody can tell whose the run is. {error.detail}") from None
        if not mine:
            job.cancelled.set()
            raise RunCancelled(f"run {job.run_id} is no longer this worker's: nothing was begun")
        with self._lock:
            if job.too_late:
                raise RunCancelled("its worker stops: nothing was begun")
            job.has_begun = True

    def _task(self, job: Job, loaded: LoadedRole, address: str | None) -> Task:
        role: Role = loaded.role
        data = job.input
        if data and has_secrets(data):
            data = open_secrets(self.parts.cipher, data)
            job.log.secrets = tuple(sorted(secret_texts(job.input, data), key=len, reverse=True))
        return Task(
            run_id=job.run_id, node_role_id=job.node_role_id, attempt=job.attempt, node=job.node, address=address,
            role=role, barclamp=loaded.barclamp, package=loaded.package, deployment=job.deployment, data=data,
            timeout=job.timeout, refresh=job.refresh, log=job.log, cancelled=job.cancelled, once=job.once,
            installation=self._installation, begin=partial(self._begin, job),
        )  # fmt: skip

    def _alive_address(self, job: Job, jig: Jig) -> str | None:
        """Where the node was just found alive. A dead one is marked so, which takes the run away from here."""
        found = look(self.parts, job.node)
        if found is None:
            return next(iter(job.node.addresses), None)
        if not found.alive:
            raise RunCancelled(f"node {job.node.name} is not alive: {found.reason}")
        if found.host_keys and not job.node.host_keys:
            job.node = replace(job.node, host_keys=found.host_keys)
        return found.address

    def _look_again(self, job: Job) -> None:
        """The jig lost the node: find out whether it is dead, so that others need not find out the same way."""
        try:
            look(self.parts, job.node)
        except CrowbarError as error:
            log.warning("probe after a lost node failed", node=job.node.name, error=error.detail)

    # ------------------------------------------------------------ handing in

    def _settle(self) -> None:
        took = 0.0
        while True:
            pending = [self._outcomes.get()]
            # A transaction costs the same for one outcome as for ten. So while other runs are under way, theirs are
            # waited for as long as the last one took; a run that is alone waits for nothing.
            if len(self._jobs) > 1:
                self._stopping.wait(min(took, GATHER_SECONDS))
            while len(pending) < BATCH:
                try:
                    pending.append(self._outcomes.get_nowait())
                except queue.Empty:
                    break
            done = [(job, outcome) for job, outcome in pending if job is not None and outcome is not None]
            if done:
                begun = time.monotonic()
                self._hand_in(done)
                took = time.monotonic() - begun
                for _ in done:
                    self._slots.release()
            if any(job is None for job, _ in pending):
                return

    def _hand_in(self, done: Sequence[tuple[Job, Outcome]]) -> None:
        """Write the logs, then the outcomes. A database that does not answer is asked again until it does: what was
        done is not forgotten.
        """
        tries = 0
        while True:
            try:
                self._finish(done)
                break
            except CrowbarError as error:
                log.warning("handing in outcomes failed; trying again", error=error.detail, runs=len(done))
            except Exception:  # noqa: BLE001  the runner is an edge: what goes wrong is told, and the thread goes on
                log.exception("handing in outcomes failed; trying one by one", runs=len(done))
                if len(done) == 1:
                    self._flush()
                    break  # its lease will end, and the sweeper says what that means
                for one in done:
                    self._hand_in([one])
                return
            time.sleep(_BACKOFF[min(tries, len(_BACKOFF) - 1)])
            tries += 1
        with self._lock:
            for job, _ in done:
                self._jobs.pop(job.run_id, None)

    def _flush_forever(self) -> None:
        while not self._stopping.wait(FLUSH_SECONDS) or self.busy:
            self._flush()
            if self._stopping.is_set():
                time.sleep(FLUSH_SECONDS)

    def _flush(self) -> None:
        with self._lock:
            logs = [job.log for job in self._jobs.values() if job.log.lines]
        try:
            self._logs.write(logs)
        except CrowbarError as error:
            log.warning("writing logs failed; they are kept", error=error.detail)
        except Exception:  # noqa: BLE001  the runner is an edge: what goes wrong is told, and the thread goes on
            log.exception("writing logs failed")

    def _finish(self, done: Sequence[tuple[Job, Outcome]]) -> None:
        """The last lines of these runs and their outcomes, in one transaction."""
        logs = [job.log for job, _ in done]
        if sum(len(log.lines) for log in logs) > MANY_LINES:
            self._logs.write(logs)  # not while everybody waits for the graph's lock
        with self._logs.lines_of(logs) as (rows, counts), change(self.parts, ANNEALER) as turn:
            if rows:
                store_runs.append_log(turn.session, rows, counts)
            finish_in_turn(turn, [outcome for _, outcome in done])

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
            job.abandoned = True
            reason = f"timed out after {job.timeout:g} s" if timed_out else "it did not stop when it was told to"
            log.error("a run is given up", run=job.run_id, node=job.node.name, role=job.role_name, reason=reason)
            kind: Kind = "failed" if timed_out else "cancelled"
            said = self._said(job, kind, f"{reason} (its jig goes on in the background)", unsure=job.has_begun)
            self._outcomes.put((job, said))
            self._spawn(self._work, f"worker-for-{job.run_id}")

    def _jig_times_itself(self, job: Job) -> bool:
        jig = self.parts.registry.jigs.get(job.jig_name)
        return jig is not None and jig.touches_node


def _as_json(job: Job, wall: Any) -> dict[str, Json]:
    """What a jig reports, as the database can hold it: nothing of the sort may fail where outcomes are handed in."""
    if not wall and isinstance(wall, Mapping):
        return {}
    try:
        read = orjson.loads(orjson.dumps(dict(wall)))
    except (TypeError, ValueError, RecursionError) as error:
        raise PermanentError(f"Role {job.role_name} reported something that is no JSON object: {error}.") from error
    assert isinstance(read, dict)
    check_report_size(job.role_name, read)  # not while everybody waits for the graph's lock
    return read
