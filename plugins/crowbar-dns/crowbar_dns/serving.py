"""One server is told what it should have: of all its zones, or of the names that have changed.

What is about to be sent is written down before, and what the server has taken after it. Whoever dies in between leaves
``sending`` set, and the next run compares everything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, false, insert, literal, select, update

from crowbar_core import Change, CrowbarError
from crowbar_core.tables import insert_many
from crowbar_dns.bind import name_server
from crowbar_dns.comparing import Difference, Edit, Key, Owned, RecordSet, compare, gather, sign, signature
from crowbar_dns.drivers import BESIDE, TAKEN, Driver, ServerDown, ZoneUnserved
from crowbar_dns.names import Record, zone_of
from crowbar_dns.services import Service
from crowbar_dns.tables import entries, served, services

COMPARE_EVERY = timedelta(minutes=5)
AGAIN_FIRST, AGAIN_MOST = timedelta(seconds=5), timedelta(minutes=5)
"""After how long a server is compared again of which not all could be told: from the first to the most, doubling."""
REMEMBERED = timedelta(days=30)
"""How long it is known that a record was Crowbar's once, for servers that are restored from a backup."""
_MANY = 400
_NOTHING = RecordSet(values=frozenset())


@dataclass(kw_only=True)
class Order:
    """What there is to do at a server. ``names``: those that have changed; None: everything is compared."""

    service: Service
    owner: str
    names: frozenset[str] | None
    wanted: dict[Key, RecordSet] = field(default_factory=dict)
    owned: dict[Key, Owned] = field(default_factory=dict)
    foreign: frozenset[Key] = frozenset()

    @property
    def whole(self) -> bool:
        return self.names is None


@dataclass(kw_only=True)
class Result:
    """How it went. ``done``: what of ours it has now. ``down``: it could not be told at all, for this
    reason; ``silent``: which is that it gives no answer.
    """

    done: dict[Key, RecordSet] = field(default_factory=dict)
    edits: int = 0
    refused: dict[Key, str] = field(default_factory=dict)
    zones: dict[str, str] = field(default_factory=dict)
    looked_at: set[str] = field(default_factory=set)
    down: str = ""
    silent: bool = False
    said: list[str] = field(default_factory=list)


def begin(change: Change, service: Service, owner: str, names: frozenset[str], *, whole: bool) -> Order | None:
    """Find out what there is to do now that these names have changed, and write down what is about to be sent; None:
    nothing.
    """
    if service.silent and not whole:
        return None  # it is looked for meanwhile, and holds nobody up
    session = change.session
    due = service.compared_at is None or change.now - service.compared_at >= COMPARE_EVERY
    everything = whole or due or service.sending or bool(service.problem)
    if not (everything or names):
        return None
    order = Order(service=service, owner=owner, names=None if everything else names)
    zones = frozenset(service.zones)
    said = list(_entries(session, order.names))
    order.wanted = {key: one for key, one in gather(said).items() if zone_of(key[0], zones)}
    own = _name_servers(service, order.names)
    order.owned, problems = _owned(session, service.id, order.names)
    order.foreign = frozenset(problems)
    unknown = order.whole and not order.owned
    copied = unknown and not (own.keys() & order.wanted.keys()) and _are_rows(said, order.wanted)
    if copied:
        _copy(session, service)
    order.wanted |= own
    _announce(session, order, own if copied else order.wanted)
    session.execute(update(services).where(services.c.id == service.id).values(sending=True))
    return order


def _entries(session: Any, names: Collection[str] | None) -> Iterable[Record]:
    asked = select(entries.c.name, entries.c.type, entries.c.value, entries.c.ttl).where(entries.c.problem == "")
    for some in _parts(names):
        for one in session.execute(asked if some is None else asked.where(entries.c.name.in_(some))).all():
            yield Record(*one)


def _name_servers(service: Service, names: Collection[str] | None) -> dict[Key, RecordSet]:
    """The addresses of a server that Crowbar set up, under the name that it has in its own forward zones."""
    found: dict[Key, RecordSet] = {}
    for zone in service.zones if service.options.get("names_itself") else ():
        name = name_server(zone)
        if name and (names is None or name in names):
            by_type = gather(Record(name, "AAAA" if ":" in one else "A", one) for one in service.addresses)
            found |= by_type
    return found


def _owned(session: Any, service_id: int, names: Collection[str] | None) -> tuple[dict[Key, Owned], set[Key]]:
    found: dict[Key, tuple[set[str], set[str], set[str], int]] = {}
    problems: set[Key] = set()
    asked = select(served).where(served.c.service_id == service_id)
    for some in _parts(names):
        for one in session.execute(asked if some is None else asked.where(served.c.name.in_(some))).all():
            key = (one.name, one.type)
            confirmed, sent, gone, _ = found.setdefault(key, (set(), set(), set(), one.ttl))
            (gone if one.gone_at else confirmed if one.confirmed else sent).add(one.value)
            if one.problem:
                problems.add(key)
    return {
        key: Owned(confirmed=frozenset(one[0]), sent=frozenset(one[1]), gone=frozenset(one[2]), ttl=one[3])
        for key, one in found.items()
    }, problems


