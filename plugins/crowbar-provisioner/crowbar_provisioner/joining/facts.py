"""The facts of a machine that joins become what the discovery image would have told of it. Pure.

They are an attacker's text, as a registration is: bounded, each of its type, else refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from crowbar_core import BadInput
from crowbar_provisioner.claims import mac_of
from crowbar_provisioner.inventory import Inventory, Registration

_DISK = ("name", "size", "model", "serial", "wwn", "by_path", "removable", "rotational", "read_only", "transport")
_NIC = ("first", "name", "mac", "pci", "driver", "speed", "link")
_KEY = re.compile(r"((?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]+={0,2})(?: .*)?$")


def registration(text: str, host_keys: Sequence[str] = ()) -> Registration:
    """``host_keys``: what is known of them; without, those that the machine tells. Raises ``BadInput``."""
    rows = [line.split("\t") for line in text.splitlines() if "\t" in line]
    keys = host_keys or [hit[1] for row in rows if row[0] == "host_key" and (hit := _KEY.match(row[1]))]
    try:
        return Registration(inventory=_inventory(rows), host_keys=list(keys))
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        where = "/".join(str(one) for one in first["loc"])
        raise BadInput(f"What the machine tells of itself is refused at {where}: {first['msg']}.") from None


def _inventory(rows: Sequence[Sequence[str]]) -> Inventory:
    facts = {row[1]: _line("\t".join(row[2:])) for row in rows if row[0] == "fact" and len(row) > 2}
    nics = [_nic(row[1:]) for row in rows if row[0] == "nics" and len(row) > len(_NIC) and mac_of(row[3])]
    # Where no card is real, the machine is a container: what the hardware says is another's.
    real = any(one["driver"] for one in nics)
    disks = [_disk(row[1:]) for row in rows if real and row[0] == "disks" and len(row) > len(_DISK) + 1]
    said: dict[str, Any] = {
        "macs": list(dict.fromkeys(one["mac"] for one in nics))[:64], "nics": nics[:64], "disks": disks[:256],
        "addresses": [_line(row[1]) for row in rows if row[0] == "addresses"][:64],
        "firmware": "uefi" if facts.get("firmware") == "uefi" else "bios", "secure_boot": facts.get("secure") == "1",
        "arch": facts.get("arch", ""), "kernel": facts.get("kernel", ""),
        "hostname": facts.get("fqdn") or facts.get("hostname", ""),
        "agent": "1", "memory": _number(facts.get("memory", "")) * 1024,
        "cpu": {
            "model": facts.get("model", ""),
            **{name: min(_number(facts.get(name, "")), 1024) for name in ("sockets", "cores", "threads")},
        },
    }  # fmt: skip
    if real:
        told = {"uuid": "product_uuid", "serial": "product_serial", "board_serial": "board_serial",
                "vendor": "sys_vendor", "product": "product_name", "chassis": "chassis_type"}  # fmt: skip
        said |= {name: facts.get(fact, "") for name, fact in told.items()}
        said["uuid"] = said["uuid"].lower()
        if bmc := facts.get("bmc", ""):
            said["bmc"] = {"address": "" if bmc == "present" else bmc}
    return Inventory.model_validate(said)


def _disk(row: Sequence[str]) -> dict[str, Any]:
    said: dict[str, Any] = dict(zip(_DISK, map(_line, row), strict=False))
    yes = {name: said[name] == "1" for name in ("removable", "rotational", "read_only")}
    return {**said, **yes, "size": _number(said["size"]) * 512, "holders": row[len(_DISK)].strip() == "1"}


def _nic(row: Sequence[str]) -> dict[str, Any]:
    said: dict[str, Any] = dict(zip(_NIC, map(_line, row), strict=False))
    del said["first"]
    return {**said, "name": said["name"][:32], "speed": _number(said["speed"]) or None, "link": said["link"] == "1"}


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _line(text: str) -> str:
    return "".join(one for one in text if unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))[:500]
