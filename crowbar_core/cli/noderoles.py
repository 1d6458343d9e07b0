"""`crowbar noderoles`: roles bound to nodes. Each is named by its id or as NODE/ROLE."""

from __future__ import annotations

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.confirm import ask, yes_option
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import Noun, noun, output
from crowbar_core.cli.converge import wait_for, wait_option
from crowbar_core.cli.nodes import print_why
from crowbar_core.cli.plans import DRY, plan_options, show_plan
from crowbar_core.cli.runs import print_log
from crowbar_core.cli.verbs import add_list, node_role_id
from crowbar_core.errors import NotFound

noderoles = noun("noderoles", "Roles bound to nodes, the units of work; named by id or as NODE/ROLE.")
COLUMNS = ("id", "node", "role", "deployment", "state", "run_state", "cohort", "run_count", "available", "status")
STATES = ("ERROR", "ACTIVE", "TODO", "TRANSITION", "BLOCKED", "PROPOSED")


add_list(
    noderoles, "node_roles", COLUMNS, what="the noderoles",
    filters={"state_name": f"One of {', '.join(STATES)}."},
    names={"node": "nodes", "role": "roles", "deployment": "deployments"},
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
        references: tuple[str, ...], wait: bool = False, yes: bool = False, reason: str | None = None,
        plan: bool = False, every: bool = False,
    ) -> None:  # fmt: skip
        client = connect()
        numbers = [node_role_id(client, reference) for reference in references]
        if plan:
            for reference, number in zip(references, numbers, strict=True):
                found = client.put("node_roles", number, action, query=DRY)
                show_plan(found, every=every, title=f"{action} {reference}")
            return
        if asks:
            ask(client, "node_roles", numbers, action, yes=yes)
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
    act = click.argument("references", metavar="NODEROLE...", nargs=-1, required=True)(act)
    group.verb(action, help=help_)(act)


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


@noderoles.verb("unbind")
@click.argument("references", metavar="NODEROLE...", nargs=-1, required=True)
@yes_option
@plan_options
def unbind(references: tuple[str, ...], yes: bool, plan: bool, every: bool) -> None:
    """Take the role off its node, with what depends on it there, after showing what is lost."""
    client = connect()
    numbers = [node_role_id(client, reference) for reference in references]
    if plan:
        for reference, number in zip(references, numbers, strict=True):
            show_plan(client.delete("node_roles", number, query=DRY), every=every, title=f"unbind {reference}")
        return
    ask(client, "node_roles", numbers, "unbind", yes=yes)
    for reference, number in zip(references, numbers, strict=True):
        answer = client.delete("node_roles", number)
        if answer is not None and output() != "table":
            out.data(answer, output())
        out.say(f"Noderole {reference} is gone.")