def _announce(session: Any, order: Order, wanted: Mapping[Key, RecordSet]) -> None:
    """Of what is wanted and not known there, it is written down that it is about to be sent."""
    new = []
    for (name, kind), one in wanted.items():
        known = order.owned.get((name, kind))
        for value in one.values - known.confirmed - known.sent - known.gone if known else one.values:
            new.append({
                "service_id": order.service.id, "name": name, "type": kind, "value": value, "ttl": one.ttl,
                "confirmed": False, "problem": "",
            })  # fmt: skip
    insert_many(session, served, new)


def _are_rows(said: Sequence[Record], wanted: Mapping[Key, RecordSet]) -> bool:
    """Whether each entry is one value of what is wanted, and nothing else is."""
    return len(said) == sum(len(one.values) for one in wanted.values()) and all(
        (known := wanted.get((one.name, one.type))) is not None and known.ttl == one.ttl for one in said
    )


def _copy(session: Any, service: Service) -> None:
    """The same of all entries, for a server of which nothing is known: at less than two thirds of the cost."""
    given = [literal(service.id), entries.c.name, entries.c.type, entries.c.value, entries.c.ttl, false(), literal("")]
    names = ("service_id", "name", "type", "value", "ttl", "confirmed", "problem")
    session.execute(insert(served).from_select(names, select(*given).where(entries.c.problem == "")))


def carry_out(order: Order, driver: Driver) -> Result:
    """Talk with the server: outside any transaction."""
    result = Result()
    zones = frozenset(order.service.zones)
    wanted_in: dict[str, dict[Key, RecordSet]] = {zone: {} for zone in zones}
    owned_in: dict[str, dict[Key, Owned]] = {zone: {} for zone in zones}
    for key, one in order.wanted.items():
        wanted_in[zone_of(key[0], zones) or ""][key] = one
    for key, known in order.owned.items():
        if (zone := zone_of(key[0], zones)) is not None:
            owned_in[zone][key] = known
    for zone in order.service.zones:
        wanted, owned = wanted_in[zone], owned_in[zone]
        if not (wanted or owned or order.whole):
            continue
        result.looked_at.add(zone)
        try:
            _zone(order, driver, zone, wanted, owned, result)
        except ZoneUnserved as problem:
            result.zones[zone] = problem.detail
        except CrowbarError as problem:
            result.down, result.silent = problem.detail, isinstance(problem, ServerDown)
            return result
        except Exception as problem:  # noqa: BLE001  a driver of whomever, and a server that says whatever
            result.down = f"What it says of {zone} cannot be understood: {type(problem).__name__}: {problem}"
            return result
    return result


def _zone(
    order: Order, driver: Driver, zone: str, wanted: Mapping[Key, RecordSet], owned: Mapping[Key, Owned], result: Result
) -> None:
    owner = order.owner if zone in order.service.shared else ""
    there = gather(driver.read(zone)) if order.whole or owner else _assumed(owned)
    found = compare(sign(wanted, owner) if owner else wanted, owned, there, owner=owner)
    if order.whole:
        result.said += _told(zone, found, there, owned, order)
    refused = {key: why for edits in _in_turn(found.edits) if edits for key, why in driver.write(zone, edits).items()}
    if retaken := [key for key, why in refused.items() if why == TAKEN]:
        # It was about to be sent when a process was cut off, and was: or it is somebody else's.
        now = gather(one for one in driver.read(zone) if (one.name, one.type) in retaken)
        again = compare({key: wanted[key] for key in retaken if key in wanted}, owned, now, owner=owner)
        found.foreign |= again.foreign
        if owner:  # it came between reading and writing, and our signature went along
            again.edits += [Edit(name=name, type=kind) for name, kind in (signature(*key) for key in again.foreign)]
        found.fine += again.fine
        refused = {key: why for key, why in refused.items() if key not in retaken}
        beside = driver.write(zone, again.edits) if again.edits else {}
        refused |= {key: BESIDE if why == TAKEN else why for key, why in beside.items()}
        found.edits = [one for one in found.edits if one.key not in retaken] + again.edits
    if owner and (unsigned := [signature(*key) for key in refused if key in wanted and key not in there]):
        driver.write(zone, [Edit(name=name, type=kind) for name, kind in unsigned])
    result.refused |= {key: f"{zone}: {key[0]} {key[1]}: {why}" for key, why in refused.items()}
    result.refused |= {key: _foreign(key, one) for key, one in found.foreign.items()}
    done = {one.key for one in found.edits} | set(found.fine) | {key for key in owned if key not in wanted}
    result.done |= {
        key: wanted.get(key, _NOTHING) for key in done if key not in result.refused and (key in wanted or key in owned)
    }
    result.edits += len(found.edits) - len(refused)


def _in_turn(edits: Sequence[Edit]) -> tuple[list[Edit], list[Edit]]:
    """What must be gone before something else of its name comes, as an alias must; and the rest."""
    coming = {one.name for one in edits if one.new}
    going = [one for one in edits if not one.values and one.name in coming]
    return going, [one for one in edits if one.values or one.name not in coming]


