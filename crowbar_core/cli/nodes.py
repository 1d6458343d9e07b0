"""`crowbar nodes`: the machines, their power, and what is bound to them."""

from __future__ import annotations

from typing import Any

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.confirm import ask, yes_option
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import noun, output
from crowbar_core.cli.converge import wait_for
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
COLUMNS = ("id", "name", "state", "alive", "available", "admin", "bootenv", "description")

add_list(
    nodes, "nodes", COLUMNS, what="the nodes",
    filters={"state": "TRANSITION, ERROR, PROPOSED, TODO, ACTIVE, IDLE, DEAD or NEW.",
             "alive": "true or false.", "available": "true or false."},
    names={"deployment": "deployments"},
)  # fmt: skip
add_show(nodes, "nodes", what="a node")
add_destroy(nodes, "nodes", what="a node", plans=True)
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
@click.argument("name")
@click.option("--name", "new_name", metavar="NAME", help="A new name.")
@click.option("--description", help="What it is for.")
@click.option("--deployment", metavar="NAME", help="Move it to this deployment.")
@click.option("--bootenv", help="What it boots.")
@click.option("--available/--no-available", default=None, help="The annealer may work on it, or not.")
@click.option("--alive/--no-alive", default=None, help="Take it for alive or dead until it is probed again.")
@click.option("--order", type=int, help="Its place in lists.")
@click.option(
    "--hint", multiple=True, metavar="ATTRIBUTE=VALUE", help="A wish for one of its attributes; may be repeated."
)
@plan_options
def update(
    name: str,
    new_name: str | None,
    deployment: str | None,
    hint: tuple[str, ...],
    plan: bool,
    every: bool,
    **given: Any,
) -> None:
    """Change a node; what is not named stays."""
    client = connect()
    body: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if new_name is not None:
        body["name"] = new_name
    if deployment:
        body["deployment_id"] = ref(deployment)
    if hint:
        body["hint"] = {**client.get("nodes", name).get("hint", {}), **_hints(hint)}
    if not body:
        raise click.UsageError("Say what to change: --available, --description, --deployment, --bootenv, --hint ...")
    if plan:
        show_plan(client.patch("nodes", name, body=body, query=DRY), every=every)
        return
    out.record(client.patch("nodes", name, body=body), output())


@nodes.verb("power")
@click.argument("name")
@click.argument("action", required=False)
@yes_option
def power(name: str, action: str | None, yes: bool) -> None:
    """Perform a power ACTION through the node's best hammer; without one, list what is possible. What may stop the node
    asks first.
    """
    client = connect()
    if action is None:
        out.record(client.get("nodes", name, "power"), output())
        return
    ask(client, "nodes", [name], action, yes=yes)
    answer = client.put("nodes", name, "power", body={"action": action})
    done(answer, f"{name}: {(answer or {}).get('result') or action}")


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
@click.argument("name", metavar="NODE")
@click.argument("roles", metavar="ROLE...", nargs=-1, required=True)
@click.option("--deployment", metavar="NAME", help="In this deployment (the node's own unless said).")
@plan_options
def bind(name: str, roles: tuple[str, ...], deployment: str | None, plan: bool, every: bool) -> None:
    """Bind roles to the node, and all that they require. Nothing of it runs until it is committed; --plan tells what
    would happen then.
    """
    bind_roles(name, roles, deployment, plan=plan, every=every)


def bind_roles(
    node: str, roles: tuple[str, ...], deployment: str | None, *, plan: bool = False, every: bool = False
) -> None:
    client = connect()
    made = []
    for role in roles:
        body: dict[str, Any] = {"node_id": ref(node), "role_id": ref(role)}
        if deployment:
            body["deployment_id"] = ref(deployment)
        if plan:
            show_plan(client.post("node_roles", body=body, query=DRY), every=every)
            continue
        made.append(client.post("node_roles", body=body))
        out.say(f"Role {role} is bound to node {node}.")
    if plan:
        return
    out.rows(made, ("id", "node", "role", "state", "cohort"), output())


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
