"""What a machine is made of, as it has told it, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crowbar_provisioner.disks import sized


def in_short(found: Mapping[str, Any]) -> str:
    """Of an inventory: Acme R640, 16 threads, 64.0 GiB, 2 disks."""
    threads, memory = (found.get("cpu") or {}).get("threads"), found.get("memory")
    disks = len(found.get("disks") or ())
    words = [
        make_of(found), several(threads, "thread"), sized(memory) if memory else "", several(disks, "disk"),
    ]  # fmt: skip
    return ", ".join(word for word in words if word)


def several(count: Any, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}" if count else ""


def make_of(found: Mapping[str, Any]) -> str:
    return " ".join(str(found[name]) for name in ("vendor", "product") if found.get(name))


def facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values, of what is known."""
    cpu, bmc = found.get("cpu") or {}, found.get("bmc")
    processors = [
        str(cpu.get("model") or ""), *(several(cpu.get(f"{name}s"), name) for name in ("socket", "core", "thread")),
    ]  # fmt: skip
    said = [
        ("Made by", make_of(found)),
        ("Processors", ", ".join(word for word in processors if word)),
        ("Memory", sized(found["memory"]) if found.get("memory") else ""),
        ("BMC", (bmc.get("address") or "there is one, at an address that it does not tell") if bmc else ""),
        *((f"Card {one['name']}", _card(one)) for one in found.get("nics") or ()),
    ]
    return [(name, value) for name, value in said if value]


def _card(one: Mapping[str, Any]) -> str:
    speed = f"{one['speed']} Mbit/s" if one.get("speed") else ""
    link = "no link" if one.get("link") is False else ""
    words = [str(one.get("mac") or ""), str(one.get("pci") or ""), str(one.get("driver") or ""), speed, link]
    return ", ".join(word for word in words if word)
