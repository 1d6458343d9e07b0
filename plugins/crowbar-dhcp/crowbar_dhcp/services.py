"""The servers that are told: those that Crowbar set up itself, and those of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from crowbar_core import Change, Refresh
from crowbar_dhcp.drivers import Driver, Server, driver_of
from crowbar_dhcp.tables import services

DATABASE, SERVER, SERVICE = "dhcp-database", "dhcp-server", "dhcp-service"


@dataclass(frozen=True, kw_only=True)
class Service:
    """One of them. ``told``: the sum of what it has confirmed, '' when that is not known."""

    id: int
    node_role_id: int
    name: str
    driver: str
    url: str
    options: Mapping[str, Any] = field(default_factory=dict)
    secret: str = field(default="", repr=False)
    database: str = field(default="", repr=False)
    told: str = ""
    told_at: datetime | None = None
    compared_at: datetime | None = None
    problem: str = ""
    problem_since: datetime | None = None
    down: bool = False
    """Whether that problem is that it does not answer."""
    faults: int = 0
    """How often in a row it was told again because it answers, without success; ``again_at``: when the next time is."""
    again_at: datetime | None = None

    def connect(self) -> Driver:
        """What tells it. Its ``secret`` and ``database`` must be unsealed. Raises ``ConfigError``."""
        interfaces = tuple((str(name), str(address)) for name, address in self.options.get("interfaces", ()))
        server = Server(
            url=self.url, user=self.options.get("user", ""), password=self.secret, interfaces=interfaces,
            database=self.database,
        )  # fmt: skip
        return driver_of(self.driver, server)


def all_services(session: Any) -> list[Service]:
    """By their names, secrets sealed."""
    found = session.execute(select(services).order_by(services.c.name, services.c.id)).all()
    return [Service(**one._mapping) for one in found]


def ready(change: Change) -> list[Service]:
    """As ``all_services``, with their secrets."""
    return [
        replace(one, secret=_unsealed(change, one.secret), database=_unsealed(change, one.database))
        for one in all_services(change.session)
    ]


def _unsealed(change: Change, text: str) -> str:
    return change.unseal(text) if text else ""


def register(change: Change, node_role_id: int, *, secret: str, database: str = "", **values: Any) -> bool:
    """Put a server into the table, or change it; returns whether it is another than before. What it has is compared at
    the next run, which begins at once.
    """
    known = change.session.execute(select(services).where(services.c.node_role_id == node_role_id)).first()
    kept = {"secret": secret, "database": database}
    same = known is not None and all(_unsealed(change, getattr(known, name)) == text for name, text in kept.items())
    same = same and all(getattr(known, name) == value for name, value in values.items())
    values |= {name: change.seal(text) if text else "" for name, text in kept.items()}
    values |= {"told": "", "compared_at": None, "faults": 0, "again_at": None}
    if known is None:
        change.session.execute(insert(services).values(node_role_id=node_role_id, problem="", down=False, **values))
    else:
        change.session.execute(update(services).where(services.c.id == known.id).values(**values))
    if not same:
        change.audit("dhcp.service", f"DHCP server {values['name']}", url=values["url"])
    change.apply(Refresh(role=DATABASE))
    return not same


def forget(change: Change, node_role_id: int) -> None:
    """The server goes, and what is known of it."""
    gone = delete(services).where(services.c.node_role_id == node_role_id).returning(services.c.name)
    for one in change.session.execute(gone).all():
        change.audit("dhcp.service_gone", f"DHCP server {one.name}")


def note(change: Change, service: Service, **values: Any) -> None:
    change.session.execute(update(services).where(services.c.id == service.id).values(**values))