def _assumed(owned: Mapping[Key, Owned]) -> dict[Key, RecordSet]:
    """What is there if nobody else has changed anything."""
    return {key: RecordSet(values=one.confirmed, ttl=one.ttl) for key, one in owned.items() if one.confirmed}


def _foreign(key: Key, there: RecordSet) -> str:
    values = ", ".join(sorted(there.values)[:3])
    return (
        f"{key[0]} {key[1]} is there already and is not Crowbar's ({values}): take it away on the server, or give the "
        "node another name"
    )


def _told(
    zone: str, found: Difference, there: Mapping[Key, RecordSet], owned: Mapping[Key, Owned], order: Order
) -> list[str]:
    """Of what was otherwise than it was left there, a line each."""
    if order.names is not None or not owned:
        return []
    lines = []
    for one in found.edits:
        known = owned.get(one.key, Owned()).confirmed
        now = there[one.key].values if one.key in there else frozenset()
        if known and now != known:
            was, is_ = ", ".join(sorted(known)), ", ".join(sorted(now)) or "nothing"
            lines.append(f"{zone}: {one.name} {one.type} was {was} and was found as {is_}: put right")
    return lines


# ---------------------------------------------------------------- afterwards


def finish(change: Change, order: Order, result: Result) -> None:
    """Write down what the server has now."""
    session, service = change.session, order.service
    exists = session.scalar(select(services.c.id).where(services.c.id == service.id))
    if exists is None:
        return
    others = {zone: said for zone, said in service.zone_problems.items() if zone not in result.looked_at}
    values: dict[str, Any] = {"sending": bool(result.down), "silent": result.silent}
    values |= {"zone_problems": others | result.zones} | _again(order, result, change.now)
    if result.down:
        since = service.problem_since if service.problem else change.now
        values |= {"problem": result.down, "problem_since": since or change.now}
        del values["zone_problems"]
    else:
        values |= {"problem": "", "problem_since": None}
        if order.whole:
            values["compared_at"] = change.now
    session.execute(update(services).where(services.c.id == service.id).values(**values))
    _put(session, order, result, change.now)


def _again(order: Order, result: Result, now: datetime) -> dict[str, Any]:
    """When it is looked at again. One that gives no answer is looked for all the time; a run that was not about
    everything says of the rest nothing.
    """
    if result.silent:
        return {"faults": 0, "again_at": None}
    if result.down or result.zones or result.refused:
        pause = min(AGAIN_FIRST * 2 ** min(order.service.faults, 10), AGAIN_MOST)
        return {"faults": order.service.faults + 1, "again_at": now + pause}
    return {"faults": 0, "again_at": None} if order.whole else {}


def _put(session: Any, order: Order, result: Result, now: datetime) -> None:
    mine = served.c.service_id == order.service.id
    if order.whole and not order.owned and not (result.refused or result.zones or result.down):
        # A server that had nothing of ours has all of it now.
        session.execute(update(served).where(mine).values(confirmed=True, problem=""))
        return
    touched = [key for key, one in result.done.items() if not _is_known(order, key, one)] + list(result.refused)
    there: dict[Key, list[Any]] = {}
    for some in _parts({name for name, _ in touched}):
        for row in session.execute(select(served).where(mine, served.c.name.in_(some))).all():
            there.setdefault((row.name, row.type), []).append(row)
    for key in touched:
        rows = there.get(key, [])
        if key in result.refused:
            session.execute(
                update(served).where(served.c.id.in_([row.id for row in rows])).values(problem=result.refused[key])
            )
            continue
        _put_set(session, order.service.id, key, result.done[key], rows, now)
    if order.whole:
        session.execute(delete(served).where(mine, served.c.gone_at < now - REMEMBERED))


def _is_known(order: Order, key: Key, one: RecordSet) -> bool:
    known = order.owned.get(key, Owned())
    return (
        known.confirmed == one.values and known.ttl == one.ttl and not known.sent and key not in order.foreign
    )  # fmt: skip


def _put_set(session: Any, service_id: int, key: Key, one: RecordSet, rows: Sequence[Any], now: datetime) -> None:
    known = {row.value: row for row in rows}
    for value in one.values:
        if value in known:
            values = {"confirmed": True, "gone_at": None, "problem": "", "ttl": one.ttl}
            session.execute(update(served).where(served.c.id == known[value].id).values(**values))
        else:
            row = {"service_id": service_id, "name": key[0], "type": key[1], "value": value, "ttl": one.ttl}
            session.execute(insert(served).values(**row, confirmed=True, problem=""))
    for value, row in known.items():
        if value not in one.values and not row.confirmed:
            session.execute(delete(served).where(served.c.id == row.id))
        elif value not in one.values and row.gone_at is None:
            session.execute(update(served).where(served.c.id == row.id).values(gone_at=now, problem=""))


def _parts(names: Collection[str] | None) -> list[Any]:
    if names is None:
        return [None]
    listed = sorted(names)
    return [listed[first : first + _MANY] for first in range(0, len(listed), _MANY)]
