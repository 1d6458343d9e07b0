"""Drivers: how a kind of DNS server is read and written. Found by the entry points ``crowbar_dns.drivers``.

A driver is a class made with a ``Server`` that has the methods of ``Driver``. ``crowbar_dns.testing.check_dns_driver``
says whether it keeps to what is written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from crowbar_core import CrowbarError, Extensions
from crowbar_dns.comparing import Edit, Key
from crowbar_dns.names import Record

DRIVERS = Extensions("crowbar_dns.drivers", "DNS driver")


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a server is, and with what it is told. ``addresses`` are tried in order; ``timeout`` in seconds."""

    addresses: tuple[str, ...]
    port: int = 53
    key_name: str = ""
    key: str = field(default="", repr=False)
    algorithm: str = "hmac-sha256"
    timeout: float = 5.0
    options: Mapping[str, Any] = field(default_factory=dict)


class ServerDown(CrowbarError):
    """The server gives no answer, or says that it cannot answer now."""


class ServerDenies(CrowbarError):
    """The server answers, and does not take who asks for whom it should be: a key that does not fit."""


class ZoneUnserved(CrowbarError):
    """The server is not the one who decides on this zone, or does not let it be changed or read."""


class Driver(Protocol):
    def __init__(self, server: Server) -> None: ...

    def read(self, zone: str) -> list[Record]:
        """All records of the zone but SOA and those of DNSSEC, names and values in the form of ``names``. Raises
        ``ServerDown``, ``ServerDenies``, ``ZoneUnserved``.
        """

    def write(self, zone: str, edits: Sequence[Edit]) -> Mapping[Key, str]:
        """Carry out these edits, each of them wholly or not at all; what was refused, with the server's reason. The
        others are there when it returns. An edit that is ``new`` where something of its name and type is already is
        refused (``TAKEN``); so is one beside an alias (CNAME), and an alias beside anything.
        Raises as ``read``; it is then unknown which edits were carried out.
        """

    def check(self) -> None:
        """Whether the server answers at all, quickly. Raises ``ServerDown``."""


TAKEN = "there is something of that name and type already"
BESIDE = "beside an alias (CNAME) there is nothing else, and somebody else has something of that name"


def driver_of(name: str, server: Server) -> Driver:
    """Raises ``ConfigError`` when nobody brings a driver of that name."""
    made: Driver = DRIVERS.find(name)(server)
    return made
