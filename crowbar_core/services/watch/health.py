"""How well the whole is: gathered once, told by the readiness, the command line, the dashboard and the metrics alike.

A finding is *fatal* when this process cannot answer for the cluster at all (no database), *degraded* when work does not
get done though requests are answered, and a *warning* when an operator should look. Only what is fatal makes a load
balancer turn away: pages that say why nothing works must stay in reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from crowbar_core.errors import CrowbarError, Held
from crowbar_core.services.data.addresses import contested
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.watch.processes import Process, alive_of_kind, processes
from crowbar_core.store import counts, leases, refreshing
from crowbar_core.store.migrate import check

Grade = Literal["ok", "warning", "degraded", "fatal"]
STATUS: Final[Mapping[Grade, str]] = {
    "ok": "ready",
    "warning": "ready",
    "degraded": "degraded",
    "fatal": "not ready",
}
GRADES: Final[tuple[Grade, ...]] = ("ok", "warning", "degraded", "fatal")
CHECKS: Final = (
    "database",
    "migrations",
    "queue",
    "annealer",
    "worker",
    "runs",
    "deliveries",
    "barclamps",
    "hooks",
    "jobs",
    "services",
    "nodes",
    "addresses",
    "processes",
)
"""Everything that is looked at, in the order in which it is told."""
SLOW_SECONDS: Final = 60.0
"""After so long, what is due and not done does not drain."""
SWEEPER: Final = "sweeper"
FAILING: Final = 50
"""How many noderoles that fail again and again are named."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is wrong with one thing. ``detail`` names no node, path or address: strangers may read it."""

    check: str
    grade: Grade
    detail: str
    names: Sequence[str] = ()
    """Which ones, for those who may know."""
    page: str = ""
    """Where a person sees more."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """What was found; whatever of ``CHECKS`` has no finding is well."""

    findings: Sequence[Finding]

    @property
    def grade(self) -> Grade:
        return max((one.grade for one in self.findings), key=GRADES.index, default="ok")

    @property
    def status(self) -> str:
        """ready, degraded or not ready."""
        return STATUS[self.grade]

    def of(self, check: str) -> str:
        """What is wrong with it, or ``ok``."""
        return "; ".join(one.detail for one in self.findings if one.check == check) or "ok"

    def grade_of(self, check: str) -> Grade:
        return max((one.grade for one in self.findings if one.check == check), key=GRADES.index, default="ok")


def gather(parts: Parts) -> Health:
    """Look at everything. Never raises for a database that does not answer: that is a finding, too."""
    found = list(_database(parts))
    if (problem := parts.queue.problem()) is not None:
        found.append(
            Finding(
                check="queue",
                grade="degraded",
                detail="the queue does not answer; queued runs are handed over when it returns",
                names=(problem,),
            )
        )
    if not any(one.grade == "fatal" for one in found):
        try:
            with parts.store.read() as session:
                now = parts.store.now(session)
                living = processes(session, parts.store)
                found += _workforce(parts, session, living, now)
                found += _backlog(session, living, now)
                found += _failing(session)
                found += _troubles(session)
                found += _addresses(parts, session)
        except (CrowbarError, SQLAlchemyError):
            found.append(Finding(check="database", grade="fatal", detail="the database does not answer"))
    found += _packages(parts)
    return Health(findings=sorted(found, key=lambda one: CHECKS.index(one.check)))


def _database(parts: Parts) -> Iterator[Finding]:
    store = parts.store
    try:
        behind = [one.name for one in check(store, parts.registry.schemas()) if not one.up_to_date]
        if behind:
            detail = f"the schema is behind ({', '.join(behind)}); run crowbar db upgrade"
            yield Finding(check="migrations", grade="fatal", detail=detail, names=behind)
    except (CrowbarError, SQLAlchemyError):
        yield Finding(check="database", grade="fatal", detail="the database does not answer")
        return
    try:
        # Every change goes through this door; that it stays shut is found here.
        store.try_graph()
    except Held:
        detail = "nothing can be changed: somebody has held the database's lock for too long; the log says who"
        yield Finding(check="database", grade="fatal", detail=detail)
        return
    except (CrowbarError, SQLAlchemyError):
        yield Finding(check="database", grade="fatal", detail="the database does not answer")
        return
    if store.cannot_write is None:
        return
    try:
        # Asked for only after a write has failed: it may be that nobody writes here but us.
        with store.write(graph=False) as session:
            leases.write_something(session, store.now(session))
    except (CrowbarError, SQLAlchemyError):
        yield Finding(check="database", grade="fatal", detail="the database cannot be written; is its disk full?")


def _workforce(parts: Parts, session: Session, found: Sequence[Process], now: datetime) -> Iterator[Finding]:
    annealers = alive_of_kind(found, "annealer")
    held = leases.holder_of(session, SWEEPER, now) is not None
    settings = parts.settings
    if not annealers and not held:
        detail = "no annealer is alive: nothing is scheduled, swept or told to barclamps; start crowbar annealer"
        yield Finding(check="annealer", grade="degraded", detail=detail, page="/processes")
    elif not held and all(now - one.started_at > timedelta(seconds=4 * settings.leader_seconds) for one in annealers):
        detail = "annealers are alive, but none of them holds the lease; their logs say why"
        yield Finding(check="annealer", grade="degraded", detail=detail, page="/processes")
    if not alive_of_kind(found, "worker"):
        starts = "crowbar worker" if settings.queue != "threads" else "crowbar annealer"
        detail = f"no worker is alive: no run is carried out; start {starts}"
        yield Finding(check="worker", grade="degraded", detail=detail, page="/processes")
    dead = [one for one in found if not one.alive]
    if dead:
        verb = "died" if all(one.died for one in dead) else "gave no sign of life"
        detail = f"{_many(len(dead), 'process', 'processes')} {verb} and nothing took the place"
        names = [f"{'/'.join(one.seen.kinds)} {one.seen.pid} on {one.seen.host}" for one in dead]
        yield Finding(check="processes", grade="warning", detail=detail, names=names, page="/processes")


def _backlog(session: Session, found: Sequence[Process], now: datetime) -> Iterator[Finding]:
    before = now - timedelta(seconds=SLOW_SECONDS)
    workers = alive_of_kind(found, "worker")
    free = sum(max(one.concurrency - one.runs, 0) for one in workers)
    late = counts.queued_before(session, before)
    if late.count and (free or not workers):
        why = f"though {free} more could be carried out" if free else "and nobody carries them out"
        detail = f"{_many(late.count, 'run has', 'runs have')} been queued for {_ago(late.oldest, now)}, {why}"
        yield Finding(check="runs", grade="degraded", detail=detail, page="/runs?state=queued")
    stuck = counts.deliveries_due_before(session, now, before)
    if stuck:
        told = sum(one.count for one in stuck)
        oldest = min(one.oldest for one in stuck if one.oldest is not None)
        detail = f"{_many(told, 'event has', 'events have')} waited for {_ago(oldest, now)} to be told to barclamps"
        yield Finding(
            check="deliveries", grade="degraded", detail=detail, names=[one.name for one in stuck],
            page="/events?state=waiting",
        )  # fmt: skip


def _failing(session: Session) -> Iterator[Finding]:
    """What nobody waits for, because it is tried for ever."""
    failing = refreshing.tried_for_ever(session, FAILING)
    if failing:
        detail = f"{_many(len(failing), 'noderole fails, and is', 'noderoles fail, and are')} tried again and again"
        names = [f"{name}: {reason}" for name, reason in failing.items()]
        yield Finding(check="runs", grade="degraded", detail=detail, names=names, page="/runs?state=failed")


def _troubles(session: Session) -> Iterator[Finding]:
    trouble = counts.troubles(session)
    if trouble.hooks:
        detail = f"{_many(sum(trouble.hooks.values()), 'hook has', 'hooks have')} failed for good"
        yield Finding(check="hooks", grade="degraded", detail=detail, names=sorted(trouble.hooks), page="/events")
    if trouble.quarantined:
        detail = f"{_many(len(trouble.quarantined), 'barclamp is', 'barclamps are')} in quarantine"
        yield Finding(check="hooks", grade="degraded", detail=detail, names=trouble.quarantined, page="/barclamps")
    if trouble.questions:
        detail = f"{_many(len(trouble.questions), 'question', 'questions')} could not be answered by barclamps"
        yield Finding(check="hooks", grade="degraded", detail=detail, names=trouble.questions, page="/barclamps")
    if trouble.jobs:
        detail = f"{_many(len(trouble.jobs), 'periodic job fails', 'periodic jobs fail')}"
        yield Finding(check="jobs", grade="degraded", detail=detail, names=trouble.jobs, page="/barclamps")
    if trouble.services:
        detail = f"{_many(len(trouble.services), 'service of a barclamp fails', 'services of barclamps fail')}"
        yield Finding(check="services", grade="degraded", detail=detail, names=trouble.services, page="/barclamps")
    if trouble.dead_nodes:
        every = trouble.dead_nodes == trouble.wanted_nodes
        detail = f"{_many(trouble.dead_nodes, 'node that was alive is', 'nodes that were alive are')} not alive now"
        detail += ", and no other" if every else ""
        yield Finding(check="nodes", grade="degraded" if every else "warning", detail=detail, page="/nodes?alive=no")


def _addresses(parts: Parts, session: Session) -> Iterator[Finding]:
    found = contested(session, parts.settings)
    if found:
        detail = f"{_many(len(found), 'address is', 'addresses are')} claimed by more than one node"
        names = [f"{address}: {', '.join(names)}" for address, names in found.items()]
        yield Finding(check="addresses", grade="warning", detail=detail, names=names, page="/nodes")


def _packages(parts: Parts) -> Iterator[Finding]:
    problems = parts.registry.problems()
    if problems:
        detail = f"{_many(len(problems), 'installed package', 'installed packages')} did not load, or not whole"
        said = [one.detail for one in problems]
        yield Finding(check="barclamps", grade="degraded", detail=detail, names=said, page="/barclamps")


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def _ago(moment: datetime | None, now: datetime) -> str:
    seconds = (now - moment).total_seconds() if moment else 0.0
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
