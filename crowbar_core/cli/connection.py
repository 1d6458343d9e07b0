"""The client of this call, made from flags, environment and profile; and how a password is asked for."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping
from dataclasses import replace

import click

from crowbar_core.cli import profiles
from crowbar_core.cli.client import Client
from crowbar_core.cli.context import shared

_CLIENT = "crowbar_core.cli.connection"


def connect() -> Client:
    """The client of this call; asks for a missing password when somebody is there to type it."""
    top = click.get_current_context().find_root()
    client = top.meta.get(_CLIENT)
    if not isinstance(client, Client):
        client = top.meta[_CLIENT] = Client(target(os.environ))
        top.call_on_close(client.close)
    return client


def target(environ: Mapping[str, str]) -> profiles.Target:
    """Whom this call asks, and as whom: its options, then the environment, then a profile. Raises ``ConfigError``."""
    found = profiles.resolve(shared().flags, environ)
    if found.user and not found.password:
        found = replace(found, password=ask_password(f"Password of {found.user} at {found.url}: "))
    return found


def ask_password(prompt: str, *, repeat: bool = False) -> str:
    """Typed on the terminal, else the first line of stdin (for scripts: it appears in no list of processes)."""
    if not sys.stdin.isatty():
        typed = sys.stdin.readline().rstrip("\r\n")
        if not typed:
            raise click.UsageError("A password is needed: give it on standard input, or in CROWBAR_PASSWORD.")
        return typed
    typed = getpass.getpass(prompt)
    if repeat and getpass.getpass("Again: ") != typed:
        raise click.UsageError("The two passwords differ.")
    return typed
