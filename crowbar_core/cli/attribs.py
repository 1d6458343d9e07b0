"""`crowbar attribs`: values of nodes, noderoles and deployments' roles, and where each comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.client import Client
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import noun, output
from crowbar_core.cli.converge import in_error, insist, insist_on_no_more_errors, wait_option, wait_until_settled
from crowbar_core.cli.plans import DRY, change_of, plan_options, show_plan
from crowbar_core.cli.verbs import add_list, add_show, done, id_of, node_role_id, read_file, read_value
from crowbar_core.errors import NotFound

attribs = noun("attribs", "Named, typed data of nodes and roles: get, set, explain.")

add_list(
    attribs,
    "attribs",
    ("id", "name", "role", "map", "writable", "secret", "required", "description"),
    what="the attributes that barclamps declare",
    filters={"role": "Only those of this role.", "barclamp": "Only those of this barclamp."},
)
add_show(attribs, "attribs", what="an attribute's declaration")


def _subject(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--deployment", metavar="NAME", help="Of the role --role in this deployment."),
        click.option(
            "--role",
            metavar="NAME",
            help="With --node: of this role's noderole there. With --deployment: of this role.",
        ),
        click.option("--noderole", metavar="NODEROLE", help="Of this noderole (id or NODE/ROLE)."),
        click.option("--node", metavar="NAME", help="Of this node."),
    ):
        function = option(function)
    return function


def _path(
    client: Client, node: str | None, noderole: str | None, role: str | None, deployment: str | None
) -> tuple[str | int, ...]:
    """The path whose ``attribs`` are meant."""
    if noderole and not (node or role or deployment):
        return ("node_roles", node_role_id(client, noderole))
    if node and not (noderole or deployment):
        return ("node_roles", node_role_id(client, f"{node}/{role}")) if role else ("nodes", node)
    if deployment and role and not (node or noderole):
        wanted = id_of(client, "roles", role)
        for row in client.rows("deployments", deployment, "deployment_roles"):
            if row["role_id"] == wanted:
                return ("deployment_roles", int(row["id"]))
        raise NotFound(
            f"Role {role} is not in deployment {deployment}. "
            f"`crowbar deployments add-role {deployment} {role}` adds it."
        )
    raise click.UsageError("Say whose it is: --node, --node with --role, --noderole, or --deployment with --role.")


@attribs.verb("get")
@click.argument("name", metavar="ATTRIBUTE")
@_subject
@click.option("--reveal", is_flag=True, help="Show a secret value (needs the right to).")
def get(name: str, reveal: bool, **subject: str | None) -> None:
    """Print an attribute's value; as a table, the value alone."""
    client = connect()
    found = client.get(*_path(client, **subject), "attribs", name, query={"reveal": "true" if reveal else None})
    if output() != "table":
        out.data(found, output())
    elif isinstance(found["value"], str):
        out.line(found["value"])
    else:
        out.data(found["value"], "json")


def _now_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--now", is_flag=True, help="Commit just this value at once; else it is a draft until it is committed."
    )(function)


@attribs.verb("set")
@click.argument("name", metavar="ATTRIBUTE")
@click.argument("value", required=False)
@_subject
@click.option("--string", is_flag=True, help="VALUE is text even if it looks like JSON.")
@click.option(
    "--file", "file", metavar="FILE", help="Read the value from a file; - is standard input (right for secrets)."
)
@_now_option
@plan_options
@wait_option
def set_(
    name: str, value: str | None, string: bool, file: str | None, now: bool, plan: bool, every: bool, wait: bool,
    **subject: str | None,
) -> None:  # fmt: skip
    """Set an attribute, as a draft unless --now is given. VALUE is JSON if it is JSON, else text.

    With --deployment alone it is set for every role of the deployment that has or wants it.
    """
    if (value is None) == (file is None):
        raise click.UsageError("Give either a VALUE or --file.")
    text = read_file(file).rstrip("\n") if file is not None else str(value)
    body = {"value": read_value(text, string=string)}

    def work(client: Client, path: tuple[str | int, ...], query: dict[str, Any]) -> Any:
        return client.put(*path, "attribs", name, body=body, query=query)

    _change(name, "set", work, subject, now=now, plan=plan, every=every, wait=wait)


@attribs.verb("unset")
@click.argument("name", metavar="ATTRIBUTE")
@_subject
@_now_option
@plan_options
@wait_option
def unset(name: str, now: bool, plan: bool, every: bool, wait: bool, **subject: str | None) -> None:
    """Take the operator's value away, as a draft unless --now is given; the next source shows through."""

    def work(client: Client, path: tuple[str | int, ...], query: dict[str, Any]) -> Any:
        return client.delete(*path, "attribs", name, query=query)

    _change(name, "unset", work, subject, now=now, plan=plan, every=every, wait=wait)


