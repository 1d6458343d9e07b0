"""DHCP for ``./dev bench dns-dhcp``: 10,000 hosts into a real Kea, one change among them, from a change to the answer,
and a thousand PXE clients at once, from their DISCOVER to the boot script.

Each host has a MAC and an address of IPv4. The bare Kea is given the same by one ``config-set``, its hosts database by
one INSERT. Measured on our side is all from what is known of networks and nodes until the server has confirmed it.

One change is a node that is renamed in a whole core; what `dhcp-database` needs for it is measured at 10,000 and at 100
by turns, with the statements (of the core's database) and the messages to Kea that it takes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import itertools
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import crowbar_dhcp
import crowbar_jig_script
import crowbar_network
import psycopg2.extras
from crowbar_dhcp import database, kea, marks, services
from crowbar_dhcp.drivers.kea import Kea
from crowbar_dhcp.roles import ROLES
from crowbar_dhcp.serving import Boot, Machine, Net, Options, Serving, serving_of
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from benchmarks.boot import CROWBAR, surroundings
from benchmarks.queue import percentile
from benchmarks.sides.answers import Change, answers, follow, whole
from benchmarks.sides.beds import Counted, rename, with_nodes
from crowbar_core.client import Client
from crowbar_core.testing import PostgresServer, Testbed
from tests.services import wait_until

MANY, FEW, ROUNDS, SINGLES, ANSWERS, CLIENTS = 10_000, 100, 3, 9, 5, 1000
NETS = [Net(id=1, network="admin", subnet="10.77.0.0/16", ranges={"dhcp": ("10.77.4.0", "10.77.4.255")})]
SERVER, BOOT = "10.77.0.1", 8091
[ROOM] = [one.default for role in ROLES for one in role.attributes if one.name == "dhcp-receive-buffer"]
_CLIENTS = Path(__file__).with_name("dhcp_clients.py").read_text(encoding="utf-8")


def _kea() -> Any:
    """The real Kea that the tests of crowbar-dhcp start."""
    path = Path(__file__).parents[2] / "plugins/crowbar-dhcp/tests/servers.py"
    spec = importlib.util.spec_from_file_location("dhcp_servers", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def _machines(count: int) -> list[Machine]:
    first = ipaddress.IPv4Address("10.77.16.0")
    return [
        Machine(id=at + 1, name=f"n{at}.bench.test", macs=(f"52:54:00:0a:{at >> 8:02x}:{at & 255:02x}",),
                addresses=(str(first + at),)) for at in range(count)
    ]  # fmt: skip


def _took(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _bring(driver: Kea, machines: Sequence[Machine]) -> float:
    return _took(lambda: driver.bring(serving_of(NETS, machines, Options())))


def _raw_config(one: Any, serving: Serving) -> float:
    driver: Kea = one.driver
    there = driver._do("config-get", 4)["arguments"]
    there.pop("hash", None)
    new = {"Dhcp4": kea.merged(there["Dhcp4"], kea.parts(serving, 4), 4)}
    return _took(lambda: driver._do("config-set", 4, new))


def _raw_rows(one: Any, serving: Serving) -> float:
    rows = [
        (bytes.fromhex(each.mac.replace(":", "")), each.hostname, int(ipaddress.ip_address(each.addresses[0])))
        for each in serving.reservations
    ]

    def load() -> None:
        with contextlib.closing(psycopg2.connect(one.database)) as there, there, there.cursor() as cursor:
            psycopg2.extras.execute_values(
                cursor, "INSERT INTO hosts (dhcp_identifier, dhcp_identifier_type, dhcp4_subnet_id, hostname, "
                "ipv4_address) VALUES %s", rows, template="(%s, 0, 1, %s, %s)", page_size=len(rows),
            )  # fmt: skip

    return _took(load)


def _many(lab: Lab, place: Path, name: str, postgres: PostgresServer | None, quick: bool) -> dict[str, Any]:
    count, rounds = (1000, 1) if quick else (MANY, ROUNDS)
    machines = _machines(count)
    serving = serving_of(NETS, machines, Options())
    raw, ours = [], []
    for number in range(rounds):
        with _kea().KeaHere(lab, place / f"{name}-raw-{number}", postgres) as bare:
            raw.append(inside(lab, partial(_raw_rows if postgres else _raw_config, bare, serving)))
        with _kea().KeaHere(lab, place / f"{name}-{number}", postgres) as told:
            ours.append(inside(lab, partial(_bring, told.driver, machines)))
            print(f"{name}, {count} hosts: raw {raw[-1]:.2f} s, by the driver {ours[-1]:.2f} s", flush=True)
    return {f"dhcp {name} many / raw": round(statistics.median(ours) / statistics.median(raw), 2)}


# ---------------------------------------------------------------- one among them


def _cluster(bed: Testbed, count: int) -> int:
    """So many nodes with a MAC and an address each, and a server that is still to be registered; the id of one."""
    ranges = [{"name": "host", "first": "10.77.16.1/16", "last": "10.77.63.254/16"},
              {"name": "dhcp", "first": "10.77.4.0/16", "last": "10.77.4.255/16"}]  # fmt: skip
    nodes = with_nodes(
        bed, count, zone="bench.test", network={"ranges": ranges, "v6prefix": "fd00:77::/64"},
        more=lambda at: {"hint": {"hint-admin-macs": [f"52:54:00:0a:{at >> 8:02x}:{at & 255:02x}"]}},
    )  # fmt: skip
    bed.bind("dhcp-service")
    return nodes[7]


def _tell(bed: Testbed) -> float:
    said: list[str] = []
    began = time.perf_counter()
    with bed.serving():
        database.tell({}, said.append)
    took = time.perf_counter() - began
    with bed.read() as session:
        assert [one.problem for one in services.all_services(session)] == [""], said
    return took


def _renamed(bed: Testbed, number: int, old: str, new: str) -> tuple[float, int, int]:
    """Seconds, statements and messages of dhcp-database for a node that is called otherwise."""
    rename(bed, f"{old}.bench.test", f"{new}.bench.test")
    with bed.serving() as here, here.change() as change:
        marks.note(change, [number])
    with Counted(bed, Kea, "_do") as counted:
        took = _tell(bed)
    return took, counted.statements, counted.messages


def _one(
    lab: Lab, place: Path, name: str, postgres: PostgresServer | None, beds: dict[str, tuple[Testbed, int]], quick: bool
) -> dict[str, Any]:  # fmt: skip
    """The clusters take turns, each with a Kea of its own."""
    rounds, singles = (1, 3) if quick else (ROUNDS, SINGLES)
    found: dict[str, list[tuple[float, int, int]]] = {among: [] for among in beds}
    for at in range(rounds):
        for among, (bed, number) in beds.items():
            with _kea().KeaHere(lab, place / f"{name}-{among}-{at}", postgres) as one:
                server = one.driver._server
                with bed.change() as change:
                    [bound] = bed.node_roles(role="dhcp-service")
                    services.register(
                        change, bound.id, name="bench", driver="kea", url=server.url, secret=server.password,
                        database=server.database,
                        options={"user": server.user, "interfaces": [list(each) for each in server.interfaces]},
                    )  # fmt: skip
                inside(lab, partial(_tell, bed), timeout=600)
                names = [_called(bed, number), *(f"{name.partition(' ')[0]}-{at}-{turn}" for turn in range(singles))]
                for old, new in itertools.pairwise(names):
                    found[among].append(inside(lab, partial(_renamed, bed, number, old, new), timeout=600))
    middle = {
        among: [statistics.median(each) for each in zip(*several, strict=True)] for among, several in found.items()
    }
    for among, (seconds, statements, messages) in middle.items():
        print(f"{name}, one renamed among {among}: {seconds * 1e3:.0f} ms, {statements:.0f} statements, {messages:.0f} "
              "messages", flush=True)  # fmt: skip
    many, few = middle.values()
    return {
        f"dhcp {name} one among many / few": round(many[0] / few[0], 2), f"dhcp {name} one ms": round(many[0] * 1e3),
        f"dhcp {name} one statements": [int(many[1]), int(few[1])],
        f"dhcp {name} one messages": [int(many[2]), int(few[2])],
    }  # fmt: skip


def _called(bed: Testbed, number: int) -> str:
    with bed.serving() as here:
        [one] = here.nodes([number])
    return one.name.partition(".")[0]


def _ones(lab: Lab, place: Path, postgres: PostgresServer, quick: bool) -> dict[str, Any]:
    count = 1000 if quick else MANY
    barclamps = (crowbar_jig_script, crowbar_network, crowbar_dhcp)
    results: dict[str, Any] = {}
    for core in ("sqlite", "postgresql"):
        urls = ["", ""] if core == "sqlite" else [postgres.create_database(), postgres.create_database()]
        with Testbed(*barclamps, database_url=urls[0]) as large, Testbed(*barclamps, database_url=urls[1]) as small:
            beds = {str(count): (large, _cluster(large, count)), str(FEW): (small, _cluster(small, FEW))}
            for kind, its in (("hosts database", postgres), ("configuration", None)):
                results |= _one(lab, place, f"{kind} ({core})", its, beds, quick)
    return results


@contextlib.contextmanager
def _scripts(lab: Lab, place: Path) -> Iterator[str]:
    """The boot service inside the lab, as `crowbar serve` starts it; the URL of its first script."""
    home = place / "boot"
    home.mkdir(parents=True)
    environment = surroundings(home, f"{SERVER}:{BOOT}", lab.environment)
    subprocess.run([*CROWBAR, "db", "upgrade"], env=environment, capture_output=True, timeout=120, check=True)
    with (home / "log").open("wb") as log:
        running = lab.popen([*CROWBAR, "service", "provisioner-boot"], env=environment, stdout=log, stderr=log)
        try:
            inside(lab, lambda: wait_until(_hears, seconds=60, what="the boot service"), timeout=90)
            yield f"http://{SERVER}:{BOOT}/boot.ipxe"
        finally:
            running.terminate()
            running.wait(30)


def _hears() -> bool:
    with contextlib.suppress(OSError), socket.create_connection((SERVER, BOOT), 1):
        return True
    return False


def _storm(lab: Lab, place: Path, name: str, postgres: PostgresServer | None, url: str) -> dict[str, Any]:
    """A thousand clients that have reservations, at once, over IPv4 and then over IPv6: their addresses, and over IPv4
    the script that they are told. Kea's sockets have the room that `dhcp-server` has its kernel give them.
    """
    boot = Boot(by="provisioner", dhcp4={"ipxe": url})
    machines = [
        replace(one, boot=boot, addresses=(*one.addresses, f"fd00:77::1:{at:x}"))
        for at, one in enumerate(_machines(CLIENTS))
    ]
    nets = [
        *NETS,
        Net(id=2, network="admin", subnet="fd00:77::/64", ranges={"dhcp": ("fd00:77::2:0", "fd00:77::2:ff")}),
    ]
    results: dict[str, Any] = {}
    with _kea().KeaHere(lab, place / f"storm-{name}", postgres) as one:
        inside(lab, lambda: one.driver.bring(serving_of(nets, machines, Options())))
        one.make_room(ROOM)
        for family, what in ((4, "storm"), (6, "storm6")):
            words = lab.ssh(lab.nodes[0].name, ["python3", "-", "eth0", what, str(CLIENTS)])
            ran = lab.exec(words, input=_CLIENTS, capture_output=True, text=True, timeout=120)
            assert ran.returncode == 0, ran.stderr
            said = json.loads(ran.stdout)
            text = f"{name}, {CLIENTS} clients of IPv{family} at once: {said['lost']} lost, {said['again']} asked again"
            results |= {f"dhcp {name} v{family} clients {each}": said[each] for each in ("lost", "again")}
            for key, until in (("acked", "an address"), ("seconds", "their script")):
                if key in said:
                    late = percentile(said[key], 0.99)
                    text += f", 99 of 100 have {until} after {late:.2f} s"
                    results[f"dhcp {name} v{family} clients with {until} p99 s"] = round(late, 2)
            print(text, flush=True)
    return results


# ---------------------------------------------------------------- from a change to the answer


class _Client:
    """A machine in the lab that asks with whatever MAC."""

    def __init__(self, lab: Lab) -> None:
        script = lab.ssh(lab.nodes[0].name, ["cat >/tmp/clients.py; echo there"])
        lab.exec(script, input=_CLIENTS, text=True, check=True, capture_output=True)
        self.process = lab.popen(
            lab.ssh(lab.nodes[0].name, ["python3", "/tmp/clients.py", "eth0", "ask"]), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def offered(self, mac: str) -> dict[str, str]:
        self.process.stdin.write(f"{mac}\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        return dict(json.loads(self.process.stdout.readline()))  # type: ignore[union-attr]

    def until(self, mac: str, wanted: Callable[[dict[str, str]], bool]) -> float:
        began = time.perf_counter()
        while not wanted(said := self.offered(mac)):
            assert time.perf_counter() - began < 60, (mac, said)
            time.sleep(0.02)
        return time.perf_counter() - began


def _mac(number: int) -> str:
    return f"52:54:00:0b:00:{number:02x}"


def _says(change: Change, said: dict[str, str]) -> bool:
    """Whether what Kea offers the machine is what holds after the change."""
    if change.what == "renamed":
        return said.get("hostname") == change.name
    address = said.get("ip", "")
    return address == change.four if change.four else address.startswith("10.77.4.")


def _whole(lab: Lab, place: Path, api: Client, postgres: PostgresServer, quick: bool) -> dict[str, Any]:
    ranges = [{"name": "host", "first": "10.77.16.1/16", "last": "10.77.63.254/16"},
              {"name": "dhcp", "first": "10.77.4.0/16", "last": "10.77.4.255/16"}]  # fmt: skip
    api.post("networks", body={"name": "admin", "category": "admin", "ranges": ranges})
    with _kea().KeaHere(lab, place / "whole", postgres) as one:
        follow(api, "dhcp", {"url": one.driver._server.url, "user": "crowbar", "password": "secret",
                             "database": one.database})  # fmt: skip
        client = _Client(lab)
        try:
            return answers(
                api, "dhcp", 2 if quick else ANSWERS, zone="bench.test",
                until=lambda number, change: client.until(_mac(number), partial(_says, change)),
                more=lambda number: {"hint": {"hint-admin-macs": [_mac(number)]}},
            )  # fmt: skip
        finally:
            client.process.kill()
            client.process.wait()


def measure(quick: bool) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as made,
        Lab.create(f"bdhcp-{os.getpid()}", nodes=1, state_dir=Path(made) / "labs", owner=os.getpid()) as lab,
        PostgresServer(durable=True) as postgres,
    ):
        place = Path(made)
        with whole(lab, place) as api:
            results = _whole(lab, place, api, postgres, quick)
        for name, its in (("configuration", None), ("hosts database", postgres)):
            with _scripts(lab, place / name) as url:
                results |= _storm(lab, place, name, its, url)
            results |= _many(lab, place, name, its, quick)
        return results | _ones(lab, place, postgres, quick)
