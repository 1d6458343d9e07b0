"""`crowbar machines join`, join-command, release, protect."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from crowbar_core import Refused
from crowbar_core.client import connect
from crowbar_core.commands import Noun, add_action, done, output, record, say


def add_to(machines: Noun) -> None:
    machines.verb("join")(join)
    machines.verb("join-command")(join_command)
    add_action(
        machines, "machines", "release", done="is released: what is on its disks may be destroyed",
        help_="Let roles that destroy what is on its disks be bound to a machine that joined.",
    )  # fmt: skip
    add_action(machines, "machines", "protect", done="is protected", help_="Take back a machine's release.")


@click.argument("address")
@click.option("--name", metavar="NAME", help="What the node is called; without, as the machine calls itself.")
@click.option(
    "--login",
    "login",
    metavar="USER",
    default="root",
    show_default=True,
    help="Who logs in this once; root, or one who may use sudo.",
)
@click.option(
    "--key", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="That user's private key; without, Crowbar's own. It is sent to the server, used once and kept nowhere.",
)  # fmt: skip
@click.option("--ask-password", is_flag=True, help="Ask for that user's password, or read a line of standard input.")
@click.option("--host-key", metavar="KEY", help="Its host key, or the key's fingerprint; without, you are asked.")
def join(
    address: str, name: str | None, login: str, key: Path | None, ask_password: bool, host_key: str | None
) -> None:
    """Join the machine at an IP address that runs already: it is a node, neither rebooted nor reinstalled."""
    client = connect()
    body: dict[str, str] = {"address": address, "user": login}
    body |= {"name": name} if name else {}
    if key is not None:
        try:
            body["private_key"] = key.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise click.ClickException(f"{key} cannot be read as a private key.") from None
    if ask_password:
        asked = click.prompt(f"Password of {login}", hide_input=True, err=True) if sys.stdin.isatty() else None
        body["password"] = asked if asked is not None else sys.stdin.readline().rstrip("\n")
    if host_key and not host_key.startswith("SHA256:"):
        body["host_key"] = host_key
    else:
        shown = client.post("machines", "host_key", body={"address": address})
        _compare(shown["fingerprint"], host_key, address)
        body["host_key"] = shown["host_key"]
    made = client.post("machines", "join", body=body)
    done(made, f"The machine at {address} has joined, and is {made['name']}.")


def _compare(fingerprint: str, wanted: str | None, address: str) -> None:
    if wanted:
        if wanted != fingerprint:
            raise Refused(f"Nothing was done: {address} shows the host key {fingerprint}.")
        return
    say(f"{address} shows the host key {fingerprint}. On the machine, ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody is here to compare it: give --host-key with that fingerprint, if it is right.")
    if not click.confirm("Is it the same?", err=True):
        raise Refused("Nothing was done: the host key is not the machine's.")


@click.option("--name", metavar="NAME", help="What the node is called; without, as the machine calls itself.")
@click.option("--minutes", type=click.IntRange(1, 1440), default=60, show_default=True, help="For how long it counts.")
@click.option("--at", metavar="URL", help="Where the machine reaches the boot service: http://10.0.0.1:8091.")
def join_command(name: str | None, minutes: int, at: str | None) -> None:
    """Print a command that joins the machine on which it is run, once."""
    body: dict[str, object] = {"minutes": minutes, **({"name": name} if name else {}), **({"url": at} if at else {})}
    made = connect().post("machines", "join_command", body=body)
    if output() == "table":
        click.echo(made["command"])
    else:
        record(made, output())