def _change(
    name: str, verb: str, work: Callable[[Client, tuple[str | int, ...], dict[str, Any]], Any],
    subject: dict[str, str | None], *, now: bool, plan: bool, every: bool, wait: bool,
) -> None:  # fmt: skip
    if wait and not now:
        raise click.UsageError("--wait wants --now: a draft changes nothing that runs.")
    client = connect()
    wide = subject["deployment"] is not None and not (subject["node"] or subject["noderole"])
    path = ("deployments", str(subject["deployment"])) if wide else _path(client, **subject)
    query = {"role": subject["role"]} if wide else {}
    if plan:
        show_plan(work(client, path, {**query, **DRY}), every=every)
        return
    before = in_error(client) if wait else set()
    answer = work(client, path, {**query, "now": "true" if now else None})
    done(answer, f"Attribute {name} is {verb}." if now else _drafted(name, verb, subject))
    if wait:
        _wait(client, path, before)


def _drafted(name: str, verb: str, subject: dict[str, str | None]) -> str:
    """What was done, and the ways to go on."""
    whose = " ".join(f"--{option} {given}" for option, given in subject.items() if given)
    alone = f"`crowbar attribs commit {whose}` commits it"
    if subject["deployment"] and not subject["role"]:
        alone = f"`crowbar deployments commit {subject['deployment']}` commits it"
    return (
        f"Attribute {name} is {verb} as a draft: nothing has changed yet. {alone} (with --plan: shows what that would "
        f"do), `crowbar attribs discard {whose}` discards it."
    )


# ---------------------------------------------------------------- drafts


@attribs.verb("drafts")
@_subject
def drafts(**subject: str | None) -> None:
    """List the drafts of an object, or of all in a deployment: values that were set and are not committed."""
    client = connect()
    rows = client.get(*_path_of_drafts(client, subject), "drafts")
    if output() != "table":
        out.data(rows, output())
        return
    lines = [{**row, "on": row["name"], "attribute": row["attribute"] or row["path"], "change": change_of(row),
              "by": row["actor"]} for row in rows]  # fmt: skip
    out.rows(lines, ("on", "attribute", "change", "by", "at"), "table")


@attribs.verb("commit")
@_subject
@plan_options
def commit(plan: bool, every: bool, **subject: str | None) -> None:
    """Commit the drafts of one object, and nothing else. `crowbar deployments commit` commits all in a deployment."""
    client = connect()
    path = _path(client, **subject)
    if plan:
        show_plan(client.put(*path, "drafts", "commit", query=DRY), every=every)
        return
    answer = client.put(*path, "drafts", "commit")
    count = int(answer["committed"])
    done(answer, f"{count} value{'s are' if count != 1 else ' is'} committed." if count else "There was no draft.")


@attribs.verb("discard")
@_subject
def discard(**subject: str | None) -> None:
    """Discard the drafts of one object, or of all in a deployment: what is committed stays."""
    client = connect()
    answer = client.put(*_path_of_drafts(client, subject), "drafts", "discard")
    count = int(answer["discarded"])
    done(answer, f"The drafts of {count} object{'s' if count != 1 else ''} are discarded." if count
         else "There was no draft.")  # fmt: skip


def _path_of_drafts(client: Client, subject: dict[str, str | None]) -> tuple[str | int, ...]:
    if subject["deployment"] and not (subject["role"] or subject["node"] or subject["noderole"]):
        return ("deployments", str(subject["deployment"]))
    return _path(client, **subject)


# ---------------------------------------------------------------- waiting


def _wait(client: Client, path: tuple[str | int, ...], before: set[int]) -> None:
    """Wait until all is settled, then insist that what the value is for is ACTIVE, as far as it is committed, and that
    nothing is in ERROR that was not ``before``.
    """
    wait_until_settled(client)
    insist_on_no_more_errors(client, before)
    for row in _bound(client, *path):
        if row["state_name"] != "PROPOSED":
            insist(client, "node_roles", str(row["id"]))


def _bound(client: Client, plural: str | int, key: str | int) -> Iterable[Mapping[str, Any]]:
    """The noderoles that a value of this object is for."""
    if plural == "node_roles":
        return [client.get("node_roles", key)]
    if plural == "nodes":
        return client.rows("nodes", key, "node_roles", query={"sort": "cohort"})
    if plural == "deployments":
        return client.rows("deployments", key, "node_roles", query={"sort": "cohort"})
    placed = client.get("deployment_roles", key)
    query = {"deployment_id": placed["deployment_id"], "role_id": placed["role_id"], "sort": "cohort"}
    return client.rows("node_roles", query=query)


@attribs.verb("explain")
@click.argument("name", metavar="ATTRIBUTE")
@_subject
@click.option("--reveal", is_flag=True, help="Show secret values (needs the right to).")
def explain(name: str, reveal: bool, **subject: str | None) -> None:
    """Show every source of the value, low to high, with who set it and when."""
    client = connect()
    query = {"explain": "true", "reveal": "true" if reveal else None}
    found = client.get(*_path(client, **subject), "attribs", name, query=query)
    if output() != "table":
        out.data(found, output())
        return
    out.rows(found["layers"], ("wins", "source", "subject", "value", "set", "actor", "at", "run_id"), "table")
