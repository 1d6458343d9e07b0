"""`crowbar hooks`: what barclamps were told, what of it failed, having it tried again, and being rid of it."""

from __future__ import annotations

from collections.abc import Sequence

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.client import Client
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import noun, output
from crowbar_core.cli.verbs import pair

hooks = noun("hooks", "What barclamps were told of, and what of it failed.")
COLUMNS = ("id", "plugin", "hook", "subject", "state", "attempts", "next_try_at", "error")


@hooks.verb("list")
@click.option("--state", default="failed", show_default=True, help="waiting, done, failed or any.")
@click.option("--barclamp", metavar="NAME", help="Only those of this barclamp.")
@click.option("--where", multiple=True, metavar="FIELD=VALUE", help="Only those with this value; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
def list_(state: str, barclamp: str | None, where: tuple[str, ...], limit: int | None) -> None:
    """List the calls of barclamps' hooks that failed for good, newest first."""
    query = {
        **dict(pair(text, "--where") for text in where),
        "state": None if state == "any" else state,
        "plugin": barclamp,
    }
    out.rows(connect().rows("events", "deliveries", query=query, limit=limit), COLUMNS, output())


def _server(numbers: Sequence[int], barclamp: str | None) -> Client:
    """The server, once it is clear which hooks are meant."""
    if bool(numbers) == (barclamp is not None):
        raise click.UsageError("Name the hooks by their numbers (see: crowbar hooks list), or a --barclamp.")
    return connect()


@hooks.verb("retry")
@click.argument("numbers", metavar="ID...", nargs=-1, type=click.IntRange(min=1))
@click.option("--barclamp", metavar="NAME", help="All of this barclamp, whose quarantine ends by that.")
def retry(numbers: tuple[int, ...], barclamp: str | None) -> None:
    """Have failed hooks called again: those with these numbers, or all of a barclamp."""
    client = _server(numbers, barclamp)
    if barclamp is not None:
        done = client.post("barclamps", barclamp, "retry")
        out.say(f"Barclamp {barclamp} is called again; {done['retried']} of its failed hooks are tried again.")
        if done["gone"]:
            out.say(
                f"{done['gone']} are not: it has no such hook any more. "
                f"To be rid of them: crowbar hooks dismiss --barclamp {barclamp}."
            )
    for number in numbers:
        client.post("events", "deliveries", number, "retry")
        out.say(f"Hook {number} is tried again.")


@hooks.verb("dismiss")
@click.argument("numbers", metavar="ID...", nargs=-1, type=click.IntRange(min=1))
@click.option("--barclamp", metavar="NAME", help="All of this barclamp, which need not be installed any more.")
def dismiss(numbers: tuple[int, ...], barclamp: str | None) -> None:
    """Give up failed hooks, those with these numbers or all of a barclamp: they are not called, and shown no longer."""
    client = _server(numbers, barclamp)
    if barclamp is not None:
        count = client.post("barclamps", barclamp, "dismiss")["dismissed"]
        out.say(f"{count} failed hooks of barclamp {barclamp} are dismissed.")
    for number in numbers:
        client.post("events", "deliveries", number, "dismiss")
        out.say(f"Hook {number} is dismissed.")


@hooks.verb("jobs")
@click.option("--barclamp", metavar="NAME", help="Only those of this barclamp.")
def jobs(barclamp: str | None) -> None:
    """List the periodic jobs of barclamps: when each last ran, and how that ended."""
    columns = ("barclamp", "name", "seconds", "last_run_at", "took", "failures", "error")
    out.rows(connect().rows("periodic_jobs", query={"barclamp": barclamp}), columns, output())
