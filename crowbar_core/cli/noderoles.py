"""`crowbar noderoles`: roles bound to nodes. Each is named by its id or as NODE/ROLE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.client import Client
from crowbar_core.cli.confirm import ask, yes_option
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import Noun, noun, output
from crowbar_core.cli.converge import wait_for, wait_option
from crowbar_core.cli.nodes import print_why
from crowbar_core.cli.picking import picking_options, query_of
from crowbar_core.cli.plans import DRY, plan_options, show_plan
from crowbar_core.cli.runs import print_log
from crowbar_core.cli.verbs import add_list, force_option, forced, gone, id_of, node_role_id
from crowbar_core.errors import NotFound

noderoles = noun("noderoles", "Roles bound to nodes, the units of work; named by id or as NODE/ROLE.")
COLUMNS = ("id", "node", "role", "deployment", out.STATE, "run_state", "cohort", "run_count", "available", "status")
BULK = ("hold", "release")
"""What is done to many in one request: to all of them, or none."""
STATES = ("ERROR", "ACTIVE", "TODO", "TRANSITION", "BLOCKED", "PROPOSED")


add_list(
    noderoles, "node_roles", COLUMNS, what="the noderoles",
    filters={"state_name": f"One of {', '.join(STATES)}."},
    names={"node": "nodes", "role": "roles", "deployment": "deployments"}, of_nodes=True,
)  # fmt: skip


@noderoles.verb("show")
@click.argument("reference", metavar="NODEROLE")
def show(reference: str) -> None:
    """Show a noderole."""
    client = connect()
    out.record(client.get("node_roles", node_role_id(client, reference)), output())


@noderoles.verb("why")
@click.argument("reference", metavar="NODEROLE")
def why(reference: str) -> None:
    """Say why it is not running, or why it is where it is."""
    client = connect()
    print_why(client.get("node_roles", node_role_id(client, reference), "why"))


@noderoles.verb("log")
@click.argument("reference", metavar="NODEROLE")
@click.option("-f", "--follow", is_flag=True, help="Stay until the run has ended.")
def log(reference: str, follow: bool) -> None:
    """Print the log of its last run."""
    client = connect()
    number = node_role_id(client, reference)
    runs = list(client.rows("runs", query={"node_role_id": number}, limit=1))
    if not runs:
        raise NotFound(f"Noderole {reference} has not run yet. `crowbar noderoles why {reference}` says why.")
    print_log(client, int(runs[0]["id"]), follow=follow)


def _steer(
    group: Noun, action: str, help_: str, said: str, *, wait: bool = False, asks: bool = False, why: bool = False,
    plans: bool = True,
) -> None:  # fmt: skip
    def act(
        references: tuple[str, ...], groups: tuple[str, ...], matches: tuple[str, ...], roles: tuple[str, ...],
        wait: bool = False, yes: bool = False, reason: str | None = None, plan: bool = False, every: bool = False,
    ) -> None:  # fmt: skip
        client = connect()
        references, numbers = _pick(client, references, groups, matches, roles)
        if plan:
            for reference, number in zip(references, numbers, strict=True):
                found = client.put("node_roles", number, action, query=DRY)
                show_plan(found, every=every, title=f"{action} {reference}")
            return
        if asks:
            ask(client, "node_roles", numbers, action, yes=yes)
        if action in BULK and len(numbers) > 1:
            body = {"node_roles": numbers, **({"reason": reason} if reason else {})}
            client.post("node_roles", "bulk", action, body=body)
            out.say(f"{len(numbers)} noderoles: each {said}.")
            return
        for reference, number in zip(references, numbers, strict=True):
            client.put("node_roles", number, action, body={"reason": reason} if reason else None)
            out.say(f"Noderole {reference} {said}.")
        if wait:
            for number in numbers:
                wait_for(client, "node_roles", str(number))

    if wait:
        act = wait_option(act)
    if asks:
        act = yes_option(act)
    if why:
        act = click.option("--reason", metavar="TEXT", help="Why, for whoever finds it so.")(act)
    if plans:
        act = plan_options(act)
    act = click.option(
        "--role", "roles", multiple=True, metavar="NAME", help="Of the nodes that are meant, this role."
    )(act)
    act = click.argument("references", metavar="NODEROLE...", nargs=-1)(picking_options(act))
    group.verb(action, help=help_)(act)


def _pick(
    client: Client, references: Sequence[str], groups: Sequence[str], matches: Sequence[str], roles: Sequence[str]
) -> tuple[tuple[str, ...], list[int]]:
    """The noderoles that are meant, by name and by id: those named, and all (or those of ``roles``) on the nodes that
    are in the groups and like the patterns.
    """
    if not (references or groups or matches):
        raise click.UsageError("Say which noderoles: by id or as NODE/ROLE, or give --group or --match, and --role.")
    found = {node_role_id(client, reference): reference for reference in references}
    if groups or matches:
        query: dict[str, Any] = {**query_of(client, groups, matches), "fields": "id,node,role"}
        if roles:
            query["role_id"] = [id_of(client, "roles", role) for role in roles]
        for row in client.rows("node_roles", query=query):
            found.setdefault(int(row["id"]), f"{row['node']}/{row['role']}")
        if not found:
            raise NotFound("No noderole is like that. `crowbar noderoles list` takes the same options.")
    return tuple(found.values()), list(found)


_steer(noderoles, "retry", "Try again what is in ERROR.", "is tried again", wait=True)
_steer(noderoles, "propose", "Take it back to PROPOSED, for editing.", "is proposed")
_steer(
    noderoles,
    "commit",
    "Commit it, or its drafts; what destroys data asks first.",
    "is committed",
    wait=True,
    asks=True,
)
_steer(noderoles, "hold", "Keep it from running until it is released.", "is held", why=True, plans=False)
_steer(noderoles, "release", "Let it run again after a hold.", "is released", plans=False)
_steer(
    noderoles, "rerun", "Run it again although it is ACTIVE; its children wait meanwhile.", "is to run again", wait=True
)
_steer(
    noderoles,
    "refresh",
    "Run it again while it stays ACTIVE; its children are not disturbed.",
    "is being refreshed",
    wait=True,
)


@noderoles.verb("attribs")
@click.argument("reference", metavar="NODEROLE")
@click.option("--reveal", is_flag=True, help="Show secret values (needs the right to).")
def attribs(reference: str, reveal: bool) -> None:
    """List what its run is given: its own attributes and those of others that it wants, each with its source.

    `crowbar attribs explain ATTRIBUTE --noderole NODEROLE` tells all sources of one of them.
    """
    client = connect()
    query = {"wanted": "true", "reveal": "true" if reveal else None}
    rows = client.get("node_roles", node_role_id(client, reference), "attribs", query=query)
    out.rows(rows, ("name", "role", "value", "source", "subject"), output())


@noderoles.verb("unbind")
@click.argument("references", metavar="NODEROLE...", nargs=-1, required=True)
@yes_option
@force_option
@plan_options
def unbind(references: tuple[str, ...], yes: bool, force: bool, plan: bool, every: bool) -> None:
    """Take the role off its node, with what depends on it there, after showing what is lost.

    What it made there is torn down first, if it can do that; then it goes.
    """
    client = connect()
    numbers = [node_role_id(client, reference) for reference in references]
    if plan:
        for reference, number in zip(references, numbers, strict=True):
            show_plan(
                client.delete("node_roles", number, query=DRY | forced(force)), every=every, title=f"unbind {reference}"
            )
        return
    ask(client, "node_roles", numbers, "unbind", yes=yes, force=force)
    for reference, number in zip(references, numbers, strict=True):
        answer = client.delete("node_roles", number, query=forced(force))
        if answer is not None and output() != "table":
            out.data(answer, output())
        out.say(f"Noderole {reference} {gone(client, 'node_roles', number)}.")
