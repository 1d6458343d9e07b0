"""The role dhcp-database: what DHCP servers should say is computed from the database and compared with what each of
them has confirmed; who has something else is told.

It runs after each change (a third of a second later, together with all others of that time), and looks at the nodes of
which something changed. It looks at all of them, and compares what a server really has, every five minutes, when the
server is back, and when anything changed that is the same for all nodes, or was never told. A server that does not
answer is a problem and nothing more: the others are told, and it is told when it is back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from crowbar_core import Change, Done, Json, Problem, Refresh, ServedBootEnv, Task, cluster
from crowbar_core.tables import nodes
from crowbar_dhcp import facts, foreign, marks, services
from crowbar_dhcp.drivers import Driver, ServerDiffers, ServerDown, proxies
from crowbar_dhcp.hosts import keep
from crowbar_dhcp.looking import Look, base_of, look, parts
from crowbar_dhcp.services import DATABASE, SERVER, SERVICE, Service, all_services
from crowbar_dhcp.serving import NONE, OWN, Fault, Serving
from crowbar_dhcp.tables import faults

COMPARE_EVERY = timedelta(minutes=5)
AGAIN = timedelta(seconds=5)
NO_SERVER = (
    f"There is no DHCP server to tell yet: bind {SERVER} to a node, or {SERVICE} for a server of your own, and commit "
    "it."
)
MANY = 500
"""When something of more nodes changed all are looked at: that takes fewer statements."""
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a run has to do. ``nodes``: those to look at; None: all. ``due``: the servers of which all is compared.
    ``silent``: those that did not answer, and still do not."""

    there: Sequence[Service]
    seen: marks.Marks
    nodes: frozenset[int] | None
    due: frozenset[int]
    silent: frozenset[int]


def run(task: Task) -> Done:
    """Servers that cannot be told are no failure of this run, which would be put off ever longer, with all the others:
    they are looked after by ``watch``.
    """
    tell(task.data.get("dhcp", {}), task.log, whole=not task.refresh)
    return Done()


def tell(
    said: Json, log: Callable[[str], object], *, whole: bool = False,
    connect: Callable[[Service], Driver] = Service.connect,
) -> None:  # fmt: skip
    """Tell all servers what has changed; ``whole``: compare everything. ``said``: the values of dhcp-database."""
    here = cluster()
    order = _begin(whole, connect)
    now, results = _tell_all(said, order, log, connect)
    if differ := [one for one, result in results.items() if isinstance(result.problem, ServerDiffers)]:
        order = replace(order, nodes=None, due=order.due.union(differ))
        now, results = _tell_all(said, order, log, connect)
    mode = str(said.get("mode") or OWN) if isinstance(said, dict) else OWN
    advertised = facts.prefixes(mode)
    if now.serving.subnets and not order.there:
        log(NO_SERVER)
    if now.serving.subnets and not now.serving.options.dns_servers:
        log(facts.WITHOUT_NAMES)
    problems = [one.problem for one in results.values() if one.problem is not None]
    answered = {one.driver for one in order.there if results[one.id].problem is None}
    refused = any(not isinstance(one, ServerDown) for one in problems)
    told = _told(now.serving, answered) if answered and not refused else None
    with here.change() as change:
        known = _there(change.session, now)
        keep(change, now, _more_faults(now.serving, order.there), known.keys())
        for one in order.there:
            _note(change, one, results[one.id], now.base)
        marks.clear(change, order.seen)
        if any(one.options.get("prefixes", advertised) != advertised for one in order.there):
            change.apply(Refresh(role=SERVER))
        if told is not None or now.serving.elsewhere:
            change.apply(*_served(now, known, told))


def _tell_all(
    said: Json, order: Order, log: Callable[[str], object], connect: Callable[[Service], Driver]
) -> tuple[Look, dict[int, Result]]:
    """By the servers' ids."""
    now = look(said, order.nodes)
    return now, {one.id: _tell(one, order, now, log, connect) for one in order.there}


def _begin(whole: bool, connect: Callable[[Service], Driver]) -> Order:
    """Who is killed from here on leaves it unknown what servers have: all of it is compared then."""
    with cluster().change() as change:
        seen = marks.noted(change.session)
        there = services.ready(change)
        started = change.now
        for one in there:
            services.note(change, one, told="")
        written = base_of(change.session)
    silent = frozenset(one.id for one in there if one.down and not _answers(one, connect))
    due = frozenset(
        one.id for one in there
        if one.id not in silent
        and (whole or one.problem or not one.told or one.told != written or one.compared_at is None
             or started - one.compared_at >= COMPARE_EVERY)
    )  # fmt: skip
    every = due or not seen.nodes or marks.EVERYBODY in seen.nodes or len(seen.nodes) > MANY
    return Order(there=there, seen=seen, nodes=None if every else seen.nodes, due=due, silent=silent)


def _answers(one: Service, connect: Callable[[Service], Driver]) -> bool:
    """One that did not answer the last time, as ``services.ready`` has it."""
    try:
        connect(one).check()
    except Exception:  # noqa: BLE001  a driver of whomever: it is still not told
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class Result:
    """How it went with a server. ``sent``: it was asked, and told what was otherwise; ``whole``: of everything."""

    problem: Exception | None = None
    sent: bool = False
    whole: bool = False


