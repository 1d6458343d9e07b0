"""What each node should be told, and what cannot be served, kept for people to look at, as it was computed last; and
what servers were told of each MAC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from crowbar_core import Change
from crowbar_dhcp.looking import Look, Told, domain_of, parts
from crowbar_dhcp.serving import Fault, Machine, Reservation, Serving
from crowbar_dhcp.tables import faults, hosts, state, told

_COLUMNS = ("mac_addrs", "v4addr", "v6addr", "bootenv", "dhcp4", "dhcp6", "why", "domain")


def keep(change: Change, look: Look, more: Iterable[Fault], there: Collection[int]) -> None:
    """Only what is otherwise than before is written. ``more`` faults are of networks; ``there``: the nodes that were
    looked at and are not deleted meanwhile.
    """
    session = change.session
    _keep_faults(session, look, [*look.serving.faults, *more])
    known: dict[int, dict[str, Any]] = {}
    for some in [None] if look.nodes is None else parts(look.nodes):
        asked = select(hosts) if some is None else select(hosts).where(hosts.c.id.in_(some))
        known |= {one.id: {name: getattr(one, name) for name in _COLUMNS} for one in session.execute(asked).all()}
    now = {key: one for key, one in rows(look.serving, look.machines).items() if key in there}
    if new := [{"id": key, **values} for key, values in now.items() if key not in known]:
        session.execute(insert(hosts), new)
    if other := [{"_id": key, **now[key]} for key in now.keys() & known.keys() if known[key] != now[key]]:
        changed = update(hosts).where(hosts.c.id == bindparam("_id"))
        session.execute(changed.values({name: bindparam(name) for name in _COLUMNS}), other)
    for gone in parts(known.keys() - now.keys()):
        session.execute(delete(hosts).where(hosts.c.id.in_(gone)))
    _keep_told(session, look.before, look.now)
    boots = {key: asdict(one) for key, one in look.serving.boots.items()}
    session.execute(update(state).where(state.c.base != look.base).values(base=look.base))
    if look.boots_changed:
        session.execute(update(state).values(boots=boots))


def _keep_faults(session: Any, look: Look, several: Sequence[Fault]) -> None:
    """Those of networks and of strangers are all there are; those of nodes are of the nodes that were looked at."""
    names = ("node_id", "on", "name", "detail")
    ids = {one.name: one.id for one in look.machines}
    said = [(ids.get(one.name) if one.on == "node" else None, one.on, one.name, one.detail) for one in several]
    ours = [faults.c.node_id.in_(some) for some in parts(look.nodes or ())]
    known: dict[int, tuple[Any, ...]] = {}
    for scope in [faults.c.id.is_not(None)] if look.nodes is None else [faults.c.node_id.is_(None), *ours]:
        for one in session.execute(select(faults).where(scope)).all():
            known[one.id] = tuple(getattr(one, name) for name in names)
    for gone in parts(key for key, one in known.items() if one not in said):
        session.execute(delete(faults).where(faults.c.id.in_(gone)))
    there = set(known.values())
    if new := [dict(zip(names, one, strict=True)) for one in said if one not in there]:
        session.execute(insert(faults), new)


def _keep_told(session: Any, before: Mapping[tuple[int, str], Told], now: Mapping[tuple[int, str], Told]) -> None:
    gone = [{"_node": node, "_mac": mac} for node, mac in before if before[node, mac] != now.get((node, mac))]
    if gone:
        which = (told.c.node_id == bindparam("_node")) & (told.c.mac == bindparam("_mac"))
        session.execute(delete(told).where(which), gone)
    new = [{"node_id": key[0], "mac": key[1], **asdict(one)} for key, one in now.items() if before.get(key) != one]
    if new:
        session.execute(insert(told), new)


def rows(serving: Serving, machines: Sequence[Machine]) -> dict[int, dict[str, Any]]:
    """By the nodes' ids."""
    by_node: dict[str, list[Reservation]] = {}
    for one in serving.reservations:
        by_node.setdefault(one.node, []).append(one)
    found = {}
    for machine in machines:
        mine = by_node.get(machine.name, [])
        addresses = list(dict.fromkeys(address for one in mine for address in one.addresses))
        boot = serving.boots.get(mine[0].boot) if mine else None
        if machine.id in serving.elsewhere:
            boot = machine.boot  # for who enters it at the others' server
        found[machine.id] = {
            "mac_addrs": sorted({one.mac for one in mine}),
            "v4addr": next((one for one in addresses if ":" not in one), ""),
            "v6addr": next((one for one in addresses if ":" in one), ""),
            "bootenv": machine.bootenv,
            "dhcp4": dict(boot.dhcp4) if boot else {},
            "dhcp6": dict(boot.dhcp6) if boot else {},
            "why": why(machine, serving),
            "domain": domain_of(machine),
        }
    return found


def why(machine: Machine, serving: Serving) -> str:
    """Why the node is told what it is."""
    if machine.id in serving.elsewhere:
        what = "which is what it boots" if serving.elsewhere[machine.id] else "which is not what it boots"
        return f"Others serve its network (dhcp none): they tell it what all machines are told, {what}."
    if not serving.subnets:
        return "Nothing is served: there is no network of the category admin."
    if machine.id not in serving.nodes:
        if not machine.macs:
            return "It is not known by any MAC: name one (hint-admin-macs), or let it report itself. It is a stranger."
        return "Its MACs are not its alone: it is a stranger."
    if machine.boot.by:
        what = "boots from its own disk" if not machine.boot.key else "is told these files"
        return f"Its boot environment is {machine.bootenv}, and the barclamp {machine.boot.by} says that it {what}."
    if machine.bootenv == "local":
        return "Its boot environment is local: it boots from its own disk."
    return f"No barclamp says what {machine.bootenv} boots: it boots from its own disk."
