"""The role dhcp-database: what DHCP servers should say is computed from the database and compared with what each of
them has confirmed; who has something else is told.

It runs after each change (a third of a second later, together with all others of that time). Every five minutes, and
when a server is back, what it really has is compared. A server that does not answer is a problem and nothing more: the
others are told, and it is told when it is back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from crowbar_core import (
    Change,
    Done,
    Json,
    Problem,
    Refresh,
    ServedBootEnv,
    Task,
    cluster,
)
from crowbar_core.tables import node_roles, nodes, roles
from crowbar_dhcp import facts, foreign, services
from crowbar_dhcp.drivers import ServerDown, proxies
from crowbar_dhcp.hosts import keep
from crowbar_dhcp.services import DATABASE, SERVER, SERVICE, Service, all_services
from crowbar_dhcp.serving import NONE, OWN, Fault, Machine, Options, Serving, serving_of
from crowbar_dhcp.tables import faults

COMPARE_EVERY = timedelta(minutes=5)
NO_SERVER = (
    f"There is no DHCP server to tell yet: bind {SERVER} to a node, or {SERVICE} for a server of your own, and commit "
    "it."
)
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What should be served now, and of whom."""

    serving: Serving
    machines: Sequence[Machine]


def wanted(said: Json) -> Wanted:
    """``said``: the values of dhcp-database, as a tree. Asks for all nodes at once, in a fixed number of statements,
    and outside any change, which others would have to wait for: what changes meanwhile has this run come again.
    """
    machines = facts.machines()
    nets = facts.nets(str(said.get("mode") or OWN))
    options = Options(
        dns_servers=tuple(said.get("dns-servers") or facts.resolvers()),
        ntp_servers=tuple(said.get("ntp-servers") or ()),
        domain=str(said.get("domain") or _only_domain(machines)), lifetime=int(said.get("lease") or 3600),
    )  # fmt: skip
    return Wanted(serving=serving_of(nets, machines, options, facts.strangers()), machines=machines)


def _only_domain(machines: Sequence[Machine]) -> str:
    """The domain of all nodes, where they have one in common."""
    found = {one.name.partition(".")[2] for one in machines}
    return found.pop() if len(found) == 1 else ""


def run(task: Task) -> Done:
    """Servers that cannot be told are no failure of this run, which would be put off ever longer, with all the others:
    they are looked after by ``watch``.
    """
    here = cluster()
    said = task.data.get("dhcp", {})
    now = wanted(said)
    advertised = facts.prefixes(str(said.get("mode") or OWN))
    with here.change() as change:
        there = services.ready(change)
        keep(change, _with_faults(now.serving, there), now.machines)
        started = change.now
        if any(one.options.get("prefixes", advertised) != advertised for one in there):
            change.apply(Refresh(role=SERVER))
    if now.serving.subnets and not there:
        task.log(NO_SERVER)
    refused = False
    answered = set()
    for one in there:
        due = one.compared_at is None or started - one.compared_at >= COMPARE_EVERY
        if one.told == now.serving.sum and not (one.problem or due or not task.refresh):
            answered.add(one.driver)
            continue
        problem = _tell(task, one, now.serving)
        if problem is None:
            answered.add(one.driver)
        refused |= problem is not None and not isinstance(problem, ServerDown)
        if problem is not None:
            task.log(f"{one.name}: {problem}")
    told = _told(now.serving, answered) if answered and not refused else None
    if told is not None or now.serving.elsewhere:
        with here.change() as change:
            change.apply(*_served(change, now, told))
    return Done()


def _with_faults(serving: Serving, there: Sequence[Service]) -> Serving:
    """With what these servers cannot do."""
    names = sorted({one.network for one in serving.subnets if one.proxied})
    if not names or not there or any(proxies(one.driver) for one in there):
        return serving
    detail = (
        "others give its addresses, and no server here can tell machines beside them what to boot: Kea cannot. Set "
        f"dhcp-program of {SERVER} to dnsmasq."
    )
    more = tuple(Fault(on="network", name=name, detail=detail) for name in names)
    return replace(serving, faults=(*serving.faults, *more))


def _told(serving: Serving, drivers: Collection[str]) -> frozenset[int]:
    """The nodes that servers with these drivers tell what to boot, when all of them have answered."""
    return serving.nodes if any(proxies(one) for one in drivers) else serving.nodes - serving.proxied


def _tell(task: Task, one: Service, serving: Serving) -> Exception | None:
    """Tell one server, and note how that went."""
    here = cluster()
    with here.change() as change:
        services.note(change, one, told="")
    problem: Exception | None = None
    try:
        lines = one.connect().bring(serving)
    except Exception as error:  # noqa: BLE001  a driver of whomever: the server is not told, and that is said
        problem, lines = error, []
    for line in lines:
        task.log(f"{one.name}: {line}")
    with here.change() as change:
        if problem is None:
            values: dict[str, Any] = {"told": serving.sum, "told_at": change.now, "compared_at": change.now}
            values |= {"problem": "", "problem_since": None, "down": False}
        else:
            values = {"problem": str(problem), "problem_since": one.problem_since or change.now}
            values["down"] = isinstance(problem, ServerDown)
        services.note(change, one, **values)
    return problem


def _served(change: Change, now: Wanted, told: Collection[int] | None) -> Iterable[ServedBootEnv]:
    """What nodes are told now is stated, where it is another than before: after the servers have confirmed it.
    ``told``: the nodes that they tell; None: that is not known, and what was stated of them stays. What others alone
    tell does not wait for servers.
    """
    elsewhere = now.serving.elsewhere
    asked = select(nodes.c.id, nodes.c.name, nodes.c.served_bootenv)
    known = {one.id: one for one in change.session.execute(asked).all()}
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
    """Look whether servers that did not answer are back; then they are told at once."""
    here = cluster()
    with here.change() as change:
        gone = [one for one in services.ready(change) if one.down]
    back = []
    for one in gone:
        try:
            one.connect().check()
        except Exception:  # noqa: BLE001  whatever a driver says: the run will say it again
            continue
        back.append(one)
    if back:
        here.apply([Refresh(role=DATABASE)])


# ---------------------------------------------------------------- what operators see


def problems() -> Iterable[Problem]:
    with cluster().read() as session:
        several = all_services(session)
        strange = list(foreign.problems(session))
        said = session.execute(select(faults).order_by(faults.c.id).limit(_SHOWN)).all()
        bound = session.scalar(
            select(node_roles.c.id).join(roles, roles.c.id == node_roles.c.role_id).where(roles.c.name == DATABASE)
        )
    for one in several:
        if one.problem:
            since = f" since {one.problem_since:%Y-%m-%d %H:%M:%S} UTC" if one.problem_since else ""
            yield Problem(detail=f"DHCP server {one.name} is not told{since}: {one.problem}")
    yield from strange
    for one in said:
        yield Problem(detail=f"{one.on.capitalize()} {one.name}: {one.detail}", severity="warning")
    ways = {one["dhcp"] for one in facts.admin_subnets(facts.mode())} if bound is not None else set()
    if bound is not None and not several and ways != {NONE}:
        yield Problem(detail=NO_SERVER, severity="warning")
    if bound is not None and facts.ask(facts.SUBNETS) is None:
        yield Problem(detail=facts.WITHOUT_NETWORKS, severity="warning")
