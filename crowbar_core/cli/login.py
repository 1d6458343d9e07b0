"""`crowbar login`: a token for this machine, kept in a profile that only its owner can read."""

from __future__ import annotations

import os
import socket
from dataclasses import replace

import click

from crowbar_core.cli import output as out
from crowbar_core.cli import profiles
from crowbar_core.cli.client import Client
from crowbar_core.cli.connection import ask_password
from crowbar_core.cli.context import shared, verb


@verb("login")
@click.option("--name", metavar="TEXT", help="What the token is called in `crowbar tokens list`.")
def login(name: str | None) -> None:
    """Sign in with a user's name and password and keep a token in the profile (~/.config/crowbar/config.toml)."""
    flags = dict(shared().flags)
    wanted = flags.pop("profile", None) or os.environ.get("CROWBAR_PROFILE")
    path = profiles.config_path(os.environ)
    tree = profiles.read_config(path)
    chosen = profiles.profile_name({"profile": wanted}, os.environ, tree)
    known = tree.get("profiles", {}).get(chosen, {})
    if not flags.get("url") and not os.environ.get("CROWBAR_URL") and known.get("url"):
        flags["url"] = known["url"]
    flags.pop("token", None)
    user = flags.get("user") or os.environ.get("CROWBAR_USER") or known.get("user") or click.prompt("User", err=True)
    password = flags.get("password") or os.environ.get("CROWBAR_PASSWORD")
    environ = {key: value for key, value in os.environ.items() if key not in ("CROWBAR_PROFILE", "CROWBAR_TOKEN")}
    target = profiles.resolve({**flags, "user": user, "password": password or "-"}, environ)
    target = replace(target, token="", password=password or ask_password(f"Password of {user} at {target.url}: "))
    client = Client(target)
    try:
        answer = client.post("tokens", body={"name": name or f"crowbar login on {socket.gethostname()}"})
    finally:
        client.close()
    entry = {"url": target.url, "token": str(answer["token"]), "insecure": target.verify is False}
    if isinstance(target.verify, str):
        entry["ca_file"] = target.verify
    profiles.save_profile(path, chosen, entry)
    out.say(f"Signed in at {target.url} as {user}; the token is in profile {chosen} of {path}.")
