"""Machines as they are kept: found by what they say, changed, and what happened to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, or_, select, update

from crowbar_core import Change, Intent, NotFound, Refused, Wake, cluster
from crowbar_core.tables import nodes
from crowbar_provisioner.choosing import LOCAL
from crowbar_provisioner.claims import Claim, Known, is_whole, same
from crowbar_provisioner.tables import happenings, machines, macs

INSTALL_ROLE, ERASE_ROLE, BURN_ROLE = "provisioner-os-install", "provisioner-erase", "provisioner-burn-in"
HAPPENINGS_KEPT = 200


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A row of the table, with the node that it is."""

    id: int
    node_id: int
    node: str
    state: str
    uuid: str
    serial: str
    macs: tuple[str, ...]
    firmware: str
    source: str
    expected_until: datetime | None
    late_until: datetime | None
    claim_id: int | None
    problem: str
    joined: bool
    released: bool
    kexec_since: datetime | None
    bootenv: str
    alive: bool
    available: bool
    host_keys: tuple[str, ...]

    def is_expected(self, now: datetime) -> bool:
        """Whether a boot of it was ordered, or announced, a short while ago."""
        return self.expected_until is not None and now < self.expected_until

    def is_late(self, now: datetime, claim: Claim) -> bool:
        """Whether a boot that was ordered has still not come, and this one says all that is known of the machine: who
        has seen no more than a card's MAC on the wire does not. Nobody is, while the machine answers as it did before.
        """
        known = Known(id=self.id, uuid=self.uuid, serial=self.serial, macs=frozenset(self.macs))
        return self.late_until is not None and now < self.late_until and is_whole(claim, known)


def living(session: Any) -> dict[str, str]:
    """Whose address one is, of nodes that are alive. One that runs from its disk, and is reached elsewhere, has left
    the address from which it registered: DHCP may have given that to another machine.
    """
    asked = select(machines.c.node_id, machines.c.source).join(nodes, nodes.c.id == machines.c.node_id)
    left = {tuple(one) for one in session.execute(asked.where(nodes.c.bootenv == LOCAL)).all()}
    found = {}
    for one in cluster().nodes():
        if one.alive:
            there = [address for address in one.addresses if (one.id, address) not in left]
            found.update(dict.fromkeys(there or one.addresses, one.name))
    return found


def refuse_others(machine: Machine, source: str, known: Mapping[str, str]) -> None:
    """A node neither boots nor registers as another one. Raises ``Refused``."""
    holder = known.get(source)
    if holder is not None and holder != machine.node:
        raise Refused(f"{source} is the address of another node: it is not {machine.node}.")


def find(session: Any, claim: Claim) -> Machine | None:
    """The machine that is meant by what one says of itself."""
    asked = []
    if claim.uuid:
        asked.append(machines.c.uuid == claim.uuid)
    if claim.serial:
        asked.append(machines.c.serial == claim.serial)
    if claim.macs:
        asked.append(machines.c.id.in_(select(macs.c.machine_id).where(macs.c.mac.in_(claim.macs))))
    if not asked:
        return None
    rows = session.execute(select(machines.c.id, machines.c.uuid, machines.c.serial).where(or_(*asked))).all()
    of = macs_of(session, [one.id for one in rows])
    known = [
        Known(id=one.id, uuid=one.uuid, serial=one.serial, macs=frozenset(of.get(one.id, ())))
        for one in sorted(rows, key=lambda one: int(one.id))
    ]
    found = same(claim, known)
    return None if found is None else get(session, found.id)


def get(session: Any, key: int) -> Machine:
    """Raises ``NotFound``."""
    found = _select(session, machines.c.id == key)
    if found is None:
        raise NotFound(f"There is no machine {key}.")
    return found


def of_node(session: Any, name: str) -> Machine | None:
    return _select(session, nodes.c.name == name)


def _select(session: Any, where: Any) -> Machine | None:
    asked = (
        select(
            machines, nodes.c.name.label("node"), nodes.c.bootenv, nodes.c.alive, nodes.c.available, nodes.c.host_keys
        )
        .join(nodes, nodes.c.id == machines.c.node_id)
        .where(where)
    )
    row = session.execute(asked).first()
    if row is None:
        return None
    values = {name: getattr(row, name) for name in Machine.__dataclass_fields__ if name not in ("macs", "host_keys")}
    cards = tuple(macs_of(session, [row.id]).get(row.id, ()))
    return Machine(**values, macs=cards, host_keys=tuple(row.host_keys or ()))


def macs_of(session: Any, keys: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    asked = select(macs.c.machine_id, macs.c.mac).where(macs.c.machine_id.in_(keys)).order_by(macs.c.mac)
    for one in session.execute(asked).all():
        found.setdefault(one.machine_id, []).append(one.mac)
    return found


def change_machine(change: Change, key: int, **values: Any) -> None:
    change.session.execute(update(machines).where(machines.c.id == key).values(**values))


def hold_macs(change: Change, key: int, wanted: Sequence[str]) -> list[str]:
    """Make the cards those of this machine; returns the ones that are another's, which they stay."""
    session = change.session
    asked = select(macs.c.mac, macs.c.machine_id).where(macs.c.mac.in_(wanted))
    held = {one.mac: one.machine_id for one in session.execute(asked).all()}
    session.execute(delete(macs).where(macs.c.machine_id == key, macs.c.mac.not_in(wanted)))
    if new := [{"mac": one, "machine_id": key} for one in wanted if one not in held]:
        session.execute(insert(macs), new)
    return [one for one in wanted if held.get(one, key) != key]


def happened(change: Change, key: int, what: str, detail: str = "") -> None:
    """A line of the machine's timeline. What is repeated is written once more only when it differs."""
    session = change.session
    mine = happenings.c.machine_id == key
    last = session.execute(select(happenings).where(mine).order_by(happenings.c.id.desc()).limit(1)).first()
    if last is not None and (last.what, last.detail) == (what, detail[:500]):
        return
    session.execute(insert(happenings).values(machine_id=key, at=change.now, what=what, detail=detail[:500]))
    old = select(happenings.c.id).where(mine).order_by(happenings.c.id.desc()).offset(HAPPENINGS_KEPT).limit(1)
    if (first := session.scalar(old)) is not None:
        session.execute(delete(happenings).where(mine, happenings.c.id <= first))


def waking(node: str) -> Intent:
    """The run that installs it, if there is one, looks at the world again."""
    return Wake(node=node, role=INSTALL_ROLE)


def waking_all(node: str) -> list[Intent]:
    """And so do all runs that have it do something in the discovery image."""
    return [waking(node), Wake(node=node, role=ERASE_ROLE), Wake(node=node, role=BURN_ROLE)]
