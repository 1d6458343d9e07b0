"""`crowbar networks check`, `wires` and `accept-wires`."""

from __future__ import annotations

import time
from typing import Any

import click

from crowbar_core import TemporaryError
from crowbar_core.client import Client
from crowbar_core.commands import Noun, connect, output, ref, rows, say

_PAUSE = 0.3


def add_to(networks: Noun) -> None:
    networks.verb(
        "check", help="Find wrong cables and ports of networks (of all). Exits 1 for any, and for nodes not checked."
    )(check)
    networks.verb("wires", help="What each network card is plugged into, as switches announce it.")(wires)
    networks.verb("accept-wires", help="Where cards are plugged in now is right: checks compare with it.")(accept)


@click.argument("names", nargs=-1, metavar="[NETWORK]...")
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=300.0, show_default=True, metavar="SECONDS",
    help="Give up waiting after so long.",
)  # fmt: skip
def check(names: tuple[str, ...], timeout: float) -> None:
    client = connect()
    made = client.post("network_checks", body={"networks": [ref(one) for one in names]})
    found = _ended(client, made["id"], timeout)
    shown = [{"what": one["kind"], **one} for one in found["findings"]]
    shown += [{"what": "not checked", "node": one["node"], "said": one["why"]} for one in found["unheard"]]
    rows(shown, ("what", "node", "nic", "switch", "port", "said"), output())
    if found["state"] == "done":
        told = f"{found['nodes']} node{'' if found['nodes'] == 1 else 's'} told of cards"
        say(f"{told}, pings: {found['pings']}, faults found: {len(found['findings'])}.")
    if shown or found["state"] != "done":
        raise click.exceptions.Exit(1)


def _ended(client: Client, key: int, timeout: float) -> Any:
    deadline = time.monotonic() + timeout
    while (found := client.get("network_checks", key))["state"] in ("waiting", "running"):
        if time.monotonic() > deadline:
            why = "nobody has begun it (does the annealer run?)" if found["state"] == "waiting" else "it goes on"
            raise TemporaryError(f"Check {key} has not ended within {timeout:g} s: {why}; /network-wires will have it.")
        time.sleep(_PAUSE)
    return found


@click.option("--node", metavar="NODE", help="Only of this node.")
def wires(node: str | None) -> None:
    found = connect().get("network_wires", query={"node": node})
    columns = ("node", "nic", "mac", "carrier", "speed", "mtu", "switch", "port", "vlan", "tagged")
    rows(found, columns, output())


@click.argument("nodes", nargs=-1, metavar="[NODE]...")
def accept(nodes: tuple[str, ...]) -> None:
    made = connect().post("network_wires", "accept", body={"nodes": [ref(one) for one in nodes]})
    say(f"Wires accepted, of nodes: {made['nodes']}.")
