"""`crowbar machines burn-in` and burn-in-report."""

from __future__ import annotations

import click

from crowbar_core import Refused
from crowbar_core.client import connect
from crowbar_core.commands import Noun, data, output, rows, say


def add_to(machines: Noun) -> None:
    machines.verb("burn-in")(burn_in)
    machines.verb("burn-in-report")(burn_in_report)


@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--seconds", type=click.IntRange(1, 30 * 86400), help="For how long.  [default: 3600]")
@click.option(
    "--part", "parts", multiple=True, type=click.Choice(("cpu", "memory", "disk")), help="Without, all three."
)
def burn_in(names: tuple[str, ...], seconds: int | None, parts: tuple[str, ...]) -> None:
    """Keep processors, memory and disks of machines busy for a while, in the discovery image. Disks are only read."""
    wish: dict[str, object] = {**({"seconds": seconds} if seconds else {}), **({"parts": list(parts)} if parts else {})}
    for name in names:
        connect().put("machines", name, "burn_in", body=wish)
        say(f"{name} is burned in: crowbar machines burn-in-report {name}")


@click.argument("node", metavar="NODE")
def burn_in_report(node: str) -> None:
    """What came of burning a node in, which may be gone: part by part, newest first."""
    found = list(connect().rows("burn_ins", query={"node": node}))
    if not found:
        raise Refused(f"No node {node} was burned in.")
    if output() != "table":
        data(found, output())
        return
    rows(found, ("id", "state", "percent", "seconds", "corrected", "uncorrected", "ended_at", "detail"), output())
    rows([{"burn_in": one["id"], **part} for one in found for part in one["parts"]],
         ("burn_in", "part", "tool", "state", "amount", "unit", "detail"), output())  # fmt: skip
