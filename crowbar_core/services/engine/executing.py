"""Executing one run: check that the node is alive, let the jig work, say what became of it."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import orjson

from crowbar_core.barclamp import Done, Jig, Json, NodeView, Pending, Role, Task
from crowbar_core.domain import attributes as rules
from crowbar_core.domain.attributes import DIFFERING, check_given, check_report_size
from crowbar_core.errors import (
    BadInput,
    CrowbarError,
    Interrupted,
    NodeUnreachable,
    PermanentError,
    RunCancelled,
    TemporaryError,
    Unavailable,
    told,
)
from crowbar_core.logs import log
from crowbar_core.plugins import LoadedRole
from crowbar_core.services.annealing.claiming import Held
from crowbar_core.services.annealing.outcomes import Kind, Outcome
from crowbar_core.services.cluster.liveness import look
from crowbar_core.services.data.layers import Declared
from crowbar_core.services.engine.run_logs import RunLogBuffer, has_secrets, secret_texts
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.secrets import open_secrets
from crowbar_core.store import runs as store_runs
from crowbar_core.store.catalogue import cluster_id

MAX_DEADLINE = 10 * 365 * 86400.0
MAX_STEP = 65536
"""Bytes of a step's JSON."""
MOMENT = 0.2
"""For so many seconds after a run was taken on nobody asks whose it is: no lease ends so soon."""


