"""`crowbar deployments`: named sets of work, proposed and then committed."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.confirm import ask, yes_option
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import noun, output
from crowbar_core.cli.converge import wait_for, wait_option
from crowbar_core.cli.nodes import bind_roles
from crowbar_core.cli.picking import pick, picking_options
from crowbar_core.cli.plans import DRY, all_option, plan_options, show_plan
from crowbar_core.cli.verbs import (
    Given,
    add_action,
    add_create,
    add_destroy,
    add_list,
    add_show,
    add_update,
    done,
    read_file,
    read_json,
    ref,
)

SHOW = "show"
"""What `--plan` alone stands for."""

deployments = noun("deployments", "Named sets of work: proposed, then committed.")

add_list(
    deployments,
    "deployments",
    ("id", "name", out.STATE, "parent_id", "system", "description"),
    what="the deployments",
    order="name",
)
add_show(deployments, "deployments", what="a deployment")
add_destroy(deployments, "deployments", what="a deployment", plans=True, forces=True)
add_action(
    deployments,
    "deployments",
    "propose",
    help_="Take deployments back to PROPOSED; nothing new is scheduled in them.",
    done="Deployment {name} is proposed.",
    plans=True,
)
add_action(
    deployments,
    "deployments",
    "recall",
    help_="As propose, and discard all drafts in them.",
    done="Deployment {name} is recalled.",
    plans=True,
)


_OPTIONS = (
    Given(name="parent_id", refers=True, help="The deployment it stands in (system unless said)."),
    Given(name="description", help="What it is for."),
)
add_create(deployments, "deployments", what="a deployment", options=_OPTIONS)
add_update(deployments, "deployments", what="a deployment", options=_OPTIONS)


@deployments.verb("bind")
@click.argument("name", metavar="DEPLOYMENT")
@click.argument("role")
@click.argument("nodes", metavar="NODE...", nargs=-1)
@picking_options
@plan_options
def bind(
    name: str,
    role: str,
    nodes: tuple[str, ...],
    groups: tuple[str, ...],
    matches: tuple[str, ...],
    plan: bool,
    every: bool,
) -> None:
    """Bind a role to nodes in the deployment: to all of them, or none. Nothing of it runs until it is committed; --plan
    tells what would happen then.
    """
    client = connect()
    bind_roles(client, pick(client, nodes, groups, matches), (role,), name, plan=plan, every=every)


@deployments.verb("add-role")
@click.argument("name", metavar="DEPLOYMENT")
@click.argument("role")
@click.option("--data", metavar="JSON", help="The deployment's values for the role, a JSON object.")
@click.option("--data-file", metavar="FILE", help="The same, from a file (- for standard input).")
def add_role(name: str, role: str, data: str | None, data_file: str | None) -> None:
    """Add a role to the deployment without binding it to a node yet."""
    client = connect()
    body: dict[str, Any] = {
        "deployment_id": ref(name),
        "role_id": ref(role),
    }
    if data_file is not None:
        body["data"] = read_json(read_file(data_file), f"The file {data_file}")
    elif data is not None:
        body["data"] = read_json(data, "--data")
    done(client.post("deployment_roles", body=body), f"Role {role} is in deployment {name}.")


@deployments.verb("plan")
@click.argument("name")
@all_option
def plan(name: str, every: bool) -> None:
    """Show what a commit would do, in order; `commit --plan ID` insists on it."""
    found = connect().get("deployments", name, "plan")
    show_plan(found, every=every, hint=f"`crowbar deployments commit {name} --plan {found['id']}`")


@deployments.verb("commit")
@click.argument("name")
@click.option(
    "--plan",
    "plan_id",
    metavar="[ID]",
    is_flag=False,
    flag_value=SHOW,
    help="Do nothing: show what would happen. With the ID of a plan: refuse to do anything else than that.",
)
@all_option
@wait_option
@yes_option
def commit(name: str, plan_id: str | None, every: bool, wait: bool, yes: bool) -> None:
    """Commit all that is proposed or drafted in the deployment; what destroys data asks first."""
    client = connect()
    if plan_id == SHOW:
        show_plan(client.put("deployments", name, "commit", query=DRY), every=every)
        return
    ask(client, "deployments", [name], "commit", yes=yes)
    answer = client.put("deployments", name, "commit", query={"plan": plan_id})
    done(answer, f"Deployment {name} is committed.")
    if wait:
        wait_for(client, "deployments", name)


@deployments.verb("graph")
@click.argument("name")
def graph(name: str) -> None:
    """Show the deployment's noderoles by cohort, with what each waits for."""
    found = connect().get("deployments", name, "graph")
    if output() != "table":
        out.data(found, output())
        return
    listed = found["vertices"]
    label = {row["id"]: f"{row['node']}/{row['role']}" for row in listed}
    parents: dict[int, list[str]] = defaultdict(list)
    for edge in found["edges"]:
        parents[edge["child_id"]].append(label.get(edge["parent_id"], f"#{edge['parent_id']}"))
    cohort = None
    for row in sorted(listed, key=lambda row: (row["cohort"], row["node"], row["role"])):
        if row["cohort"] != cohort:
            cohort = row["cohort"]
            out.line(f"cohort {cohort}")
        state = str(row["state_name"])
        glyph = out.GLYPHS.get(state, ("?", ""))[0]
        after = f"  after {', '.join(sorted(parents[row['id']]))}" if parents[row["id"]] else ""
        out.line(f"  {glyph} {state:<10} {label[row['id']]}{after}")


@deployments.verb("roles")
@click.argument("name")
def roles(name: str) -> None:
    """List the roles that were added to the deployment."""
    out.rows(
        connect().rows("deployments", name, "deployment_roles"),
        ("id", "role", "proposed_data", "committed_data"),
        output(),
    )
