"""`crowbar runs`: each execution of a noderole, with its log."""

from __future__ import annotations

import time
from typing import Any

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.client import Client
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import noun, output
from crowbar_core.cli.verbs import add_list

runs = noun("runs", "Each execution of a noderole, with its log.")
COLUMNS = ("id", "node", "role", "state", "attempt", "refresh", "started_at", "finished_at", "exit_reason")
_OPEN = ("queued", "running", "cancelling")
WAIT = 10
"""Seconds that the server may hold a request for new lines."""
PAUSE = 0.3

add_list(runs, "runs", COLUMNS, what="the runs",
         filters={"state": "queued, running, cancelling, succeeded, failed, cancelled or lost.",
                  "node_role_id": "Only those of this noderole."}, names={"node": "nodes"}, of_nodes=True)  # fmt: skip


@runs.verb("show")
@click.argument("number", metavar="RUN")
def show(number: str) -> None:
    """Show a run, with the steps that it went through."""
    found = connect().get("runs", number)
    if output() != "table":
        out.record(found, output())
        return
    steps = found.pop("timeline", [])
    out.record(found, output())
    if steps:
        out.say("")
        rows = [
            {"step": one["name"], "since": one["at"], "until": one["ended_at"], "waits_for": one["reason"]}
            for one in steps
        ]
        out.rows(rows, ("step", "since", "until", "waits_for"), output())


@runs.verb("log")
@click.argument("number", metavar="RUN", type=click.IntRange(min=1))
@click.option("-f", "--follow", is_flag=True, help="Stay until the run has ended.")
def log(number: int, follow: bool) -> None:
    """Print a run's log."""
    print_log(connect(), number, follow=follow)


def print_log(client: Client, number: int, *, follow: bool) -> None:
    """The lines so far; with ``follow`` also those to come, until the run has ended."""
    seen = 0
    collected: list[dict[str, Any]] = []
    while True:
        # The state is read before the lines: what it says has ended can then write no more.
        ended = not follow or client.get("runs", number)["state"] not in _OPEN
        for line in client.rows("runs", number, "log", query={"after": seen or None, "wait": None if ended else WAIT}):
            seen = max(seen, int(line["seq"]))
            if output() == "table":
                out.line(f"{line['at'][11:23]} {line['stream']:<7} {line['line']}")
            else:
                collected.append(line)
        if ended:
            break
        time.sleep(PAUSE)
    if output() != "table":
        out.data(collected, output())


@runs.verb("cancel")
@click.argument("numbers", metavar="RUN...", nargs=-1, required=True, type=click.IntRange(min=1))
@click.option("--no-hold", is_flag=True, help="Let the noderole run again at once; it is held unless said.")
def cancel(numbers: tuple[int, ...], no_hold: bool) -> None:
    """Cancel runs; what they started on their nodes is killed."""
    client = connect()
    for number in numbers:
        client.put("runs", number, "cancel", body={"hold": not no_hold})
        out.say(f"Run {number} is being cancelled.")


@runs.verb("wake")
@click.argument("numbers", metavar="RUN...", nargs=-1, required=True, type=click.IntRange(min=1))
def wake(numbers: tuple[int, ...]) -> None:
    """Have runs in steps called again: what they wait for may have happened. Without need it does no harm."""
    client = connect()
    for number in numbers:
        client.put("runs", number, "wake")
        out.say(f"Run {number} is woken.")
