"""What each node should be told, and what cannot be served, kept for people to look at: as it was computed last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from crowbar_core import Change
from crowbar_dhcp.serving import Machine, Reservation, Serving
from crowbar_dhcp.tables import faults, hosts

_COLUMNS = ("mac_addrs", "v4addr", "v6addr", "bootenv", "dhcp4", "dhcp6", "why")
_MANY = 500


def keep(change: Change, serving: Serving, machines: Sequence[Machine]) -> None:
    """Only what is otherwise than before is written."""
    session = change.session
    said = [(one.on, one.name, one.detail) for one in serving.faults]
    known = session.execute(select(faults.c.on, faults.c.name, faults.c.detail).order_by(faults.c.id)).all()
    if [tuple(one) for one in known] != said:
        session.execute(delete(faults))
        if said:
            session.execute(insert(faults), [dict(zip(("on", "name", "detail"), one, strict=True)) for one in said])
    there = {one.id: {name: getattr(one, name) for name in _COLUMNS} for one in session.execute(select(hosts)).all()}
    now = rows(serving, machines)
    if new := [{"id": key, **values} for key, values in now.items() if key not in there]:
        session.execute(insert(hosts), new)
    if other := [{"_id": key, **now[key]} for key in now.keys() & there.keys() if there[key] != now[key]]:
        changed = update(hosts).where(hosts.c.id == bindparam("_id"))
        session.execute(changed.values({name: bindparam(name) for name in _COLUMNS}), other)
    gone = sorted(there.keys() - now.keys())
    for first in range(0, len(gone), _MANY):
        session.execute(delete(hosts).where(hosts.c.id.in_(gone[first : first + _MANY])))


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
