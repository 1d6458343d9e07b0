"""The servers that are told: those that Crowbar set up itself, and those of one's own."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from crowbar_core import Change, CrowbarError, Intent, Refresh
from crowbar_core.tables import roles
from crowbar_dns.drivers import Driver, Server, ServerDown, driver_of
from crowbar_dns.tables import installation, services

DATABASE, CLIENT, SERVER, SERVICE = "dns-database", "dns-client", "dns-server", "dns-service"
DHCP = "dhcp-database"
_TO_BE_TOLD: dict[str, Any] = {"compared_at": None, "silent": False}
"""All it has is compared at the next run, which does not pass it over."""
ASKED = 53
"""The port at which nodes ask."""
FOLLOW = Refresh(role=DATABASE)
"""dns-database looks again, also where its first run waits for its next try."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One of them. ``resolves``: nodes may ask it for any name. ``shared``: those of its zones in which others have
    records, too.
    """

    id: int
    node_role_id: int
    name: str
    driver: str
    addresses: tuple[str, ...]
    port: int
    zones: tuple[str, ...]
    shared: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    secret: str = field(default="", repr=False)
    resolves: bool = True
    sending: bool = False
    compared_at: datetime | None = None
    problem: str = ""
    problem_since: datetime | None = None
    silent: bool = False
    """It gave no answer: it is not told until one is heard of it."""
    zone_problems: Mapping[str, str] = field(default_factory=dict)
    faults: int = 0
    """How often in a row not all of it could be told, though it answers; ``again_at``: when it is compared again."""
    again_at: datetime | None = None

    def answers(self) -> bool:
        """Whether the server says anything at all; no key is needed for that."""
        options = {name: value for name, value in self.options.items() if name != "key_name"}
        try:
            replace(self, secret="", options=options).connect().check()
        except ServerDown:
            return False
        except CrowbarError:
            pass  # it denies: it is there
        return True

    def connect(self) -> Driver:
        """What reads and writes it. Its ``secret`` must be unsealed."""
        known = {"key_name", "algorithm", "timeout"}
        said = {name: value for name, value in self.options.items() if name in known and value}
        more = {name: value for name, value in self.options.items() if name not in known}
        server = Server(addresses=self.addresses, port=self.port, key=self.secret, options=more, **said)
        return driver_of(self.driver, server)


def all_services(session: Any) -> list[Service]:
    """By their names, secrets sealed."""
    found = session.execute(select(services).order_by(services.c.name, services.c.id)).all()
    return [_service(one) for one in found]


def _service(row: Any) -> Service:
    values = dict(row._mapping)
    for name in ("addresses", "zones", "shared"):
        values[name] = tuple(values[name] or ())
    return Service(**values)


def unsealed(change: Change, service: Service) -> Service:
    return replace(service, secret=change.unseal(service.secret) if service.secret else "")


def register(change: Change, node_role_id: int, **values: Any) -> bool:
    """Put a server into the table, or change it; returns whether it is another than before. The ``secret`` is sealed.

    What it has is compared at the next run, and clients hear of it.
    """
    known = change.session.execute(select(services).where(services.c.node_role_id == node_role_id)).first()
    secret = values.pop("secret")
    same = known is not None and (change.unseal(known.secret) if known.secret else "") == secret
    if known is not None and same and all(getattr(known, name) == value for name, value in values.items()):
        change.session.execute(update(services).where(services.c.id == known.id).values(**_TO_BE_TOLD))
        change.apply(FOLLOW)
        return False
    values |= {"secret": change.seal(secret) if secret else "", **_TO_BE_TOLD}
    if known is None:
        fresh = {"sending": False, "problem": "", "zone_problems": {}, "faults": 0}
        change.session.execute(insert(services).values(node_role_id=node_role_id, **fresh, **values))
    else:
        change.session.execute(update(services).where(services.c.id == known.id).values(**values))
    change.audit("dns.service", f"DNS server {values['name']}", zones=list(values["zones"]))
    change.apply(FOLLOW, *_asking(change.session))
    return True


def tell_again(change: Change, ids: Sequence[int]) -> None:
    change.session.execute(update(services).where(services.c.id.in_(ids)).values(**_TO_BE_TOLD))


def forget(change: Change, node_role_id: int) -> None:
    """The server goes, and what is known of it."""
    gone = change.session.execute(
        delete(services).where(services.c.node_role_id == node_role_id).returning(services.c.name)
    ).all()
    for one in gone:
        change.audit("dns.service_gone", f"DNS server {one.name}")
    if gone:
        change.apply(*_asking(change.session))


def _asking(session: Any) -> list[Intent]:
    """Whoever asks the servers, or names them to others, hears of it. Nobody need be there who serves DHCP."""
    found = session.scalars(select(roles.c.name).where(roles.c.name.in_((CLIENT, DHCP))).order_by(roles.c.name)).all()
    return [Refresh(role=one) for one in found]


def resolvers(session: Any) -> list[str]:
    """The addresses of those that nodes can ask, at whichever port Crowbar tells them."""
    return [address for one in all_services(session) if one.resolves for address in one.addresses]


def zones_of(several: Sequence[Service]) -> frozenset[str]:
    return frozenset(zone for one in several for zone in one.zones)


def owner(change: Change) -> str:
    """The text by which records in shared zones are known as this installation's."""
    known = change.session.scalar(select(installation.c.owner))
    if known is None:
        known = secrets.token_hex(8)
        change.session.execute(insert(installation).values(id=1, owner=known))
    return f"crowbar={known}"