@dataclass
class Job:
    """A claimed run, as this process holds it."""

    run_id: int
    node_role_id: int
    attempt: int
    refresh: bool
    teardown: bool
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
    step: Json = None
    overdue: bool = False
    taken: int = 0
    """As the how-manieth it was taken on."""
    at: float = 0.0
    """When, by ``CLOCK_BOOTTIME``."""
    has_begun: bool = False
    """Whether the jig may have touched anything."""
    too_late: bool = False
    """It may not begin any more: its worker stops."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    begun: float = 0.0
    took: float = 0.0
    """Seconds, once it is over."""
    stop_asked: float = 0.0
    timed_out: bool = False
    abandoned: bool = False
    """Given up: its outcome is handed in without it."""
    ended: bool = False
    """Its outcome is handed in by its thread."""


class Executor:
    """Carries out claimed runs for one worker, each in the thread that asks for it."""

    def __init__(self, parts: Parts, worker: str) -> None:
        self.parts = parts
        self.worker = worker
        self.handing_back = threading.Event()
        """Set: what is cancelled from now on is handed back."""
        self.lock = threading.Lock()
        """Held while a job begins, or is told that it is too late to."""
        self._installation = ""

    def load(self, held: Sequence[Held]) -> list[Job]:
        """Make jobs of runs that were just taken on."""
        parts, settings = self.parts, self.parts.settings
        if held and not self._installation:
            with parts.store.glance() as connection:
                self._installation = cluster_id(connection)
        return [
            Job(
                run_id=run.id, node_role_id=run.node_role_id, attempt=row.attempt,
                refresh=row.refresh and not run.teardown, teardown=run.teardown, node=one.node,
                role=parts.registry.roles.get(run.role), role_name=run.role, jig_name=run.jig,
                deployment=run.deployment, input=row.input, timeout=run.timeout,
                log=RunLogBuffer(run.id, settings.log_lines, settings.log_bytes, seq=row.log_lines),
                once=run.once if run.destructive and not run.teardown else "",
                step=run.step, overdue=row.overdue, taken=row.taken, at=one.at,
            )
            for one, run, row in ((one, one.run, one.row) for one in held)
        ]  # fmt: skip

    def outcome(self, job: Job) -> Outcome:
        """Carry out one run. Never raises: this is where anything that a jig does wrong stops."""
        job.begun = job.begun or time.monotonic()
        try:
            return self._carry_out(job)
        except NodeUnreachable as error:
            self._look_again(job)
            return self.said(job, "retry", error.detail, delay=error.delay, unsure=job.has_begun)
        except Interrupted as error:
            return self.said(job, "retry", error.detail, delay=error.delay, unsure=job.has_begun)
        except TemporaryError as error:
            return self.said(job, "retry", error.detail, delay=error.delay)
        except RunCancelled as error:
            if job.timed_out:
                return self.said(job, "failed", f"timed out after {job.timeout:g} s", unsure=job.has_begun)
            kind: Kind = "handed back" if self.handing_back.is_set() else "cancelled"
            return self.said(job, kind, error.detail, unsure=job.has_begun)
        except CrowbarError as error:
            return self.said(job, "failed", error.detail, unsure=job.has_begun)
        except (Exception, SystemExit) as error:  # noqa: BLE001  the runner is an edge: what goes wrong is told, and the thread goes on
            for line in traceback.format_exc().splitlines():
                job.log(line)
            return self.said(job, "failed", told(error), unsure=job.has_begun)

    def said(self, job: Job, kind: Kind, reason: str, *, delay: float = 0.0, unsure: bool = False) -> Outcome:
        # A node's own words may be in it: what no database takes must not keep the outcome from being handed in.
        reason = _as_text(job, reason)
        job.log(f"{kind}: {reason}" if reason else kind)
        return Outcome(
            run_id=job.run_id,
            kind=kind,
            reason=reason,
            worker=self.worker,
            delay=delay,
            unsure=unsure,
            taken=job.taken,
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
        data = self._opened(job)
        differing = data.pop(DIFFERING, {})
        if not (job.teardown or job.step is not None):
            self._check_given(job, data, differing)
        task = self._task(job, job.role, address, data)
        result = None
        others = registry.implementations("jig_run", role=job.role_name)
        if others or not (jig.begins or jig.does_nothing):
            task.begin()
        for implementation in others:
            if (result := implementation(task=task)) is not None:
                break
        if result is None:
            with registry.seats(job.role.barclamp):
                result = jig.run(task)
        if isinstance(result, Pending):
            if not isinstance(result.deadline, int | float) or not 0 < result.deadline < MAX_DEADLINE:
                raise PermanentError(f"Jig {job.jig_name} waits with a deadline of {result.deadline!r} seconds.")
            return Outcome(
                run_id=job.run_id, kind="pending", reason=_as_text(job, result.reason), deadline=result.deadline,
                worker=self.worker, unsure=True, step=_as_step(job, result.step), taken=job.taken,
            )  # fmt: skip
        if not isinstance(result, Done):
            raise PermanentError(f"Jig {job.jig_name} answered {type(result).__name__}, neither Done nor Pending.")
        if result.before:
            job.log("it has succeeded before: nothing was done")
        return Outcome(
            run_id=job.run_id,
            kind="succeeded",
            wall=_as_json(job, result.wall),
            worker=self.worker,
            once=job.once,
            taken=job.taken,
        )

    def _begin(self, job: Job) -> None:
        """The last look at the lease before anything is touched: a worker that was stopped must not go on as if nothing
        had been. One that took the run on a moment ago, by a clock that goes on while it is stopped, has it; of what is
        destructive it is asked all the same. What happens between this look and the node, the node itself must fence
        off.
        """
        if job.cancelled.is_set():
            raise RunCancelled("cancelled before it began")
        if job.once or time.clock_gettime(time.CLOCK_BOOTTIME) - job.at > MOMENT:
            self._look_whose(job)
        with self.lock:
            if job.too_late:
                raise RunCancelled("its worker stops: nothing was begun")
            job.has_begun = True

    def _look_whose(self, job: Job) -> None:
        store = self.parts.store
        try:
            with store.glance() as connection:
                mine = store_runs.is_held(connection, store.now(connection), job.run_id, self.worker, job.taken)
        except Unavailable as error:
            raise TemporaryError(f"Nothing was begun, for nobody can tell whose the run is. {error.detail}") from None
        if not mine:
            job.cancelled.set()
            raise RunCancelled(f"run {job.run_id} is no longer this worker's: nothing was begun")

    def _opened(self, job: Job) -> dict[str, Json]:
        """What the run was given, with its secrets in the clear; they appear in no log from now on."""
        data = dict(job.input or {})
        if has_secrets(data):
            data = open_secrets(self.parts.cipher, data)
            job.log.secrets = tuple(sorted(secret_texts(job.input, data), key=len, reverse=True))
        return data

    def _task(self, job: Job, loaded: LoadedRole, address: str | None, data: Mapping[str, Json]) -> Task:
        role: Role = loaded.role
        return Task(
            run_id=job.run_id, node_role_id=job.node_role_id, attempt=job.attempt, node=job.node, address=address,
            role=role, barclamp=loaded.barclamp, package=loaded.package, deployment=job.deployment, data=data,
            timeout=job.timeout, refresh=job.refresh, teardown=job.teardown, log=job.log,
            cancelled=job.cancelled, once=job.once,
            installation=self._installation, begin=partial(self._begin, job), step=job.step, overdue=job.overdue,
        )  # fmt: skip

    def _check_given(self, job: Job, given: Mapping[str, Json], differing: Mapping[str, Json]) -> None:
        """The last look at the values before anything is touched: the sources together, or a schema that is newer than
        they are, may have made of them what the role cannot work with; parents may have come to differ.
        """
        declared = Declared.of(self.parts.registry, job.role_name)
        try:
            check_given(job.role_name, declared.own, declared.wanted, given)
            for attribute, owner in declared.of_parents:
                said = [(one["node"], one["value"]) for one in differing.get(attribute.name, ())]
                if said and (wrong := rules.differing(job.role_name, attribute, owner, said)):
                    raise BadInput(wrong)
        except BadInput as error:
            raise PermanentError(
                f"Nothing was begun. {error.detail} Where it comes from: "
                f"crowbar noderoles attribs {job.node.name}/{job.role_name}"
            ) from error

    def _alive_address(self, job: Job, jig: Jig) -> str | None:
        """Where the node was just found alive. A dead one is marked so, which takes the run away from here."""
        if not job.once and (held := jig.holds(job.node)) is not None:
            return held
        found = look(self.parts, job.node)
        if found is None:
            return next(iter(job.node.addresses), None)
        if not found.alive and job.step is not None and job.role is not None and job.role.role.reboots:
            return None  # it is this run that has taken it away
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


def _as_text(job: Job, text: str) -> str:
    """What a jig says, without secrets and as every database takes it."""
    return job.log.masked(text).replace("\x00", "\ufffd").encode(errors="replace").decode()[:2000]


def _as_step(job: Job, step: Any) -> Json:
    """A step, as the database can hold it."""
    try:
        read = orjson.loads(said := orjson.dumps(step))
    except (TypeError, ValueError, RecursionError) as error:
        raise PermanentError(f"Role {job.role_name} waits in a step that is no JSON: {error}.") from error
    if len(said) > MAX_STEP or b"\\u0000" in said:
        raise PermanentError(f"Role {job.role_name} waits in a step of more than {MAX_STEP} bytes, or with a NUL.")
    return read


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
