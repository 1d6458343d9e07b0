"""The wizard's own step: where Crowbar is, which becomes the admin node."""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from crowbar_core import BadInput, Change, FieldError
from crowbar_core.tables import nodes
from crowbar_wizard.steps import MACHINE

_ASK_SECONDS = 5.0


def step(place: Mapping[str, str]) -> dict[str, Any]:
    there = addresses()
    seen = f" It has {', '.join(there[:8])}." if there else ""
    return {
        "name": MACHINE,
        "title": "This machine",
        "order": 10,
        "text": "Crowbar works on the machine where it is as on any other: over SSH, as root. It becomes the admin "
        f"node, and what serves the others is set up on it.{seen}",
        "fields": (
            {
                "name": "name", "label": "Full name", "required": True, "default": _own_name(),
                "help": "Other machines get names in the same domain.",
            },
            {
                "name": "address", "label": "Its address on the admin network", "required": True,
                "default": there[0] if there else "", "help": "One that it has already, as 10.124.0.2/24.",
            },
        ),
        "carry_out": carry_out,
    }  # fmt: skip


def carry_out(values: Mapping[str, str], change: Change, place: Mapping[str, str]) -> Iterable[str]:
    """The node, unless it is there."""
    name, address = values["name"], interface(values["address"])
    if change.session.scalar(select(nodes.c.id).where(nodes.c.name == name)) is not None:
        return [f"The node {name} is there already."]
    hint = f"hint-admin-v{address.version}addr"
    change.create_node(name, admin=True, description="Where Crowbar is.", hint={hint: str(address.ip)}, available=True)
    return [f"The admin node {name}, reached at {address.ip}."]


def interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """Raises ``BadInput`` for what is no address of a machine."""
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        raise _wrong(f"{text!r} is no address; write it as 10.124.0.2/24 or fd00::2/64.") from None
    if found.is_multicast or found.is_unspecified or found.is_loopback or found.is_link_local:
        raise _wrong(f"{found.ip} is no address that other machines can reach; choose one of the admin network.")
    return found


def _wrong(detail: str) -> BadInput:
    return BadInput(detail, errors=[FieldError(pointer="/address", detail=detail)])


def addresses() -> Sequence[str]:
    """The addresses that this machine has and that others may reach, with prefix lengths; none where it cannot tell."""
    try:
        said = subprocess.run(
            ["ip", "-json", "address", "show", "up", "scope", "global"], capture_output=True, timeout=_ASK_SECONDS,
            check=True,
        ).stdout  # fmt: skip
        return [
            f"{one['local']}/{one['prefixlen']}" for card in json.loads(said) for one in card.get("addr_info", ())
            if one.get("scope") == "global" and not one.get("temporary")
        ]  # fmt: skip
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return []


def _own_name() -> str:
    name = socket.gethostname().lower().rstrip(".")
    return name if "." in name else f"{name}.cluster.internal"
