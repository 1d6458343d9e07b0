"""Questions about the whole: `crowbar ping`, `crowbar processes`, `crowbar inventory`."""

from __future__ import annotations

from crowbar_core.cli import output as out
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import output, verb
from crowbar_core.cli.errors import NotSettled


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
