"""`crowbar machines erase` and erase-report."""

from __future__ import annotations

from typing import Any

import click

from crowbar_core import Refused
from crowbar_core.client import connect
from crowbar_core.commands import Noun, data, output, plan_options, rows, say, yes_option
from crowbar_provisioner import order_commands
from crowbar_provisioner.erasing.signing import is_signed


def add_to(machines: Noun) -> None:
    machines.verb("erase")(erase)
    machines.verb("erase-report")(erase_report)


@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--disk", "disks", multiple=True, metavar="DISK", help="By name, serial number, WWN or path; else all.")
@click.option("--keep", multiple=True, metavar="DISK", help="One that is not touched.")
@click.option("--method", type=click.Choice(("best", "overwrite")), help="best: by the disk's own means, where it has.")
@click.option("--sample", type=click.IntRange(0, 1 << 20), metavar="MIB", help="How much is read back; 0: all of it.")
@yes_option
@plan_options
def erase(names: tuple[str, ...], yes: bool, plan: bool, every: bool, **said: Any) -> None:
    """Erase disks of machines, and read them back. Asks, once it has shown which disks."""
    order_commands.order(
        names, "erase", said, yes=yes, plan=plan, every=every, asks="erase disks of {name}",
        done="Disks of {name} are being erased: crowbar machines erase-report {name}",
    )  # fmt: skip


@click.argument("node", metavar="NODE")
@click.option("--verify", is_flag=True, help="Check the signatures; exits 1 where one is not right.")
@click.option("--public-key", metavar="KEY", help="The key that must have signed them, as you have kept it.")
def erase_report(node: str, verify: bool, public_key: str | None) -> None:
    """The reports of disks that were erased on a node, which may be gone. With -o json: what is signed, and by what."""
    found = list(connect().rows("erasures", query={"node": node}))
    if not found:
        raise Refused(f"No disk of a node {node} was erased.")
    if output() == "table":
        rows(found, ("disk", "serial", "size", "state", "method", "percent", "ended_at", "detail"), output())
    else:
        data(found, output())
    if not (verify or public_key):
        return
    wrong = [one for one in found if one["signature"] and not _is_right(one, public_key)]
    for one in wrong:
        say(f"The report of {one['disk']} ({one['serial']}) is NOT as it was signed.")
    if wrong:
        raise SystemExit(1)
    ended = [one for one in found if one["signature"]]
    if ended:
        say(f"{len(ended)} of {len(found)} reports are signed, and as they were, by the key {ended[0]['public_key']}.")


def _is_right(one: dict[str, Any], key: str | None) -> bool:
    """What the list says of the disk must be what was signed."""
    said = one["report"]
    same = all(said.get(name) == one[name] for name in ("node", "disk", "serial", "wwn", "size", "method"))
    return same and said.get("result") == one["state"] and is_signed(said, one["signature"], key or one["public_key"])
