"""Names for ``./dev bench dns-dhcp``: 10,000 hosts into a real BIND, one change among them, and from a change to the
answer.

The hosts have an address of each family, so that four records are theirs, in three zones. The bare server is given the
same records by ``nsupdate``, a hundred in a message. One change is a node that is renamed; what `dns-database` needs
for it is measured at 10,000 and at 100 by turns, with the statements and the messages that it takes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crowbar_dns
import crowbar_jig_script
import crowbar_network
import dns.message
import dns.query
import dns.rcode
from crowbar_dns import database, entries, services
from crowbar_dns import tables as dns_tables
from crowbar_dns.testing import REVERSE
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside
from sqlalchemy import delete, select

from benchmarks.sides.answers import Change, answers, follow, whole
from benchmarks.sides.beds import Counted, rename, with_nodes
from crowbar_core.client import Client
from crowbar_core.services.build import spare_the_collector
from crowbar_core.testing import PostgresServer, Testbed

MANY, FEW, SINGLES, ROUNDS, ANSWERS = 10_000, 100, 30, 3, 8
ADDRESS, ZONE = "10.77.0.1", "bench.test"
_PORT = iter(range(5300, 5400))
_SERVERS = Path(__file__).parents[2] / "plugins/crowbar-dns/tests/servers.py"


def _servers() -> Any:
    """The real servers that the tests of crowbar-dns start."""
    spec = importlib.util.spec_from_file_location("dns_servers", _SERVERS)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@contextlib.contextmanager
def _bind(lab: Lab, place: Path, port: int = 0) -> Iterator[Any]:
    """A BIND with empty zones."""
    at = port or next(_PORT)
    running = _servers().KINDS["bind"](lab, place / f"bind-{at}", ADDRESS, (ZONE, *REVERSE), at)
    inside(lab, running.start)
    try:
        yield running
    finally:
        running.stop()


# ---------------------------------------------------------------- many at once


def _raw(place: Path, running: Any, records: dict[str, list[str]]) -> float:
    """Seconds for these lines (zone -> lines) by nsupdate, a hundred in a message."""
    lines = [f"server {ADDRESS} {running.port}"]
    for zone, several in records.items():
        lines.append(f"zone {zone}")
        for first in range(0, len(several), 100):
            lines += [*several[first : first + 100], "send"]
    path = place / "nsupdate"
    path.write_text("\n".join(lines) + "\n")
    key = f"hmac-sha256:crowbar:{running.server.key}"
    began = time.perf_counter()
    subprocess.run(["nsupdate", "-v", "-y", key, str(path)], check=True, timeout=600)
    return time.perf_counter() - began


def _lines(bed: Testbed) -> dict[str, list[str]]:
    """What the cluster is called, as nsupdate has it."""
    found: dict[str, list[str]] = {zone: [] for zone in (ZONE, *REVERSE)}
    with bed.read() as session:
        for one in session.execute(select(dns_tables.entries)).all():
            value = f"{one.value}." if one.type == "PTR" else one.value
            zone = next(zone for zone in found if one.name.endswith(zone))
            found[zone].append(f"update add {one.name}. {one.ttl} {one.type} {value}")
    return found


def _cluster(bed: Testbed, count: int) -> list[int]:
    """So many nodes, each with an address of each family, and a server that is still to be registered."""
    ranges = [{"name": "host", "first": "10.9.0.1/16", "last": "10.9.63.254/16"}]
    nodes = with_nodes(bed, count, zone=ZONE, network={"ranges": ranges, "v6prefix": "fd00:9::/64"})
    bed.bind("dns-service")
    return nodes


def _tell_of(bed: Testbed, running: Any) -> None:
    """The one server is this; nothing is known of what it has."""
    with bed.serving() as here, here.change() as change:
        [bound] = [one for one in here.node_roles() if one.role == "dns-service"]
        services.forget(change, bound.id)
        services.register(
            change, bound.id, name="bench", driver="rfc2136", addresses=[ADDRESS], port=running.port,
            zones=sorted((ZONE, *REVERSE)), shared=[], resolves=False, secret=running.server.key,
            options={"key_name": "crowbar", "algorithm": "hmac-sha256"},
        )  # fmt: skip


def _tell(bed: Testbed) -> float:
    said: list[str] = []
    began = time.perf_counter()
    with bed.serving():
        problems = database.tell(said.append)
    took = time.perf_counter() - began
    assert problems == [], (problems, said)
    return took


def _all(bed: Testbed, nodes: list[int], running: Any) -> float:
    """Seconds from nothing known of any name to all of them in the server."""
    with bed.serving() as here, here.change() as change:
        change.session.execute(delete(dns_tables.entries))
        entries.note(change, nodes)
    _tell_of(bed, running)
    return _tell(bed)


# ---------------------------------------------------------------- one among them


def _rename(bed: Testbed, number: int, name: str, new: str) -> tuple[float, int, int]:
    """Seconds, statements and messages of dns-database for a node that is called otherwise."""
    rename(bed, name, new)
    with bed.serving() as here, here.change() as change:
        entries.note(change, [number])
    with Counted(bed, dns.query, "send_tcp") as counted:
        took = _tell(bed)
    return took, counted.statements, counted.messages


def _singles(beds: dict[str, tuple[Testbed, list[int]]], singles: int) -> dict[str, Any]:
    found: dict[str, list[tuple[float, int, int]]] = {name: [] for name in beds}
    for at in range(singles):
        for name, (bed, nodes) in beds.items():
            old = f"n00007.{ZONE}" if at == 0 else f"r{at - 1}.{ZONE}"
            found[name].append(_rename(bed, nodes[7], old, f"r{at}.{ZONE}"))
    middle = {name: [statistics.median(each) for each in zip(*several, strict=True)] for name, several in found.items()}
    for name, (seconds, statements, messages) in middle.items():
        print(f"one renamed among {name}: {seconds * 1e3:.1f} ms, {statements:.0f} statements, {messages:.0f} messages")
    (many, few) = middle.values()
    return {
        "dns one among many / few": round(many[0] / few[0], 2), "dns one ms": round(many[0] * 1e3, 1),
        "dns one statements": [int(many[1]), int(few[1])], "dns one messages": [int(many[2]), int(few[2])],
    }  # fmt: skip


def _one_database(lab: Lab, place: Path, name: str, urls: tuple[str | None, str | None], quick: bool) -> dict[str, Any]:
    count, rounds = (1000, 1) if quick else (MANY, ROUNDS)
    barclamps = (crowbar_jig_script, crowbar_network, crowbar_dns)
    with (
        Testbed(*barclamps, database_url=urls[0]) as large,
        Testbed(*barclamps, database_url=urls[1]) as small,
        _bind(lab, place) as for_small,
    ):
        nodes, few = _cluster(large, count), _cluster(small, FEW)
        _all(small, few, for_small)
        spare_the_collector()  # as crowbar serve does
        raw, ours = [], []
        for number in range(rounds):
            with _bind(lab, place) as running:
                ours.append(_all(large, nodes, running))
                if number == rounds - 1:
                    singles = _singles({str(count): (large, nodes), str(FEW): (small, few)}, SINGLES)
            with _bind(lab, place) as running:
                raw.append(_raw(place, running, _lines(large)))
            print(f"{name} {count} hosts: raw {raw[-1]:.2f} s, by dns-database {ours[-1]:.2f} s", flush=True)
    found = {"dns many / raw": round(statistics.median(ours) / statistics.median(raw), 2), **singles}
    return {f"{name} {what}": value for what, value in found.items()}


# ---------------------------------------------------------------- from a change to the answer


def _answer(name: str, kind: str, port: int) -> list[str]:
    answer = dns.query.udp(dns.message.make_query(name, kind), ADDRESS, port=port, timeout=2)
    return sorted(str(one).rstrip(".") for rrset in answer.answer for one in rrset)


def _until(port: int, name: str, kind: str, wanted: list[str]) -> float:
    began = time.perf_counter()
    while (said := _answer(name, kind, port)) != wanted:
        assert time.perf_counter() - began < 60, (name, kind, said, wanted)
        time.sleep(0.002)
    return time.perf_counter() - began


def _whole(lab: Lab, place: Path, api: Client, quick: bool) -> dict[str, Any]:
    ranges = [{"name": "host", "first": "10.9.0.1/16", "last": "10.9.63.254/16"}]
    body = {"name": "admin", "category": "admin", "ranges": ranges, "v6prefix": "fd00:9::/64"}
    api.post("networks", body=body)
    with _bind(lab, place) as running:
        said = {"addresses": [ADDRESS], "port": running.port, "zones": [ZONE, *REVERSE], "key-name": "crowbar",
                "key": running.server.key}  # fmt: skip
        follow(api, "dns", said)

        def until(_: int, change: Change) -> float:
            wanted = [change.four] if change.four else []
            return inside(lab, lambda: _until(running.port, change.name, "A", wanted))

        return answers(api, "dns", 2 if quick else ANSWERS, zone=ZONE, until=until)


def measure(quick: bool) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as made,
        Lab.create(f"bdns-{os.getpid()}", nodes=0, state_dir=Path(made) / "labs", owner=os.getpid()) as lab,
        PostgresServer(durable=True) as postgres,
    ):
        place = Path(made)
        with whole(lab, place) as api:
            results = _whole(lab, place, api, quick)
        for name in ("sqlite", "postgresql"):
            urls = (None, None) if name == "sqlite" else (postgres.create_database(), postgres.create_database())
            results |= inside(lab, lambda: _one_database(lab, place, name, urls, quick), timeout=3600)  # noqa: B023
        return results
