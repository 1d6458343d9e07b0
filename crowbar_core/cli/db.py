"""`crowbar db`: the database's schema, and the tables that an uninstalled barclamp left behind."""

from __future__ import annotations

import click

from crowbar_core import plugins
from crowbar_core.cli import output as out
from crowbar_core.cli.confirm import ask_name, yes_option
from crowbar_core.cli.context import output
from crowbar_core.cli.errors import FAILED
from crowbar_core.cli.local import opened, settings_options
from crowbar_core.errors import BarclampError, Refused
from crowbar_core.services.build import open_store
from crowbar_core.services.people import users
from crowbar_core.services.watch.processes import processes
from crowbar_core.settings import Settings
from crowbar_core.store import events, migrate, quarantine
from crowbar_core.store import runs as store_runs

RESTORED = 1_000_000
"""How many runs may have been made since the backup."""


@click.group("db", no_args_is_help=True)
def db() -> None:
    """The database: these work on it directly, without a server."""


@db.command("upgrade")
@settings_options
def upgrade(settings: Settings) -> None:
    """Make the database, or bring its schema up to date. Running it again does nothing.

    The first time it makes the user admin and prints the password, which is not shown again.
    """
    with opened(settings) as parts:  # which upgrades, as every process does when it starts
        password = users.ensure_admin(parts)
        states = migrate.check(parts.store, parts.registry.schemas())
        given_up = dict(parts.registry.given_up)
    schemas = {state.name: state.current for state in states}
    if output() != "table":
        out.data({"schemas": schemas, "admin_password": password}, output())
    else:
        rows = [{"name": name, "version": version} for name, version in schemas.items()]
        out.rows(rows, ("name", "version"), "table")
        if password is not None:
            out.say(f"The user admin was made, with the password {password} (it is not shown again).")
    for error in given_up.values():
        raise BarclampError(f"{error} Without it (disabled_barclamps) everything is up to date.")


@db.command("check")
@settings_options
def check(settings: Settings) -> None:
    """Say whether the schema is up to date; exit 1 if it is not. Changes nothing."""
    registry = plugins.load(settings)
    store = open_store(settings)
    try:
        states = migrate.check(store, registry.schemas())
    finally:
        store.close()
        registry.close()
    rows = [
        {"name": state.name, "version": state.current, "newest": state.head, "up_to_date": state.up_to_date}
        for state in states
    ]
    out.rows(rows, ("name", "version", "newest", "up_to_date"), output())
    if not all(state.up_to_date for state in states):
        out.say("The schema is behind: `crowbar db upgrade` brings it up to date.")
        raise click.exceptions.Exit(FAILED)


@db.command("restored")
@settings_options
def restored(settings: Settings) -> None:
    """Say that the database was put back from a backup, before anything is started on it.

    Nodes remember the newest run that they have seen, and refuse older ones. So the numbers of runs go on far beyond
    all that were given since the backup was made. Refused while Crowbar is at work on the database.
    """
    with opened(settings) as parts, parts.store.write() as session:
        alive = [one.seen for one in processes(session, parts.store) if one.alive]
        if alive:
            names = ", ".join(f"{'+'.join(one.kinds)} (process {one.pid} on {one.host})" for one in alive)
            raise Refused(
                f"Crowbar is at work on this database: {names}; stop it and say this again, "
                "half a minute later if it died."
            )
        number = store_runs.skip_numbers(session, parts.store, RESTORED)
    out.say(f"The next run will have the number {number}.")


@db.command("purge")
@click.argument("barclamp")
@yes_option
@settings_options
def purge(settings: Settings, barclamp: str, yes: bool) -> None:
    """Remove all that a BARCLAMP keeps in the database: its own tables, for good, and what its hooks failed in."""
    if not yes:
        out.say(f"The tables of barclamp {barclamp} go with all that is in them.")
        ask_name(barclamp, f"purge barclamp {barclamp}")
    store = open_store(settings)
    try:
        gone, hooks = migrate.purge(store, barclamp), 0
        if barclamp != migrate.CORE:
            with store.write() as session:
                hooks = events.forget_plugin(session, barclamp)
                quarantine.lift(session, [barclamp])
    finally:
        store.close()
    out.say(f"Removed: {', '.join(gone)}.")
    if hooks:
        out.say(f"{hooks} hooks of it that had failed, or waited to be called, are dismissed.")
