"""The table of addresses that are held, and the subnet that they are of."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from sqlalchemy import Column, Integer, String, Text, select

from crowbar_core import BadInput, cluster, setting
from crowbar_core.tables import Database, UtcDateTime

ADDRESS, HOSTS = "example-address", "example-hosts"

db = Database()
held = db.Table(
    "example_addresses_held",
    Column("node_id", Integer, primary_key=True),
    Column("address", String(15), nullable=False),
    Column("use", String(20), nullable=False),
    Column("problem", Text, nullable=False),
    Column("since", UtcDateTime),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    network: str = setting("", "The subnet whose addresses are given out, as 10.7.0.0/24. Empty: none are.")
    dry: bool = setting(False, "Touch no node: the runs only say what they would do.")

    def __post_init__(self) -> None:
        try:
            IPv4Network(self.network or "0.0.0.0/32")
        except ValueError as error:
            raise BadInput(f"network is no IPv4 subnet like 10.7.0.0/24: {error}.") from error


def subnet() -> IPv4Network | None:
    """None: none is set."""
    said = cluster().settings(Settings).network
    return IPv4Network(said) if said else None


def is_in(address: str, network: IPv4Network | None) -> bool:
    """Whether a node can have it: the subnet's own address and its broadcast are nobody's."""
    if network is None or (one := IPv4Address(address)) not in network:
        return False
    return network.prefixlen > 30 or one not in (network.network_address, network.broadcast_address)


def first_free(session: Any, network: IPv4Network) -> str | None:
    taken = set(session.scalars(select(held.c.address)))
    return next((str(one) for one in network.hosts() if str(one) not in taken), None)


def holder(session: Any, address: str) -> int | None:
    """The id of the node that has it."""
    found: int | None = session.scalar(select(held.c.node_id).where(held.c.address == address))
    return found
