"""What servers should say of all nodes, or of those of which something changed; and of which MACs that is otherwise
than they were told last.

A node that has a MAC of another one is looked at with it, as nothing is served to a MAC of two nodes, and so on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sqlalchemy import func, select

from crowbar_core import Json, cluster
from crowbar_dhcp import facts
from crowbar_dhcp.drivers import Part
from crowbar_dhcp.serving import CATEGORY, OWN, Boot, Machine, Net, Options, Reservation, Serving, cards_of, serving_of
from crowbar_dhcp.tables import hosts, state, told

Key = tuple[int, str]
"""A node, and a MAC that it has."""
_MANY = 400


@dataclass(frozen=True, slots=True)
class Told:
    """What servers are told of a MAC: ``sum`` of its reservations, '' when there is none; ``boot`` as theirs."""

    boot: str = ""
    sum: str = ""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the tables have been written with: ``base`` is the sum of what is the same for all nodes."""

    base: str = ""
    boots: Mapping[str, Boot] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Look:
    """``nodes``: the ids of those that were looked at; None: all there are. ``serving`` has only theirs, and all that
    is booted; ``before`` and ``now``: what servers are told of each of their MACs."""

    base: str
    serving: Serving
    machines: Sequence[Machine]
    nodes: frozenset[int] | None
    before: Mapping[Key, Told]
    now: Mapping[Key, Told]
    boots_changed: bool

    @property
    def macs(self) -> frozenset[str]:
        """Those of nodes of which something else is to be told than before."""
        nothing = Told()
        keys = self.before.keys() | self.now.keys()
        nodes = {one[0] for one in keys if self.before.get(one, nothing) != self.now.get(one, nothing)}
        return frozenset(mac for node, mac in keys if node in nodes)

    def part(self) -> Part | None:
        """What a server is to be told that had all that was told before; None: nothing."""
        macs = self.macs
        if not (macs or self.boots_changed):
            return None
        some = tuple(one for one in self.serving.reservations if one.mac in macs)
        return Part(serving=replace(self.serving, reservations=some), macs=macs)


def look(said: Json, nodes: Collection[int] | None) -> Look:
    """``said``: the values of dhcp-database, as a tree; ``nodes``: those of which something changed, None for all.
    Whatever is otherwise for all has all looked at. Outside any change, which others would have to wait for: what
    changes meanwhile has this come again.
    """
    given = said if isinstance(said, Mapping) else {}
    nets = [one for one in facts.nets(str(given.get("mode") or OWN)) if one.category == CATEGORY]
    strangers = facts.strangers()
    dns = tuple(given.get("dns-servers") or facts.resolvers())
    here = cluster()
    with here.read() as session:
        known = _known(session)
    for some in (nodes, None) if nodes is not None else (None,):
        # In no transaction of its own: what is asked of many nodes may take longer than one may be idle.
        machines = facts.machines() if some is None else _concerned(some)
        ids = None if some is None else frozenset(some) | {one.id for one in machines}
        with here.read() as session:
            domain = str(given.get("domain") or _only_domain(session, machines, ids))
            before = _told(session, ids)
            elsewhere = {} if ids is None else known.boots
            elsewhere = {key: one for key, one in elsewhere.items() if _is_booted(session, key, before, ids)}
        options = Options(
            dns_servers=dns, ntp_servers=tuple(given.get("ntp-servers") or ()), domain=domain,
            lifetime=int(given.get("lease") or 3600),
        )  # fmt: skip
        base = _base(nets, options, strangers)
        if some is None or base == known.base:
            break
    serving = serving_of(nets, machines, options, strangers)
    serving = replace(serving, boots=dict(sorted({**elsewhere, **serving.boots}.items())))
    changed = serving.boots.keys() != known.boots.keys()
    now = _of(machines, serving.reservations)
    return Look(base=base, serving=serving, machines=machines, nodes=ids, before=before, now=now, boots_changed=changed)


def _base(nets: Sequence[Net], options: Options, strangers: Boot) -> str:
    said = [[asdict(one) for one in sorted(nets, key=lambda one: one.id)], asdict(options), asdict(strangers)]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def base_of(session: Any) -> str:
    """With which base the tables have been written."""
    return str(session.scalar(select(state.c.base)))


def _known(session: Any) -> Known:
    row = session.execute(select(state.c.base, state.c.boots)).one()
    return Known(base=row.base, boots={key: Boot(**one) for key, one in row.boots.items()})


def _concerned(nodes: Collection[int]) -> list[Machine]:
    """Those nodes, and all that have, or had, a MAC of one of them, or of one of those."""
    found: dict[int, Machine] = {}
    seen: set[int] = set()
    waiting = set(nodes)
    while waiting:
        seen |= waiting
        new = facts.machines(sorted(waiting))
        found |= {one.id: one for one in new}
        asked = select(told.c.node_id).distinct()
        with cluster().read() as session:
            macs = {mac for _, mac in _told(session, waiting)} | {mac for one in new for mac in cards_of(one)}
            waiting = {ref for some in parts(macs) for ref in session.scalars(asked.where(told.c.mac.in_(some)))} - seen
    return [found[ref] for ref in sorted(found)]


def _told(session: Any, nodes: Collection[int] | None) -> dict[Key, Told]:
    found: dict[Key, Told] = {}
    for some in [None] if nodes is None else parts(nodes):
        asked = select(told) if some is None else select(told).where(told.c.node_id.in_(some))
        found |= {(one.node_id, one.mac): Told(one.boot, one.sum) for one in session.execute(asked).all()}
    return found


def _of(machines: Iterable[Machine], reservations: Iterable[Reservation]) -> dict[Key, Told]:
    by_mac: dict[str, list[Reservation]] = {}
    for one in reservations:
        by_mac.setdefault(one.mac, []).append(one)
    of_macs = {
        mac: Told(several[0].boot, hashlib.sha256(repr(several).encode()).hexdigest())
        for mac, several in by_mac.items()
    }
    nothing = Told()
    return {(one.id, mac): of_macs.get(mac, nothing) for one in machines for mac in cards_of(one)}


def _is_booted(session: Any, key: str, before: Mapping[Key, Told], nodes: Collection[int] | None) -> bool:
    """Whether another node boots that: it is asked only of what one of these has booted."""
    if not any(one.boot == key for one in before.values()):
        return True
    asked = select(told.c.node_id).where(told.c.boot == key, told.c.node_id.not_in(nodes or ())).limit(1)
    return session.scalar(asked) is not None


def _only_domain(session: Any, machines: Sequence[Machine], nodes: Collection[int] | None) -> str:
    """The domain of all nodes, where they have one in common."""
    found = {domain_of(one) for one in machines}
    if nodes is not None:
        ends = (
            select(most(hosts.c.domain)).where(hosts.c.id.not_in(nodes)).scalar_subquery()
            for most in (func.min, func.max)
        )
        found |= {one for one in session.execute(select(*ends)).one() if one is not None}
    return found.pop() if len(found) == 1 else ""


def domain_of(machine: Machine) -> str:
    return machine.name.partition(".")[2]


def parts(several: Iterable[Any]) -> list[list[Any]]:
    """In parts that a statement takes."""
    listed = sorted(several)
    return [listed[first : first + _MANY] for first in range(0, len(listed), _MANY)]
