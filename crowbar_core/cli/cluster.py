"""Questions about the whole: `crowbar ping`, `crowbar inventory`, `crowbar export`."""

from __future__ import annotations

from typing import Any

from crowbar_core.cli import output as out
from crowbar_core.cli.client import Client
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import output, verb
from crowbar_core.cli.errors import NotSettled
from crowbar_core.cli.verbs import names_of


@verb("ping")
def ping() -> None:
    """Ask the server whether all is well; exit 1 when a part of it is not, 3 when it does not answer.

    Warnings (a node that died, say) are told, and are no reason for exit 1.
    """
    client = connect()
    status, answer = client.outside("readyz", accept=(503,))
    found = answer if isinstance(answer, dict) else {}
    well = status == 200 and found.get("status") == "ready"
    if output() != "table":
        out.data({"url": client.target.url, "ready": well, **found}, output())
    for warning in found.get("warnings") or ():
        out.say(f"Warning: {warning}.")
    if not well:
        how = "degraded" if status == 200 else "not ready"
        raise NotSettled(
            f"The server at {client.target.url} is up but {how}: {found.get('detail') or 'it does not say why'}"
        )
    out.say(f"The server at {client.target.url} is ready.")


PROCESS_COLUMNS = (
    "id", "kinds", "host", "pid", "version", "state", "leads", "runs", "concurrency", "started_at", "beat_at",
)  # fmt: skip


@verb("processes")
def processes() -> None:
    """List the processes of this installation: web, annealer and worker.

    A process that died, or gives no sign of life, is shown as dead for a day.
    """
    out.rows(connect().rows("processes"), PROCESS_COLUMNS, output())


@verb("inventory")
def inventory() -> None:
    """Print the nodes as an Ansible dynamic inventory (JSON unless --format yaml)."""
    out.data(connect().get("status", "inventory"), "yaml" if output() == "yaml" else "json")


@verb("export")
def export() -> None:
    """Print what was declared: deployments, nodes, bindings, groups. No secrets, nothing that was only reported.

    YAML unless --format json.
    """
    out.data(declared(connect()), "json" if output() == "json" else "yaml")


_NODE = ("name", "description", "admin", "available", "bootenv", "order", "hint")


def declared(client: Client) -> dict[str, Any]:
    """The operator's part of the cluster as a tree, by names only: ids mean nothing elsewhere."""
    roles = names_of(client, "roles")
    deployments = {row["id"]: row for row in client.rows("deployments")}
    nodes = {row["id"]: row for row in client.rows("nodes")}
    data: dict[int, dict[str, Any]] = {number: {} for number in deployments}
    for row in client.rows("deployment_roles"):
        data[row["deployment_id"]][roles[row["role_id"]]] = row.get("committed_data") or row.get("data") or {}
    bound: dict[int, list[dict[str, Any]]] = {number: [] for number in deployments}
    for row in client.rows("node_roles"):
        bound[row["deployment_id"]].append(
            {
                "node": nodes[row["node_id"]]["name"],
                "role": roles[row["role_id"]],
                **({} if row["available"] else {"held": True}),
            }
        )
    return {
        "deployments": [
            {
                "name": row["name"],
                **({"parent": deployments[row["parent_id"]]["name"]} if row.get("parent_id") in deployments else {}),
                **({"description": row["description"]} if row.get("description") else {}),
                "roles": data[number],
                "bindings": sorted(bound[number], key=lambda binding: (binding["node"], binding["role"])),
            }
            for number, row in deployments.items()
        ],
        "nodes": [
            {
                **{key: row[key] for key in _NODE if row.get(key) not in (None, "", {})},
                "deployment": deployments[row["deployment_id"]]["name"],
            }
            for row in nodes.values()
            if not row.get("system")
        ],
        "groups": [
            {key: row[key] for key in ("name", "category", "description") if row.get(key)}
            for row in client.rows("groups")
        ],
    }
