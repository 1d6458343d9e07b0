"""From a change to the answer, for ``./dev bench dns-dhcp``: a whole server (`crowbar serve`, SQLite) is asked over
REST to make, rename, re-address and delete nodes, and a server that follows it until it says so.
"""

from __future__ import annotations

import contextlib
import ipaddress
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crowbar_lab import server
from crowbar_lab.lab import Lab

from crowbar_core.client import Client, Target

SYSTEM = "system-phantom.internal.local"


@dataclass(frozen=True, kw_only=True)
class Change:
    """``what`` is created, renamed, re-addressed or deleted; ``name``: what the node is called now; ``four``: its
    address of IPv4, '' when it has none any more."""

    what: str
    name: str
    four: str


@contextlib.contextmanager
def whole(lab: Lab, place: Path) -> Iterator[Client]:
    """A whole server in the lab, asked as its administrator."""
    home = place / "server"
    home.mkdir()
    password = server.admin_password(server.begin_database(home))
    process, url = server.start(lab, home)
    try:
        with contextlib.closing(Client(Target(url=url, user="admin", password=password, direct=True))) as api:
            server.wait_ready(process, api, home)
            yield api
    finally:
        server.end(process)


def follow(api: Client, kind: str, said: Mapping[str, Any]) -> None:
    """Bind the roles of dns or dhcp (``kind``) for a server of one's own, of which this is ``said``; return when it is
    followed."""
    bound = api.post("node_roles", body={"node_id": SYSTEM, "role_id": f"{kind}-service"})
    for name, value in said.items():
        api.put("node_roles", bound["id"], "attribs", f"{kind}-service-{name}", body={"value": value})
    api.post("node_roles", body={"node_id": SYSTEM, "role_id": f"{kind}-database"})
    api.put("deployments", "system", "commit")
    while not _active(api, kind):
        time.sleep(0.1)


def _active(api: Client, kind: str) -> bool:
    [row] = list(api.rows("node_roles", query={"role": f"{kind}-database"}))
    return bool(row["state_name"] == "ACTIVE")


def _changes(api: Client, number: int, zone: str, more: Mapping[str, Any]) -> Iterator[Change]:
    old, new = f"a{number}.{zone}", f"b{number}.{zone}"
    api.post("nodes", body={"name": old, **more})
    api.post("networks", "admin", "allocate_ip", body={"node_id": old})
    [four] = [one["ip"] for one in api.rows("nodes", old, "network_allocations") if ":" not in one["ip"]]
    yield Change(what="created", name=old, four=four)
    api.patch("nodes", old, body={"name": new})
    yield Change(what="renamed", name=new, four=four)
    [held] = [one for one in api.rows("nodes", new, "network_allocations") if one["ip"] == four]
    api.delete("network_allocations", held["id"])
    other = str(ipaddress.ip_address(four) + 1000)
    api.post("networks", "admin", "allocate_ip", body={"node_id": new, "suggestion": other})
    yield Change(what="re-addressed", name=new, four=other)
    api.delete("nodes", new)
    yield Change(what="deleted", name=new, four="")


def answers(
    api: Client, kind: str, rounds: int, *, zone: str, until: Callable[[int, Change], float],
    more: Callable[[int], Mapping[str, Any]] = lambda _: {},
) -> dict[str, Any]:  # fmt: skip
    """``until`` waits, from the answer of the API, until the server says so of that round's node, and returns the
    seconds; ``more`` is what a round's node has besides its name."""
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        for change in _changes(api, number, zone, more(number)):
            seconds = until(number, change)
            found.setdefault(change.what, []).append(seconds)
            began = time.perf_counter()
            while not _active(api, kind):
                time.sleep(0.01)
            found.setdefault("ACTIVE again", []).append(seconds + time.perf_counter() - began)
    for what, several in found.items():
        print(f"{what}: after {statistics.median(several):.2f} s, at most {max(several):.2f} s", flush=True)
    every = [one for several in found.values() for one in several]
    return {
        f"{kind} change to answer s": round(statistics.median(every), 2), f"{kind} at most s": round(max(every), 2)
    }  # fmt: skip
