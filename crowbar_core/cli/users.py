"""`crowbar users` and `crowbar tokens`: who may do what."""

from __future__ import annotations

from typing import Any

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.connection import ask_password, connect
from crowbar_core.cli.context import noun, output
from crowbar_core.cli.verbs import Given, add_action, add_destroy, add_list, add_show, add_update, ref

ROLES = ("viewer", "operator", "admin")

users = noun("users", "Users and their roles: admin, operator, viewer.")
add_list(users, "users", ("id", "name", "role", "locked", "created_at"), what="the users", order="name")
add_show(users, "users", what="a user")
add_destroy(users, "users", what="a user")
add_action(
    users, "users", "lock", help_="Keep users from signing in, and end their sessions.", done="User {name} is locked."
)
add_action(users, "users", "unlock", help_="Let users sign in again.", done="User {name} is unlocked.")

add_update(
    users, "users", what="a user", options=(Given(name="role", type=click.Choice(ROLES), help="What the user may do."),)
)

PASSWORD_HELP = "The password is asked for, or read from standard input; never from the command line."


@users.verb("create", help=f"Make a user. {PASSWORD_HELP}")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True, help="What the user may do.")
def create(name: str, role: str) -> None:
    client = connect()
    password = ask_password(f"New password of {name}: ", repeat=True)
    out.record(client.post("users", body={"name": name, "role": role, "password": password}), output())
    out.say(f"User {name} is made.")


@users.verb("password", help=f"Set a user's password, which ends their sessions. {PASSWORD_HELP}")
@click.argument("name")
@click.option("--revoke-tokens", is_flag=True, help="End the user's tokens, too; they go on working otherwise.")
def password(name: str, revoke_tokens: bool) -> None:
    client = connect()
    who = client.get("whoami")
    body: dict[str, Any] = {"revoke_tokens": revoke_tokens}
    if who["role"] != "admin" and name.lower() in (str(who["name"]).lower(), str(who["user_id"])):
        body["old_password"] = ask_password(f"Present password of {name}: ")
    body["password"] = ask_password(f"New password of {name}: ", repeat=True)
    left = client.put("users", name, "reset_password", body=body)["tokens_left"]
    out.say(f"The password of {name} is set.{tokens_still_work(left)}")


def tokens_still_work(left: int) -> str:
    return f" Tokens that still work: {left} (crowbar tokens list, crowbar tokens revoke)." if left else ""


tokens = noun("tokens", "Tokens of users and nodes: what programs sign in with.")


add_list(tokens, "tokens", ("id", "name", "user", "node", "role", "expires_at", "last_used_at"), what="the tokens",
         filters={"node": "Only this node's."})  # fmt: skip


@tokens.verb("create")
@click.argument("name")
@click.option("--owner", metavar="USER", help="Whose token it is (your own unless said).")
@click.option("--node", metavar="NAME", help="A node's token instead: it reaches only that node's own data.")
@click.option("--role", type=click.Choice(ROLES), help="What it may do; at most what its user may.")
@click.option("--purpose", help="What a node's token is for; with one for boot the node may bring new host keys.")
@click.option("--expires", metavar="TIME", help="When it ends: an ISO 8601 time with its offset.")
def create_token(
    name: str, owner: str | None, node: str | None, role: str | None, purpose: str | None, expires: str | None
) -> None:
    """Make a token. It is printed once, and cannot be shown again."""
    if owner and node:
        raise click.UsageError("A token belongs to a user or to a node, not to both.")
    client = connect()
    body: dict[str, Any] = {"name": name}
    if owner:
        body["user_id"] = ref(owner)
    if node:
        body["node_id"] = ref(node)
    if role:
        body["role"] = role
    if purpose:
        body["purpose"] = purpose
    if expires:
        body["expires_at"] = expires
    answer = client.post("tokens", body=body)
    if output() == "table":
        out.line(str(answer["token"]))
        out.say("Keep it: it is not shown again.")
    else:
        out.data(answer, output())


@tokens.verb("revoke")
@click.argument("numbers", metavar="TOKEN...", nargs=-1, required=True)
def revoke(numbers: tuple[str, ...]) -> None:
    """End tokens at once; each is named by its id."""
    client = connect()
    for number in numbers:
        client.delete("tokens", number)
        out.say(f"Token {number} is revoked.")
