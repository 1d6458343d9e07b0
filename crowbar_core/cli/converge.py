"""Waiting until the cluster is settled: `crowbar converge`, and the `--wait` of other commands."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.client import Client
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import output, verb
from crowbar_core.cli.errors import NotSettled
from crowbar_core.cli.later import later

console, progress = later("rich.console"), later("rich.progress")

PAUSE = 0.3
_SHOWN = 5
_LABELS = {"node_roles": "Noderole", "nodes": "Node", "deployments": "Deployment"}
_F = TypeVar("_F", bound=Callable[..., Any])
_TIMEOUT = "crowbar.timeout"


def _keep(ctx: click.Context, _param: click.Parameter, value: float | None) -> None:
    ctx.meta[_TIMEOUT] = value


_limit = click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    callback=_keep,
    expose_value=False,
    help="With --wait: give up after so long (exit 1).",
)


def wait_option(function: _F) -> _F:
    """`--wait` (the function gets ``wait``), and `--timeout`, which everything here that waits keeps to."""
    return click.option("--wait", is_flag=True, help="Wait until it is ACTIVE; exit 1 if it ends otherwise.")(
        _limit(function)
    )


@verb("converge")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after so long (exit 1).")
def converge(timeout: float | None) -> None:
    """Wait until nothing is left to do. Exits 0 when all that is committed is ACTIVE; 1 when something failed, waits
    for what somebody has to mend, or the time is over.
    """
    client = connect()
    status, body = wait_until_settled(client, timeout)
    if output() != "table":
        out.data({"settled": status == 200, **body}, output())
    if status != 200:
        raise NotSettled(_what_is_left(client, body))
    out.say(f"Settled: {_many(int(body.get('active') or 0), 'noderole is', 'noderoles are')} ACTIVE.")


def wait_until_settled(client: Client, timeout: float | None = None) -> tuple[int, dict[str, Any]]:
    """Ask `anneal` until it says 200 (settled) or 409 (failed, or waits); a bar on stderr meanwhile. Raises
    ``NotSettled`` when the time (``timeout``, or that of `--timeout`) is over.
    """
    if timeout is None and (ctx := click.get_current_context(silent=True)) is not None:
        timeout = ctx.meta.get(_TIMEOUT)
    deadline = None if timeout is None else time.monotonic() + timeout
    most = 0
    hindrances: list[str] = []
    columns = (
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
    )
    stderr = console.Console(stderr=True, highlight=False)
    with progress.Progress(*columns, console=stderr, transient=True, disable=not sys.stderr.isatty()) as shown:
        bar = shown.add_task("annealing", total=None)
        while True:
            status, answer = client.status("anneal", accept=(409,))
            body = answer if isinstance(answer, dict) else {}
            for one in body.get("hindrances") or ():
                if one not in hindrances:
                    hindrances.append(one)
                    out.say(f"Warning: {one}.")
            if status != 202:
                return status, body
            left = _left(body)
            most = max(most, left)
            shown.update(bar, total=most or None, completed=most - left, description=out.visible(_doing(body)))
            if deadline is not None and time.monotonic() >= deadline:
                raise NotSettled(f"Not settled within {timeout:g} s: {_doing(body)}. {_more(body)}".strip())
            time.sleep(PAUSE)


def wait_for(client: Client, path: str, name: str) -> None:
    """Wait until all is settled, then insist that this one (node, noderole ...) is ACTIVE. Raises ``NotSettled``."""
    wait_until_settled(client)
    insist(client, path, name)
    out.say(f"{name} is ACTIVE.")


def insist(client: Client, path: str, name: str) -> None:
    """Raise ``NotSettled``, with the reason, unless this one is ACTIVE now."""
    found = client.get(path, name)
    state = str(found.get("state_name") or found.get("state"))
    if state not in ("ACTIVE", "IDLE"):
        its = [found] if path == "node_roles" else client.rows(path, name, "node_roles", query={"sort": "cohort"})
        raise NotSettled(f"{_LABELS[path]} {name} is {state}, not ACTIVE. {_reasons(client, its)}")


def in_error(client: Client) -> set[int]:
    """The ids of the noderoles in ERROR."""
    return {int(row["id"]) for row in client.rows("node_roles", query={"state_name": "ERROR", "fields": "id"})}


def insist_on_no_more_errors(client: Client, before: set[int]) -> None:
    """Raise ``NotSettled`` when something is in ERROR now that was not ``before``."""
    failed = [row for row in client.rows("node_roles", query={"state_name": "ERROR"}) if int(row["id"]) not in before]
    if failed:
        raise NotSettled(_reasons(client, failed))


def _left(body: Mapping[str, Any]) -> int:
    return int(body.get("working") or 0) + int(body.get("waiting") or 0)


def _doing(body: Mapping[str, Any]) -> str:
    """What is under way, in a few words."""
    said: list[str] = []
    if working := int(body.get("working") or 0):
        said.append(_many(working, "run is open", "runs are open"))
    waits = [one for one in body.get("waits") or () if one.get("seconds") is not None]
    said += [f"{one['node']}/{one['role']} waits {one['seconds']:.0f} s to be tried again" for one in waits[:2]]
    if (undelivered := int(body.get("undelivered") or 0)) and not said:
        said.append(_many(undelivered, "event is being told to barclamps", "events are being told to barclamps"))
    if waiting := int(body.get("waiting") or 0) - len(waits):
        said.append(_many(waiting, "more noderole waits", "more noderoles wait"))
    if errors := int(body.get("errors") or 0):
        said.append(_many(errors, "has failed", "have failed"))
    return ", ".join(said) or "annealing"


def _more(body: Mapping[str, Any]) -> str:
    if body.get("working"):
        return "`crowbar runs list` shows what runs."
    return _list_of(body)


def _what_is_left(client: Client, body: Mapping[str, Any]) -> str:
    """What failed or waits, where and for what, and which list shows all of it."""
    waits = body.get("waits") or ()
    failed = _reasons(client, client.rows("node_roles", query={"state_name": "ERROR"}, limit=_SHOWN + 1))
    if body.get("state") == "failed":
        return failed
    said = [f"{one['node']}/{one['role']}: {one['why']}" for one in waits[:_SHOWN]]
    count = int(body.get("waiting") or 0)
    head = f"Not all is ACTIVE: {_many(count, 'noderole waits', 'noderoles wait')}."
    return "\n  ".join([f"{head} {_list_of(body)}".strip(), *said])


def _list_of(body: Mapping[str, Any]) -> str:
    """The command that lists what waits: of the state that most of it is in, so that the list is not empty."""
    states = Counter(one["state"] for one in body.get("waits") or ())
    if not states:
        return ""
    return " ".join(f"`crowbar noderoles list --state {state}` shows them." for state, _ in states.most_common(1))


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


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