def _tell(
    one: Service, order: Order, now: Look, log: Callable[[str], object], connect: Callable[[Service], Driver]
) -> Result:
    if one.id in order.silent:
        log(f"{one.name}: {one.problem}")
        return Result(problem=ServerDown(one.problem))
    whole = one.id in order.due or one.told != now.base
    part = None if whole else now.part()
    if not whole and part is None:
        return Result()
    try:
        driver = connect(one)
        lines = driver.bring(now.serving) if part is None else driver.bring_some(part)
    except Exception as problem:  # noqa: BLE001  a driver of whomever: the server is not told, and that is said
        log(f"{one.name}: {problem}")
        return Result(problem=problem, sent=True, whole=whole)
    for line in lines:
        log(f"{one.name}: {line}")
    return Result(sent=True, whole=whole)


def _note(change: Change, one: Service, result: Result, base: str) -> None:
    values: dict[str, Any]
    if result.problem is None:
        values = {"told": base, "problem": "", "problem_since": None, "down": False, "faults": 0, "again_at": None}
        values |= {"told_at": change.now} if result.sent else {}
        values |= {"compared_at": change.now} if result.whole else {}
    else:
        values = {"problem": str(result.problem), "problem_since": one.problem_since or change.now}
        values["down"] = isinstance(result.problem, ServerDown)
    services.note(change, one, **values)


def _more_faults(serving: Serving, there: Sequence[Service]) -> Iterable[Fault]:
    """What these servers cannot do."""
    names = sorted({one.network for one in serving.subnets if one.proxied})
    if not there or any(proxies(one.driver) for one in there):
        return
    detail = (
        "others give its addresses, and no server here can tell machines beside them what to boot: Kea cannot. Set "
        f"dhcp-program of {SERVER} to dnsmasq."
    )
    yield from (Fault(on="network", name=name, detail=detail) for name in names)


def _told(serving: Serving, drivers: Collection[str]) -> frozenset[int]:
    """The nodes that servers with these drivers tell what to boot, when all of them have answered."""
    return serving.nodes if any(proxies(one) for one in drivers) else serving.nodes - serving.proxied


def _there(session: Any, now: Look) -> dict[int, Any]:
    """The nodes that were looked at and are still there: id -> its name, and what it is stated to be told."""
    asked = select(nodes.c.id, nodes.c.name, nodes.c.served_bootenv)
    several = [asked] if now.nodes is None else [asked.where(nodes.c.id.in_(some)) for some in parts(now.nodes)]
    return {one.id: one for some in several for one in session.execute(some).all()}


def _served(now: Look, known: Mapping[int, Any], told: Collection[int] | None) -> Iterable[ServedBootEnv]:
    """What nodes are told now is stated, where it is another than before: after the servers have confirmed it.
    ``told``: the nodes that they tell; None: that is not known, and what was stated of them stays. What others alone
    tell does not wait for servers.
    """
    elsewhere = now.serving.elsewhere
    for machine in now.machines:
        row = known.get(machine.id)
        if machine.id not in elsewhere and told is None:
            continue
        right = elsewhere.get(machine.id, machine.id in (told or ()))
        said = machine.served if right else ""
        if row is not None and row.served_bootenv != said and (said or row.served_bootenv):
            yield ServedBootEnv(node=row.name, bootenv=said)


# ---------------------------------------------------------------- every now and then


def compare_everything() -> None:
    """Compare what each server really has: what nobody told is found so."""
    here = cluster()
    with here.change() as change:
        for one in all_services(change.session):
            services.note(change, one, compared_at=None)
        change.apply(Refresh(role=DATABASE))


def watch() -> None:
    """Look whether servers that did not answer are back; then they are told at once. Of one that answers and is down
    all the same (Kea without the server of a family) that is tried ever more seldom.
    """
    here = cluster()
    with here.change() as change:
        now = change.now
        gone = [one for one in services.ready(change) if one.down and (one.again_at is None or one.again_at <= now)]
    back = [one for one in gone if _answers(one, Service.connect)]
    if not back:
        return
    with here.change() as change:
        for one in back:
            pause = min(AGAIN * (2 ** min(one.faults, 10) - 1), COMPARE_EVERY)
            services.note(change, one, faults=one.faults + 1, again_at=now + pause)
        change.apply(Refresh(role=DATABASE))


# ---------------------------------------------------------------- what operators see


def problems() -> Iterable[Problem]:
    with cluster().read() as session:
        several = all_services(session)
        strange = list(foreign.problems(session))
        said = session.execute(select(faults).order_by(faults.c.id).limit(_SHOWN)).all()
        bound = marks.is_bound(session)
    for one in several:
        if one.problem:
            since = f" since {one.problem_since:%Y-%m-%d %H:%M:%S} UTC" if one.problem_since else ""
            yield Problem(detail=f"DHCP server {one.name} is not told{since}: {one.problem}")
    yield from strange
    for one in said:
        yield Problem(detail=f"{one.on.capitalize()} {one.name}: {one.detail}", severity="warning")
    ways = {one["dhcp"] for one in facts.admin_subnets(facts.mode())} if bound else set()
    if bound and not several and ways != {NONE}:
        yield Problem(detail=NO_SERVER, severity="warning")
    if bound and facts.ask(facts.SUBNETS) is None:
        yield Problem(detail=facts.WITHOUT_NETWORKS, severity="warning")
