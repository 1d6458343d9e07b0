"""The programs that a machine runs that joins: the inventory is the discovery image's own. Pure."""

from __future__ import annotations

import shlex
from functools import cache
from importlib import resources
from urllib.parse import urlsplit

_END = "END_OF_INVENTORY"


def stock(key: str, *, peer: str) -> str:
    """For ``sh`` as root: prints what the machine is. ``peer`` is the address of ours that it speaks with."""
    return f"{_program(key)}take_stock {shlex.quote(peer)}\n"


def keys(key: str) -> str:
    """For ``sh`` as root: root lets the key in."""
    return f"{_program(key)}let_in\n"


def by_itself(key: str, *, url: str, token: str) -> str:
    """For a machine that joins with a token, at the boot service at ``url``."""
    host = urlsplit(url).hostname or ""
    known = {"URL": url, "TOKEN": token, "HOST": host}
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in known.items()]
    return "".join(("#!/bin/sh\n", *lines, _program(key), _part("joining", "itself.sh")))


def _program(key: str) -> str:
    return (
        f"KEY={shlex.quote(key)}\nstock() {{\ncat <<'{_END}'\n{inventory()}{_END}\n}}\n{_part('joining', 'machine.sh')}"
    )


@cache
def inventory() -> str:
    """The inventory script of the discovery image, with all that it needs."""
    known, text = (_part("sledgehammer", "root", "sbin", name) for name in ("disks.sh", "inventory"))
    return text.replace(". /sbin/disks.sh\n", known)


@cache
def _part(*path: str) -> str:
    return resources.files("crowbar_provisioner").joinpath(*path).read_text(encoding="utf-8")
