"""`crowbar nodes`: the machines, their power, and what is bound to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.client import Client
from crowbar_core.cli.confirm import ask, yes_option
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import noun, output
from crowbar_core.cli.converge import wait_for
from crowbar_core.cli.errors import ApiError, NotSettled
from crowbar_core.cli.picking import pick, picking_options
from crowbar_core.cli.plans import DRY, plan_options, show_plan
from crowbar_core.cli.verbs import (
    add_action,
    add_destroy,
    add_list,
    add_show,
    done,
    pair,
    read_value,
    ref,
)

nodes = noun("nodes", "The machines.")
SHOWN = 50
"""Noderoles that are told of one by one after a bind."""
COLUMNS = ("id", "name", "state", "alive", "available", "addresses", "groups", "bootenv", "description")

add_list(
    nodes, "nodes", COLUMNS, what="the nodes",
    filters={"state": "TRANSITION, ERROR, PROPOSED, TODO, ACTIVE, IDLE, OFF, DEAD or NEW.",
             "alive": "true or false.", "available": "true or false."},
    names={"deployment": "deployments"}, of_nodes=True, has_system=True, extra="addresses,groups", order="name",
)  # fmt: skip
add_show(nodes, "nodes", what="a node")
add_destroy(nodes, "nodes", what="a node", plans=True, forces=True)
add_action(nodes, "nodes", "commit", help_="Commit all that is proposed or drafted on nodes.",
           done="Node {name} is committed.",
           after=lambda client, name: wait_for(client, "nodes", name), asks=True, plans=True)  # fmt: skip
add_action(
    nodes,
    "nodes",
    "propose",
    help_="Take a node's noderoles back to PROPOSED.",
    done="Node {name} is proposed.",
    plans=True,
)
add_action(nodes, "nodes", "redeploy", help_="Run everything on nodes again, destructive roles too.",
           done="Node {name} is being deployed again.", plans=True,
           after=lambda client, name: wait_for(client, "nodes", name), asks=True)  # fmt: skip


def _hints(hint: tuple[str, ...]) -> dict[str, Any]:
    return {key: read_value(value) for key, value in (pair(text, "--hint") for text in hint)}


@nodes.verb("create")
@click.argument("name")
@click.option("--description", help="What it is for.")
@click.option("--admin", is_flag=True, help="It is an admin node: bootstrap roles are bound to it.")
@click.option("--ip", help="Its address on the admin network.")
@click.option("--mac", help="The hardware address of its card on the admin network.")
@click.option("--deployment", metavar="NAME", help="The deployment it belongs to (system unless said).")
@click.option(
    "--hint", multiple=True, metavar="ATTRIBUTE=VALUE", help="A wish for one of its attributes; may be repeated."
)
@click.option(
    "--host-key", "host_keys", multiple=True, metavar="KEY", help="A known SSH host key, `ssh-ed25519 AAAA...`."
)
@click.option("--bootenv", help="What it boots (local).")
@click.option("--alive/--no-alive", default=None, help="Take it for alive at once, unprobed.")
@click.option("--available/--no-available", default=None, help="The annealer may work on it.")
def create(name: str, deployment: str | None, hint: tuple[str, ...], host_keys: tuple[str, ...], **given: Any) -> None:
    """Register a node; its NAME is a full host name (node1.example.test)."""
    client = connect()
    body = {
        "name": name,
        **{
            key: value
            for key, value in given.items()
            if value not in (None, False) or (key == "available" and value is False)
        },
    }
    if deployment:
        body["deployment_id"] = ref(deployment)
    if hint:
        body["hint"] = _hints(hint)
    if host_keys:
        body["host_keys"] = list(host_keys)
    out.record(client.post("nodes", body=body), output())
    out.say(f"Node {name} is registered.")


@nodes.verb("update")
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option("--name", "new_name", metavar="NAME", help="A new name, of one node.")
@click.option("--description", help="What it is for.")
@click.option("--deployment", metavar="NAME", help="Move it to this deployment.")
@click.option("--bootenv", help="What it boots.")
@click.option("--available/--no-available", default=None, help="The annealer may work on it, or not.")
@click.option("--alive/--no-alive", default=None, help="Take it for alive or dead until it is probed again.")
@click.option("--order", type=int, help="Its place in lists.")
@click.option(
    "--hint", multiple=True, metavar="ATTRIBUTE=VALUE", help="A wish for an attribute of one node; may be repeated."
)
@picking_options
@plan_options
def update(
    names: tuple[str, ...],
    new_name: str | None,
    deployment: str | None,
    hint: tuple[str, ...],
    groups: tuple[str, ...],
    matches: tuple[str, ...],
    plan: bool,
    every: bool,
    **given: Any,
) -> None:
    """Change nodes, all of them alike or none; what is not said stays."""
    client = connect()
    body: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if deployment:
        body["deployment_id"] = ref(deployment)
    if not (body or hint or new_name is not None):
        raise click.UsageError("Say what to change: --available, --description, --deployment, --bootenv, --hint ...")
    picked = pick(client, names, groups, matches)
    if len(picked) > 1:
        if hint or new_name is not None:
            raise click.UsageError("--name and --hint are for one node.")
        whole = {"nodes": [ref(one) for one in picked], "changes": body}
        if plan:
            show_plan(client.patch("nodes", "bulk", body=whole, query=DRY), every=every)
            return
        done(client.patch("nodes", "bulk", body=whole), f"{len(picked)} nodes are changed.")
        return
    (name,) = picked
    if new_name is not None:
        body["name"] = new_name
    if hint:
        body["hint"] = {**client.get("nodes", name).get("hint", {}), **_hints(hint)}
    if plan:
        show_plan(client.patch("nodes", name, body=body, query=DRY), every=every)
        return
    out.record(client.patch("nodes", name, body=body), output())


@nodes.verb("power")
@click.argument("words", metavar="[NODE]... [ACTION]", nargs=-1)
@picking_options
@yes_option
def power(words: tuple[str, ...], groups: tuple[str, ...], matches: tuple[str, ...], yes: bool) -> None:
    """Perform a power ACTION through each node's best hammer; for one NODE without an ACTION, list what is possible.
    What may stop a node asks first.

    A node whose hammer fails does not keep the others from it; then the exit code is 1.
    """
    client = connect()
    if len(words) == 1 and not groups and not matches:
        out.record(client.get("nodes", words[0], "power"), output())
        return
    if not words:
        raise click.UsageError("Say what to do: crowbar nodes power NODE... ACTION.")
    *names, action = words
    picked = pick(client, names, groups, matches)
    ask(client, "nodes", picked, action, yes=yes)
    answers, failed = [], []
    for name in picked:
        try:
            answer = client.put("nodes", name, "power", body={"action": action}) or {}
        except ApiError as error:
            if len(picked) == 1:
                raise
            failed.append(name)
            out.say(f"{name}: {error.detail}")
            continue
        answers.append({"node": name, **answer})
        out.say(f"{name}: {answer.get('result') or action}")
    if output() != "table":
        out.data(answers if len(picked) > 1 else answers[0], output())
    if failed:
        raise NotSettled(f"{action} failed for {len(failed)} of {len(picked)} nodes: {', '.join(failed[:10])}.")


@nodes.verb("why")
@click.argument("name")
def why(name: str) -> None:
    """Say why the node is not done."""
    print_why(connect().get("nodes", name, "why"))


def print_why(answer: Any) -> None:
    """The reason, or each of several on a line of its own; as it is in JSON and YAML."""
    if output() != "table" or not isinstance(answer, dict):
        out.data(answer, output() if output() != "table" else "yaml")
        return
    reasons = answer.get("reasons", ())
    if len(reasons) == 1:
        out.line(str(answer.get("summary", "")))
        return
    for reason in reasons:
        out.line(f"{reason.get('code', '')}: {reason.get('detail', '')}")


@nodes.verb("attribs")
@click.argument("name")
@click.option("--reveal", is_flag=True, help="Show secret values (needs the right to).")
def attribs(name: str, reveal: bool) -> None:
    """List the node's attributes with their values and where these come from."""
    rows = connect().get("nodes", name, "attribs", query={"reveal": "true" if reveal else None})
    out.rows(rows, ("name", "value", "source", "subject", "description"), output())


