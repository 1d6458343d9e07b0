"""The script that installers run, with what it is to know before it: each value quoted for the shell."""

from __future__ import annotations

import shlex
from functools import cache
from importlib import resources
from urllib.parse import urlsplit

from crowbar_provisioner.answers.facts import Facts


def hook(facts: Facts) -> str:
    where = urlsplit(facts.base)
    known = {
        "base": facts.base, "at": where.netloc, "host": where.hostname or "", "port": str(where.port or 80),
        "token": facts.token, "id": facts.work, "method": facts.said["method"], "firmware": facts.firmware,
        "layout": facts.layout, "name": facts.host, "fqdn": facts.fqdn,
    }  # fmt: skip
    lines = ["#!/bin/sh", *(f"{name}={shlex.quote(value)}" for name, value in known.items())]
    lines.append("the_disks() {")
    for disk in facts.disks:
        about = [str(disk["name"]), str(int(disk["size"])), *(str(disk.get(one) or "") for one in _TOLD)]
        lines.append(f"    disk {' '.join(map(shlex.quote, about))}")
    lines += ["}", "authorized_keys() {", *(f"    echo {shlex.quote(key)}" for key in facts.keys), "}"]
    return "\n".join(lines) + "\n" + _program()


_TOLD = ("serial", "wwn", "by_path")


@cache
def _program() -> str:
    here = resources.files("crowbar_provisioner")
    parts = (here / "sledgehammer" / "root" / "sbin" / "disks.sh", here / "answers" / "hook.sh")
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)
