"""Real DNS servers in a lab's network, on the address of its bridge: BIND, Knot and PowerDNS, each with empty zones."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import requests
from crowbar_dns.drivers import Server
from crowbar_lab.lab import Lab

KEY = "Y3Jvd2JhciB0ZWxscyBuYW1lcyB0byBzZXJ2ZXJzIQ=="
SCHEMA = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"


class Running:
    """A server: ``start`` returns when it answers; ``restart`` kills it first."""

    driver = "rfc2136"
    key = KEY
    """What it has itself."""

    def __init__(self, lab: Lab, directory: Path, address: str, zones: Sequence[str], port: int) -> None:
        self.lab, self.directory, self.address, self.zones, self.port = lab, directory, address, zones, port
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True)
        self.prepare()

    @property
    def server(self) -> Server:
        return Server(addresses=(self.address,), port=self.port, key_name="crowbar", key=self.key)

    def prepare(self) -> None:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self.process = self.lab.popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not self.answers():
            assert self.process.poll() is None, (self.directory / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=30)

    def restart(self) -> None:
        self.stop()
        self.start()

    def prepare_again(self) -> None:
        """Its configuration is written anew, and it is started with it; what it has in its zones stays."""
        self.stop()
        self.prepare()
        self.start()

    def add_zone(self, zone: str) -> None:
        """It has one more, and answers."""
        self.zones = (*self.zones, zone)
        self.prepare_again()

    def answers(self) -> bool:
        try:
            query = dns.message.make_query(self.zones[0], "SOA")
            return bool(dns.query.tcp(query, self.address, timeout=1, port=self.port).answer)
        except (OSError, EOFError, dns.exception.DNSException):
            return False

    def zone_file(self, zone: str) -> Path:
        path = self.directory / f"{zone}.zone"
        if not path.exists():
            path.write_text("$TTL 300\n@ SOA ns.invalid. root.invalid. 1 3600 600 604800 60\n@ NS ns.invalid.\n")
        return path


class Bind(Running):
    def prepare(self) -> None:
        listen = "listen-on-v6" if ":" in self.address else "listen-on"
        none = "listen-on" if ":" in self.address else "listen-on-v6"
        zones = "".join(
            f'zone "{zone}" {{ type primary; file "{self.zone_file(zone)}"; allow-update {{ key crowbar; }}; '
            "allow-transfer { key crowbar; }; };\n"
            for zone in self.zones
        )
        (self.directory / "named.conf").write_text(
            f'key crowbar {{ algorithm hmac-sha256; secret "{self.key}"; }};\ncontrols {{ }};\n'
            f'options {{ directory "{self.directory}"; pid-file none; recursion no; notify no; session-keyfile none; '
            f"{none} {{ none; }}; {listen} port {self.port} {{ {self.address}; }}; }};\n{zones}"
        )

    def command(self) -> list[str]:
        return ["named", "-g", "-n", "1", "-c", str(self.directory / "named.conf")]


class Knot(Running):
    def prepare(self) -> None:
        zones = "".join(
            f"  - domain: {zone}\n    file: {self.zone_file(zone)}\n    acl: crowbar\n    journal-content: changes\n"
            "    zonefile-sync: 0\n    zonefile-load: difference\n" for zone in self.zones
        )  # fmt: skip
        (self.directory / "knot.conf").write_text(
            f"server:\n  rundir: {self.directory}\n  listen: {self.address}@{self.port}\n"
            f"  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
            f"database:\n  storage: {self.directory}\n"
            f"key:\n  - id: crowbar\n    algorithm: hmac-sha256\n    secret: {self.key}\n"
            "acl:\n  - id: crowbar\n    key: crowbar\n    action: [transfer, update]\n"
            f"zone:\n{zones}"
        )

    def command(self) -> list[str]:
        return ["knotd", "-c", str(self.directory / "knot.conf")]


class PowerDns(Running):
    driver = "powerdns"

    @property
    def server(self) -> Server:
        return Server(addresses=(self.address,), port=self.port + 1, key=self.key)

    def prepare(self) -> None:
        place = self.directory / "pdns.sqlite3"
        if not place.exists():
            with closing(sqlite3.connect(place)) as made:
                made.executescript(Path(SCHEMA).read_text())

    def add_zone(self, zone: str) -> None:
        self.zones = (*self.zones, zone)
        assert self.answers()

    def command(self) -> list[str]:
        options = {
            "launch": "gsqlite3", "gsqlite3-database": self.directory / "pdns.sqlite3", "socket-dir": self.directory,
            "local-address": self.address, "local-port": self.port, "webserver": "yes", "api": "yes",
            "webserver-address": self.address, "webserver-port": self.port + 1, "api-key": self.key,
            "webserver-allow-from": "0.0.0.0/0,::/0",
            "daemon": "no", "guardian": "no", "disable-syslog": "yes", "config-dir": self.directory, "cache-ttl": 0,
            "query-cache-ttl": 0, "negquery-cache-ttl": 0, "zone-cache-refresh-interval": 0,
        }  # fmt: skip
        return ["pdns_server", *(f"--{name}={value}" for name, value in options.items())]

    def answers(self) -> bool:
        host = f"[{self.address}]" if ":" in self.address else self.address
        there = f"http://{host}:{self.port + 1}/api/v1/servers/localhost/zones"
        with requests.Session() as session:
            session.trust_env = False
            session.headers["X-API-Key"] = self.key
            try:
                known = {one["name"] for one in session.get(there, timeout=30).json()}
                for zone in self.zones:
                    if f"{zone}." not in known:
                        body = {"name": f"{zone}.", "kind": "Native", "nameservers": ["ns.invalid."]}
                        assert session.post(there, json=body, timeout=30).status_code == 201
            except requests.RequestException:
                return False
        return True


KINDS: dict[str, type[Running]] = {"bind": Bind, "knot": Knot, "powerdns": PowerDns}
