"""What this barclamp asks others. Whoever answers imports nothing of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crowbar_core import Json, hookspec


@hookspec
def dhcp_resolvers(session: Any) -> Iterable[str]:  # type: ignore[empty-body]
    """The addresses of DNS servers that machines should ask, best first. Asked where ``dhcp-dns-servers`` names
    none."""


@hookspec
def dhcp_strangers(session: Any) -> Mapping[str, Json]:  # type: ignore[empty-body]
    """What machines boot that are no nodes yet, in the form of ``node_boot``: ``{"dhcp4": {"bios": URL, ...}, "dhcp6":
    {...}}``. The first that says something counts.
    """
