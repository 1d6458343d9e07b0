"""What this barclamp tells others of: networks and their addresses. Whoever listens imports nothing of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crowbar_core import Intent, Json, hookspec


@dataclass(frozen=True, kw_only=True)
class Range:
    """``first`` and ``last`` with the length of the prefix."""

    name: str
    first: str
    last: str


@dataclass(frozen=True, kw_only=True)
class Router:
    """``address`` with the length of the prefix. The lowest ``pref`` has the default route."""

    address: str
    pref: int


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network as it is after the change that is told of; of one that is gone, as it last was."""

    id: int
    name: str
    category: str
    group: str
    deployment_id: int
    v6prefix: str | None = None
    vlan: int | None = None
    mtu: int | None = None
    ranges: tuple[Range, ...] = ()
    routers: tuple[Router, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """An address (``address``, with the length of its prefix) that a node has, or (``node_id`` None) that is reserved.

    ``how`` it was found: had, hint, automatic, like admin, first free, or asked for.
    """

    id: int
    network_id: int
    network: str
    range_id: int
    range: str
    address: str
    node_id: int | None = None
    node: str | None = None
    reserved_for: str = ""
    how: str = "had"


@hookspec
def on_network_create(network: Network) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A network was made, with its ranges and routers. At least once, in order with all else of that network."""


@hookspec
def on_network_change(network: Network) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A network, one of its ranges or one of its routers was made, changed or removed. At least once."""


@hookspec
def on_network_delete(network: Network) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A network was removed. Reverse dependency order. At least once."""


@hookspec
def on_network_allocation_create(allocation: Allocation) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A node was given an address, or one was reserved. At least once."""


@hookspec
def on_network_allocation_delete(allocation: Allocation) -> Iterable[Intent]:  # type: ignore[empty-body]
    """An address was given back: its node was unbound from the network or went, or somebody released it. Reverse
    dependency order. At least once.
    """


# Questions: ``cluster().ask`` asks them, and whoever keeps addresses of nodes answers.


@hookspec
def network_addresses(nodes: Sequence[int] | None, session: Any) -> Iterable[Mapping[str, Json]]:  # type: ignore[empty-body]
    """The addresses that nodes have (of these ids; None: of all), each as ``{"node_id", "ip", "network", "category",
    "range"}``: ``ip`` without a prefix, in its shortest form.
    """


@hookspec
def network_subnets(session: Any) -> Iterable[Mapping[str, Json]]:  # type: ignore[empty-body]
    """The subnets in which networks have ranges, and their prefixes of IPv6, each as ``{"network", "category",
    "subnet", "mtu", "dhcp", "ranges", "routers", "reserved"}``: ``subnet`` as 10.0.0.0/24, ``mtu`` None where it is
    left open, ``dhcp`` as own, proxy or none, '' where that is, ``ranges`` as ``{"name", "first", "last"}``,
    ``routers`` from the preferred one on, ``reserved`` as ``{"ip", "for"}``, all of that subnet and without prefixes.
    """