@nodes.verb("addresses")
@click.argument("name")
@click.option(
    "--claims", is_flag=True, help="All that were given for it or that it reported, and why some do not count."
)
def addresses(name: str, claims: bool) -> None:
    """List the node's addresses on the admin network, best first."""
    if claims:
        rows = connect().get("nodes", name, "address_claims")
        out.rows(rows, ("address", "source", "holder", "refused"), output())
        return
    answer = connect().get("nodes", name, "addresses")
    if output() != "table":
        out.data(answer, output())
        return
    for address in answer:
        out.line(address if isinstance(address, str) else str(address.get("address", address)))


@nodes.verb("bind")
@click.argument("words", metavar="[NODE] ROLE...", nargs=-1, required=True)
@click.option(
    "--node", "names", multiple=True, metavar="NAME", help="This node; may be repeated. Then all words are roles."
)
@click.option("--deployment", metavar="NAME", help="In this deployment (each node's own unless said).")
@picking_options
@plan_options
def bind(
    words: tuple[str, ...],
    names: tuple[str, ...],
    deployment: str | None,
    groups: tuple[str, ...],
    matches: tuple[str, ...],
    plan: bool,
    every: bool,
) -> None:
    """Bind roles to nodes, and all that they require: everywhere, or nowhere. Nothing of it runs until it is committed;
    --plan tells what would happen then.
    """
    client = connect()
    if not (names or groups or matches):
        if len(words) < 2:
            raise click.UsageError("Say the node and its roles: crowbar nodes bind NODE ROLE...")
        names, words = words[:1], words[1:]
    bind_roles(client, pick(client, names, groups, matches), words, deployment, plan=plan, every=every)


