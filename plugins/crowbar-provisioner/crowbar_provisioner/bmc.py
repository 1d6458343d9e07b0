"""The role provisioner-bmc: the node is powered by its BMC from now on. Where that is, the node has told; who logs in
there is said once for all machines of a deployment, or for one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from crowbar_core import Done, Outcome, PermanentError, SetHammer, Task, cluster

BMC_ROLE = "provisioner-bmc"
PRIORITIES = {"redfish": 120, "ipmi": 110}


def run(task: Task) -> Outcome:
    """``TemporaryError`` of a BMC that does not answer has it tried again."""
    said: Mapping[str, Any] = task.data.get("provisioner", {})
    found: Any = task.node.discovery.get("inventory") or {}
    wanted = hammers_of(task.node.name, said, found)
    if not wanted:
        task.log("it has told of no BMC, and provisioner-bmc-address names none")
        return Done(wall={"provisioner": {"bmc-power": ""}})
    task.begin()
    with cluster().change() as change:
        for name, config in wanted.items():
            change.apply(SetHammer(node=task.node.name, name=name, config=config, priority=PRIORITIES[name]))
    power = cluster().power(task.node.name, "status")
    task.log(f"its BMC is reached by {' and '.join(wanted)}, and says that it is {power}")
    return Done(wall={"provisioner": {"bmc-power": power}})


def hammers_of(node: str, said: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Hammer -> its configuration; empty for a node without a BMC. ``said`` are the role's attributes, ``found`` the
    inventory. Raises ``PermanentError`` with what is missing.
    """
    told: Mapping[str, Any] = found.get("bmc") or {}
    address = str(said.get("bmc-address") or "")
    if not address and (address := str(told.get("address") or "")):
        _believe(node, address, said.get("bmc-networks") or ())
    if not address:
        return {}
    if not said.get("bmc-user"):
        raise PermanentError(
            f"{node} has a BMC at {address}, and nobody has said who logs in there: set provisioner-bmc-user and "
            "provisioner-bmc-password, for this node or in its deployment."
        )
    kind = str(said.get("bmc-kind") or told.get("kind") or "ipmi")
    common = {"address": address, "user": said["bmc-user"], "password": said.get("bmc-password") or ""}
    if found.get("firmware") in ("bios", "uefi"):
        common["boot_mode"] = found["firmware"]
    more: Mapping[str, Any] = said.get("bmc-options") or {}
    made = {"ipmi": dict(common), "redfish": {**common, "certificate": said.get("bmc-certificate") or "authority"}}
    names = ("redfish", "ipmi") if kind == "both" else (kind,)
    return {name: {**made[name], **more.get(name, {})} for name in names}


def _believe(node: str, address: str, networks: Any) -> None:
    """A node's word is not enough to log in anywhere: it could have the password sent to whom it likes."""
    try:
        there = ipaddress.ip_address(address)
    except ValueError:
        raise PermanentError(f"{node} tells of a BMC at {address!r}, which is no address.") from None
    try:
        allowed = [ipaddress.ip_network(one, strict=False) for one in networks]
    except ValueError as problem:
        raise PermanentError(f"Of provisioner-bmc-networks one is no subnet: {problem}.") from None
    if allowed and not any(there in one for one in allowed):
        raise PermanentError(
            f"{node} tells of a BMC at {address}, which is in none of {', '.join(networks)}: if it is right, add its "
            "subnet to provisioner-bmc-networks, or set provisioner-bmc-address."
        )
