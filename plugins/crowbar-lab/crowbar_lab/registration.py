"""Makes a lab's nodes known to a running Crowbar server, through its REST API; a second time is harmless."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from crowbar_core.client import ApiError, Client, Target
from crowbar_lab.host import default_state_dir
from crowbar_lab.lab import Lab, LabNode


def register(lab: Lab, server: Target) -> list[str]:
    """Register each node with its address, host key and hammer; the names of those that were not known before.

    No proxy of the environment has a say in a lab.
    """
    with closing(Client(replace(server, direct=True))) as api:
        return [node.name for node in lab.nodes if _register_node(api, lab, node)]


def _register_node(api: Client, lab: Lab, node: LabNode) -> bool:
    hammer = {"name": "lab", "priority": 10, "config": _hammer_config(lab, node)}
    try:
        known = api.get("nodes", node.name)
    except ApiError as error:
        if error.answer != 404:
            raise
        body = {"name": node.name, "admin": node.admin, "host_keys": [node.host_key]}
        # One request, so that a node is never without its power; hints, so that nobody must be there who reads them.
        hint = {"hint-admin-v4addr": node.ipv4, "hint-admin-v6addr": node.ipv6, "hint-admin-macs": [node.mac]}
        api.post("nodes", body=body | {"hint": hint, "hammers": [hammer], "available": True})
        return True
    # A lab made anew has the same names and addresses, and other host keys.
    api.patch("nodes", node.name, body={"host_keys": [node.host_key]})
    if not any(one["name"] == "lab" for one in api.rows("nodes", node.name, "hammers")):
        api.post("hammers", body={"node_id": known["id"], **hammer})
    return False


def _hammer_config(lab: Lab, node: LabNode) -> dict[str, str]:
    config = {"lab": lab.name, "node": node.name}
    if lab.directory.parent != default_state_dir():
        config["state_dir"] = str(lab.directory.parent)
    return config