def bind_roles(
    client: Client, nodes: Sequence[str], roles: Sequence[str], deployment: str | None, *, plan: bool, every: bool
) -> None:
    """Each role to each node, in one request: all or none."""
    body: dict[str, Any] = {"nodes": [ref(node) for node in nodes], "roles": [ref(role) for role in roles]}
    if deployment:
        body["deployment_id"] = ref(deployment)
    if plan:
        show_plan(client.post("node_roles", "bulk", body=body, query=DRY), every=every)
        return
    bound = client.post("node_roles", "bulk", body=body)
    made = [client.get("node_roles", number) for number in bound["node_roles"][:SHOWN]]
    for row in made:
        out.say(f"Role {row['role']} is bound to node {row['node']}.")
    if len(bound["node_roles"]) > SHOWN:
        out.say(f"{len(bound['node_roles']) - SHOWN} more are bound; {len(bound['created'])} noderoles are new in all.")
    out.rows(made, ("id", "node", "role", out.STATE, "cohort"), output())


@nodes.verb("probe")
@click.argument("name")
def probe(name: str) -> None:
    """Test now whether the node is alive, and take note of it."""
    out.record(connect().put("nodes", name, "probe"), output())


@nodes.verb("forget-discovery")
@click.argument("name")
def forget_discovery(name: str) -> None:
    """Forget all that the node reported of itself, its addresses too."""
    connect().delete("nodes", name, "discovery")
    out.say(f"What node {name} reported is forgotten.")


@nodes.verb("forget-key")
@click.argument("name")
def forget_key(name: str) -> None:
    """Forget the node's SSH host keys, after it was installed anew.

    The next one that it shows is taken, at an address that an operator or a barclamp gave it.
    """
    connect().patch("nodes", name, body={"host_keys": []})
    out.say(f"The host keys of node {name} are forgotten.")
