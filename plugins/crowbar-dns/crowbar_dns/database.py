"""The role dns-database: what the cluster should be called is compared with what the servers have, and only the
difference is sent.

It runs after each change (a third of a second later, together with all others of that time), and every five minutes
over everything. A server that does not answer is a problem and nothing more: the others are told, and it is told when
it is back, which is looked for every few seconds. Only the first run is tried again until there is a server and all
answered; in between, the other roles of its node have their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import select, update

from crowbar_core import Done, Problem, Task, TemporaryError, cluster
from crowbar_core.tables import node_roles, roles
from crowbar_dns import entries, serving
from crowbar_dns.drivers import Driver
from crowbar_dns.facts import WITHOUT_NETWORKS, filters, networks_are_kept, subnets
from crowbar_dns.names import reverse_zones, zone_of
from crowbar_dns.services import (
    DATABASE,
    FOLLOW,
    SERVER,
    SERVICE,
    Service,
    all_services,
    owner,
    tell_again,
    unsealed,
    zones_of,
)
from crowbar_dns.tables import entries as table
from crowbar_dns.tables import served, services

NO_SERVER = f"There is no DNS server to tell yet: bind {SERVER} to a node, or {SERVICE} for one of your own; commit."
_SHOWN = 5
_DELAY = 1.0


def run(task: Task) -> Done:
    found = tell(task.log, whole=not task.refresh)
    if found is None and not task.refresh:
        raise TemporaryError(NO_SERVER, delay=_DELAY)
    if found and not task.refresh:
        raise TemporaryError(" ".join(found), delay=_DELAY)
    return Done()


def tell(
    log: Callable[[str], object], *, whole: bool = False, connect: Callable[[Service], Driver] = Service.connect
) -> list[str] | None:
    """Tell all servers what has changed, or compare everything. Returns why some could not be told; None: there is
    none.
    """
    here = cluster()
    with here.change() as change:
        changed = entries.renew(change)
        there = all_services(change.session)
        mine = owner(change)
        orders = [
            (order, unsealed(change, one))
            for one in there
            if (order := serving.begin(change, one, mine, changed, whole=whole)) is not None
        ]
    if changed:
        log(f"{len(changed)} name{'s' if len(changed) > 1 else ''} changed")
    down = []
    for order, service in orders:
        result = _tell(order, service, connect)
        with here.change() as change:
            serving.finish(change, order, result)
        for line in [*result.said, *result.zones.values(), *result.refused.values()]:
            log(line)
        if result.down:
            down.append(result.down)
        elif result.edits:
            log(f"{service.name}: {result.edits} record set{'s' if result.edits > 1 else ''} told")
    return down if there else None


def _tell(order: serving.Order, service: Service, connect: Callable[[Service], Driver]) -> serving.Result:
    try:
        driver = connect(service)
    except Exception as problem:  # noqa: BLE001  a driver of whomever: the server is not told, and that is said
        return serving.Result(down=str(problem))
    return serving.carry_out(order, driver)


# ---------------------------------------------------------------- every now and then


def compare_everything() -> None:
    """Make all claims anew, and compare all that is served: what nobody told is found so."""
    with cluster().change() as change:
        entries.note(change, [entries.EVERYBODY])
        change.session.execute(update(services).values(compared_at=None))
        change.apply(FOLLOW)


def watch() -> None:
    """Look whether servers that did not answer are back; then they are told at once. Those of which not all could be
    told are compared again when it is time for that.
    """
    here = cluster()
    with here.read() as session:
        known = all_services(session)
    back = [one.id for one in known if one.silent and one.answers()]
    faulty = [one for one in known if one.again_at is not None]
    if not (back or faulty):
        return
    with here.change() as change:
        due = [one.id for one in faulty if one.again_at is not None and one.again_at <= change.now]
        tell_again(change, [*back, *due])
        if back or due:
            change.apply(FOLLOW)


# ---------------------------------------------------------------- what operators see


def problems() -> Iterable[Problem]:
    with cluster().read() as session:
        several = all_services(session)
        for one in several:
            yield from _of_service(one)
        said = select(served.c.problem).where(served.c.problem != "").distinct().limit(_SHOWN + 1)
        lost = select(table.c.problem).where(table.c.problem != "").distinct().limit(_SHOWN + 1)
        refused = [*session.scalars(lost).all(), *session.scalars(said).all()]
        bound = session.scalar(
            select(node_roles.c.id).join(roles, roles.c.id == node_roles.c.role_id).where(roles.c.name == DATABASE)
        )
        without = _without_zone(session, several) if bound is not None and several else []
        known = bool(filters(session))
    if bound is not None and not several:
        yield Problem(detail=NO_SERVER, severity="warning")
    if refused:
        more = " (and more: /dns?problems=true)" if len(refused) > 1 else ""
        yield Problem(detail=f"A name is not served: {refused[0]}{more}.", severity="warning")
    if without:
        yield Problem(detail=without[0], severity="warning")
    if bound is not None and known and not networks_are_kept():
        yield Problem(detail=WITHOUT_NETWORKS, severity="warning")


def _of_service(one: Service) -> Iterable[Problem]:
    if one.problem:
        since = f" since {one.problem_since:%Y-%m-%d %H:%M:%S} UTC" if one.problem_since else ""
        yield Problem(detail=f"DNS server {one.name} is not told{since}: {one.problem}")
    for said in one.zone_problems.values():
        yield Problem(detail=f"DNS server {one.name}: {said}")


def _without_zone(session: object, several: Sequence[Service]) -> list[str]:
    zones = zones_of(several)
    asked = select(table.c.name).where(table.c.problem == "")
    lost = sorted({one for one in session.scalars(asked) if zone_of(one, zones) is None})  # type: ignore[attr-defined]
    if not lost:
        return []
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    zone = zone_of(lost[0], reverse_zones(subnets([]))) or lost[0].partition(".")[2]
    return [
        f"No DNS server has a zone for {lost[0]}{more}: name {zone}, or what it is below, in dns-domains of {SERVER}; "
        f"or make it on your server, and name it in dns-service-zones of {SERVICE}."
    ]
