"""Drivers: how a kind of DHCP server is told what to serve. Found by the entry points ``crowbar_dhcp.drivers``.

A driver is a class made with a ``Server`` that has the methods of ``Driver``.
``crowbar_dhcp.testing.check_dhcp_driver`` says whether it keeps to what is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from crowbar_core import ConfigError, CrowbarError, Extensions
from crowbar_dhcp.serving import Serving

DRIVERS = Extensions("crowbar_dhcp.drivers", "DHCP driver")


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a server is, and with what it is told. ``interfaces``: its own, by which it hears machines, each with an
    address and its prefix; ``timeout`` in seconds.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    interfaces: tuple[tuple[str, str], ...] = ()
    database: str = field(default="", repr=False)
    """The URL of the PostgreSQL in which it looks for reservations; '': it is not told by that."""
    timeout: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is to be told of some MACs: ``serving`` is whole but for its reservations, which are those of ``macs``
    alone. A MAC without one is to have none. Of a node they are all that it has, and has had."""

    serving: Serving
    macs: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Lease:
    """An address that a machine has. ``until``: seconds since 1970. ``mac`` is '' where the server does not know it."""

    address: str
    mac: str = ""
    hostname: str = ""
    until: int = 0


class ServerDown(CrowbarError):
    """The server gives no answer, or says that it cannot answer now."""


class ServerRefuses(CrowbarError):
    """The server answers, and does not take what it is told; it serves what it served before."""


class ServerDiffers(CrowbarError):
    """The server does not have what it had confirmed, so that a part is not enough: it must be told all."""


class Driver(Protocol):
    proxies: ClassVar[bool]
    """Whether the server tells machines what to boot where others give addresses (``Subnet.proxied``). One that does
    not, or does not say, leaves those subnets out."""

    def __init__(self, server: Server) -> None: ...

    def bring(self, wanted: Serving) -> Sequence[str]:
        """Make the server serve just this; what was otherwise before, a line each, nothing when it was so already. When
        it returns, the server says so to machines, and says so again after it was started anew. What is not Crowbar's
        on the server stays. Raises ``ServerDown``, ``ServerRefuses``; until it is called again, anything of it may then
        be served, or, for ``ServerRefuses``, what was served before.
        """

    def bring_some(self, part: Part) -> Sequence[str]:
        """Make the reservations of these MACs just these, and what is booted as ``part.serving`` says, where the server
        had all the rest confirmed: that is neither read nor sent where it can do without. Returns and raises as
        ``bring``; raises ``ServerDiffers`` when it turns out that the server does not have the rest.
        """

    def differences(self, wanted: Serving) -> Sequence[str]:
        """What ``bring`` would say. Changes nothing. Raises as ``bring``."""

    def leases(self) -> Sequence[Lease]:
        """By their addresses. Raises ``ServerDown``; empty when the server does not tell."""

    def check(self) -> None:
        """Whether the server answers at all, quickly. Raises ``ServerDown``."""


def driver_of(name: str, server: Server) -> Driver:
    """Raises ``ConfigError`` when nobody brings a driver of that name."""
    made: Driver = DRIVERS.find(name)(server)
    return made


def proxies(name: str) -> bool:
    """Whether a driver of that name does; not, when nobody brings it."""
    try:
        return bool(getattr(DRIVERS.find(name), "proxies", False))
    except ConfigError:
        return False
