"""Waiting until the cluster is settled: `crowbar converge`, and the `--wait` of other commands."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from crowbar_core.cli import output as out
from crowbar_core.cli.client import Client
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import output, verb
from crowbar_core.cli.errors import NotSettled

PAUSE = 0.3
_SHOWN = 5


@verb("converge")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after so long (exit 1).")
def converge(timeout: float | None) -> None:
    """Wait until nothing is left to do. Exits 0 when all is well, 1 when something failed or the time is over."""
    client = connect()
    status, body = wait_until_settled(client, timeout)
    if output() != "table":
        out.data({"settled": status == 200, **body}, output())
    if status != 200:
        raise NotSettled(failures(client))
    waiting = int(body.get("waiting") or 0)
    out.say(
        f"Settled; {waiting} noderoles wait, `crowbar noderoles list --state BLOCKED` shows them."
        if waiting
        else "Settled."
    )


def wait_until_settled(client: Client, timeout: float | None = None) -> tuple[int, dict[str, Any]]:
    """Ask `anneal` until it says 200 (settled) or 409 (failed); a bar on stderr meanwhile. Raises ``NotSettled``."""
    deadline = None if timeout is None else time.monotonic() + timeout
    most = 0
    console = Console(stderr=True, highlight=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("annealing", total=None)
        while True:
            status, answer = client.status("anneal", accept=(409,))
            body = answer if isinstance(answer, dict) else {}
            if status != 202:
                return status, body
            working = int(body.get("working") or 0)
            most = max(most, working)
            errors = int(body.get("errors") or 0)
            told = f"annealing, {errors} failed" if errors else "annealing"
            progress.update(bar, total=most or None, completed=most - working, description=told)
            if deadline is not None and time.monotonic() >= deadline:
                raise NotSettled(
                    f"Not settled within {timeout:g} s: {working} noderoles are still to do. "
                    "`crowbar runs list` shows what runs."
                )
            time.sleep(PAUSE)


def wait_for(client: Client, path: str, name: str) -> None:
    """Wait until all is settled, then insist that this one (node, noderole ...) is ACTIVE. Raises ``NotSettled``."""
    wait_until_settled(client)
    found = client.get(path, name)
    state = str(found.get("state_name") or found.get("state"))
    if state != "ACTIVE":
        label = {"node_roles": "Noderole", "nodes": "Node", "deployments": "Deployment"}[path]
        its = [found] if path == "node_roles" else client.rows(path, name, "node_roles", query={"sort": "cohort"})
        raise NotSettled(f"{label} {name} is {state}, not ACTIVE. {_reasons(client, its)}")
    out.say(f"{name} is ACTIVE.")


def failures(client: Client) -> str:
    """What failed, by name, in a sentence."""
    return _reasons(client, client.rows("node_roles", query={"state_name": "ERROR"}, limit=_SHOWN + 1))


def _reasons(client: Client, node_roles: Iterable[Mapping[str, Any]]) -> str:
    """What of these failed; if nothing did, what the first that is not ACTIVE waits for."""
    failed: list[str] = []
    first: Mapping[str, Any] | None = None
    for row in node_roles:
        if row["state_name"] == "ERROR":
            failed.append(f"{row['node']}/{row['role']}")
        elif row["state_name"] != "ACTIVE":
            first = first or row
    if failed:
        shown, more = ", ".join(failed[:_SHOWN]), " and more" if len(failed) > _SHOWN else ""
        return f"Failed: {shown}{more}. `crowbar noderoles why {failed[0]}` says why."
    if first is not None:
        why = client.get("node_roles", first["id"], "why")
        return f"{first['node']}/{first['role']} waits: {why['summary']}"
    return "It has changed meanwhile: ask again."
