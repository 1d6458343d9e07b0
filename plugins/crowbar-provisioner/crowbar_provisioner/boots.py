"""Boots: each begins with a random token, by which the machine is heard until its next boot begins.

Of a token only its hash is kept. A MAC, a UUID and a serial number say which machine is meant, and prove nothing: so a
boot of an accepted machine is taken for its own (``trusted``) only when it was expected, and what any other one reports
waits until somebody accepts it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, func, insert, select, update

from crowbar_core import Change, Refused, cluster
from crowbar_core.tables import nodes
from crowbar_provisioner.choosing import ACCEPTED, DISCOVERY, LOCAL
from crowbar_provisioner.claims import Claim
from crowbar_provisioner.machines import Machine, change_machine, get, happened
from crowbar_provisioner.tables import boots, machines

STRANGERS_MOST = 2000
KEPT = 20
"""Boots of a machine that can be looked at afterwards."""


@dataclass(frozen=True, kw_only=True)
class Boot:
    id: int
    machine_id: int | None
    mac: str
    uuid: str
    serial: str
    firmware: str
    env: str
    source: str
    registered_at: datetime | None
    trusted: bool


def begin(
    change: Change, machine: Machine | None, claim: Claim, *, env: str, firmware: str, source: str, seconds: float,
    token: Callable[[], str] = lambda: secrets.token_urlsafe(32),
) -> str:  # fmt: skip
    """The token of a new boot; that of the boot before is no longer valid. Raises ``Refused`` when there are too many
    machines that nobody knows.
    """
    session = change.session
    mac = claim.macs[0] if claim.macs else ""
    if machine is None:
        session.execute(delete(boots).where(boots.c.machine_id.is_(None), boots.c.mac == mac))
        count = session.scalar(select(func.count()).select_from(boots).where(boots.c.machine_id.is_(None))) or 0
        if count >= STRANGERS_MOST:
            raise Refused(f"{count} machines that have not registered boot already: the next one waits.")
    else:
        revoke(change, machine.id)
        mine = boots.c.machine_id == machine.id
        old = select(boots.c.id).where(mine).order_by(boots.c.id.desc()).offset(KEPT).limit(1)
        if (last := session.scalar(old)) is not None:
            session.execute(delete(boots).where(mine, boots.c.id <= last))
    made = token()
    waited = machine is not None and not machine.is_expected(change.now) and machine.is_late(change.now, claim)
    late = machine is not None and waited and not machine.alive
    trusted = late or machine is None or machine.state != ACCEPTED or machine.is_expected(change.now)
    session.execute(
        insert(boots).values(
            token_hash=_hash(made), machine_id=machine.id if machine else None, mac=mac, uuid=claim.uuid,
            serial=claim.serial, firmware=firmware, env=env, source=source, begun_at=change.now,
            ends_at=change.now + timedelta(seconds=seconds), trusted=trusted, revoked=False, report={},
        )
    )  # fmt: skip
    if machine is not None:
        how = "" if trusted else "; it runs already" if waited else "; nobody expected it"
        if late:
            how = "; later than expected"
            change_machine(change, machine.id, came_late_at=change.now)
            change.audit("machine.late", f"node {machine.node}", source=source)
        happened(change, machine.id, "boots", f"{env}, {firmware}, from {source}{how}")
    return made


def note_local(change: Change, machine: Machine, *, firmware: str, source: str) -> None:
    """It boots from its own disk: no token is valid any more, and what was waited for has come."""
    revoke(change, machine.id)
    change_machine(change, machine.id, late_until=None)
    last = last_of(change.session, machine.id)
    if last is not None and last.env == LOCAL:  # anybody may ask so in its name, again and again
        change.session.execute(update(boots).where(boots.c.id == last.id).values(begun_at=change.now))
        return
    change.session.execute(
        insert(boots).values(
            token_hash=_hash(secrets.token_urlsafe(32)), machine_id=machine.id, mac="", uuid="", serial="",
            firmware=firmware, env=LOCAL, source=source, begun_at=change.now, ends_at=change.now, trusted=False,
            revoked=True, report={},
        )
    )  # fmt: skip
    happened(change, machine.id, "boots", f"local, {firmware}, from {source}")


def late_ones(session: Any, since: datetime) -> list[str]:
    """Nodes that were taken for themselves though they came later than expected, by their names."""
    asked = (
        select(nodes.c.name)
        .join(machines, machines.c.node_id == nodes.c.id)
        .where(machines.c.came_late_at >= since)
        .order_by(nodes.c.name)
    )
    return list(session.scalars(asked))


def revoke(change: Change, machine_id: int, *, but: int = 0) -> None:
    """All tokens of the machine, but that of one boot."""
    valid = and_(boots.c.machine_id == machine_id, boots.c.revoked.is_(False), boots.c.id != but)
    change.session.execute(update(boots).where(valid).values(revoked=True))


def end_old() -> None:
    """Tokens whose time is over are revoked. Called once a minute."""
    with cluster().change() as change:
        over = and_(boots.c.ends_at < change.now, boots.c.revoked.is_(False))
        change.session.execute(update(boots).where(over).values(revoked=True))
        change.session.execute(delete(boots).where(boots.c.machine_id.is_(None), boots.c.revoked.is_(True)))


def of_token(session: Any, token: str) -> Boot | None:
    """The boot that is heard by this token."""
    valid = and_(boots.c.token_hash == _hash(token), boots.c.revoked.is_(False))
    row = session.execute(select(boots).where(valid)).first()
    return None if row is None else Boot(**{name: getattr(row, name) for name in Boot.__dataclass_fields__})


def machine_of(session: Any, boot: Boot) -> Machine | None:
    """None where nobody has registered in it, and it is not known whose it is."""
    return None if boot.machine_id is None else get(session, boot.machine_id)


def at_work(session: Any, boot: Boot) -> Machine | None:
    """The machine, accepted, that does in this boot what the discovery image has to do; None: nothing is done in it."""
    machine = machine_of(session, boot) if boot.trusted and boot.env == DISCOVERY else None
    return machine if machine is not None and machine.state == ACCEPTED else None


def last_of(session: Any, machine_id: int) -> Any:
    """Its last boot, as a row; None."""
    asked = select(boots).where(boots.c.machine_id == machine_id).order_by(boots.c.id.desc()).limit(1)
    return session.execute(asked).first()


def has_valid(session: Any, machine_id: int) -> bool:
    valid = and_(boots.c.machine_id == machine_id, boots.c.revoked.is_(False))
    return session.execute(select(boots.c.id).where(valid).limit(1)).first() is not None


def note(change: Change, boot: Boot, **values: Any) -> None:
    change.session.execute(update(boots).where(boots.c.id == boot.id).values(**values))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
