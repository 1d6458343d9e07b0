"""`crowbar admin`: for whoever owns the database, when nobody can sign in any more."""

from __future__ import annotations

import click

from crowbar_core.cli.connection import ask_password
from crowbar_core.cli.local import opened, settings_options
from crowbar_core.cli.output import say
from crowbar_core.cli.users import tokens_still_work
from crowbar_core.services.people import users
from crowbar_core.services.turns.turn import Actor
from crowbar_core.settings import Settings
from crowbar_core.store import listing
from crowbar_core.web.api.nouns import USERS


@click.group("admin", no_args_is_help=True)
def admin() -> None:
    """Help yourself without a server: these work on the database directly."""


@admin.command("password")
@click.argument("name")
@click.option("--revoke-tokens", is_flag=True, help="End the user's tokens, too; they go on working otherwise.")
@settings_options
def password(settings: Settings, name: str, revoke_tokens: bool) -> None:
    """Set a user's password (asked for, or read from standard input), which ends their sessions."""
    with opened(settings) as parts:
        with parts.store.read() as session:
            user_id = listing.find_id(session, USERS, name)
        typed = ask_password(f"New password of {name}: ", repeat=True)
        tokens = users.set_password(parts, Actor("crowbar admin"), user_id, typed, revoke_tokens=revoke_tokens)
    say(f"The password of {name} is set.{'' if revoke_tokens else tokens_still_work(tokens)}")
