"""Kea in a lab's network, on its bridge, with its reservations in PostgreSQL; killed and started again at will."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

from crowbar_dhcp import kea
from crowbar_dhcp.drivers import Server
from crowbar_dhcp.drivers.kea import Kea
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside
from sqlalchemy import make_url

from crowbar_core import CrowbarError
from crowbar_core.testing import PostgresServer

PORT = 8001
ROOMS = Path(__file__).with_name("rooms.py")
SCHEMA = Path("/usr/share/kea/scripts/pgsql/dhcpdb_create.pgsql")


def database_name(url: str) -> str:
    return str(make_url(url).database)


def empty_hosts(postgres: PostgresServer) -> str:
    """The URL of a new hosts database, as Kea's scripts make it and docs/how-to/dhcp.md says."""
    url = postgres.create_database()
    name = database_name(url)
    given = ["-h", str(postgres.directory), "-p", str(postgres.port), "-U", postgres.owner, "-d", name]

    def psql(*words: str) -> None:
        env = {"PGPASSWORD": postgres.password, "PATH": "/usr/bin:/bin"}
        subprocess.run(
            ["psql", "-q", "-v", "ON_ERROR_STOP=1", *given, *words], check=True, capture_output=True, env=env
        )

    psql("-f", str(SCHEMA))
    psql("-c", f'ALTER DATABASE "{name}" SET plan_cache_mode = force_generic_plan')
    return url.replace("postgresql+psycopg2:", "postgresql:")


class KeaHere:
    """Kea for both families, with its control agent: ``with KeaHere(lab, directory, postgres) as one: ...``."""

    def __init__(self, lab: Lab, directory: Path, postgres: PostgresServer | None = None) -> None:
        self.lab, self.directory, self.postgres = lab, directory, postgres
        self.running: list[subprocess.Popen[bytes]] = []
        self.database = empty_hosts(postgres) if postgres else ""
        directory.mkdir(parents=True, exist_ok=True)
        for family in (4, 6):
            self._put(f"kea{family}.json", self._configuration(family))
        agent = kea.agent("127.0.0.1", PORT, "secret")["Control-agent"]
        agent["control-sockets"] = {
            f"dhcp{one}": {"socket-type": "unix", "socket-name": self._socket(one)} for one in (4, 6)
        }
        agent["loggers"][0]["output_options"] = [{"output": str(directory / "agent.log")}]
        self._put("agent.json", {"Control-agent": agent})

    def _put(self, name: str, said: Any) -> None:
        (self.directory / name).write_text(json.dumps(said))

    def _socket(self, family: int) -> str:
        return str(self.directory / f"{family}.sock")

    def _configuration(self, family: int) -> dict[str, Any]:
        said = kea.base(family, [self._bridge])[f"Dhcp{family}"]
        said["control-socket"]["socket-name"] = self._socket(family)
        said["lease-database"] = {"type": "memfile", "persist": False}
        said["hooks-libraries"] = []
        said["loggers"][0]["output_options"] = [{"output": str(self.directory / f"kea{family}.log")}]
        if self.postgres:
            said["hosts-database"] = {
                "type": "postgresql", "name": database_name(self.database), "user": self.postgres.owner,
                "password": self.postgres.password, "host": str(self.postgres.directory), "port": self.postgres.port,
                "max-reconnect-tries": 100000, "reconnect-wait-time": 50, "on-fail": "serve-retry-continue",
            }  # fmt: skip
        if family == 6:
            said["data-directory"] = str(self.directory)
        return {f"Dhcp{family}": said}

    @property
    def driver(self) -> Kea:
        return Kea(Server(url=f"http://127.0.0.1:{PORT}/", user="crowbar", password="secret", timeout=60,
                          interfaces=(self._bridge,), database=self.database))  # fmt: skip

    @cached_property
    def _bridge(self) -> tuple[str, str]:
        return self._run("ip", "-br", "link", "show", "type", "bridge").split()[0], "fd00:77::1/64"

    def start(self) -> None:
        """Returns when both families answer. Kea does not listen on addresses that are tentative."""
        assert self._soon(lambda: not self._run("ip", "-6", "-o", "addr", "show", "tentative")), "DAD does not end"
        place = str(self.directory)
        env = {**self.lab.environment, "KEA_PIDFILE_DIR": place, "KEA_LOCKFILE_DIR": place}
        for words in (["kea-dhcp4", "kea4.json"], ["kea-dhcp6", "kea6.json"], ["kea-ctrl-agent", "agent.json"]):
            with (self.directory / "out").open("ab") as out:
                self.running.append(
                    self.lab.popen(self.command(words[0], f"{place}/{words[1]}"), env=env, stdout=out, stderr=out)
                )
        assert self._soon(lambda: inside(self.lab, self._answers)), (self.directory / "out").read_text()[-3000:]

    def command(self, program: str, file: str) -> list[str]:
        return [program, "-c", file]

    def make_room(self, much: int) -> None:
        """Its sockets have room for so many bytes until it is told a configuration: as where the kernel of the machine
        says so, whose setting is the host's."""
        words = [sys.executable, str(ROOMS), str(much), *(str(one.pid) for one in self.running[:2])]
        made = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.split()
        assert set(made) == {str(much)}, made

    def _run(self, *words: str) -> str:
        return str(self.lab.exec(words, capture_output=True, text=True, check=True).stdout)

    def _soon(self, question: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + 60
        while not (done := question()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return done

    def _answers(self) -> bool:
        try:
            for family in (4, 6):
                self.driver._do("list-commands", family)
        except CrowbarError:
            return False
        return True

    def kill(self) -> None:
        for one in self.running:
            one.kill()
            one.wait(timeout=30)
        self.running = []
        for path in self.directory.glob("*.pid"):
            path.unlink()

    def restart(self) -> None:
        self.kill()
        self.start()

    def __enter__(self) -> KeaHere:
        self.start()
        return self

    def __exit__(self, *failed: Any) -> None:
        self.kill()

    def run(self, statement: str) -> list[Any]:
        """On its hosts database."""
        assert self.postgres
        with closing(self.postgres.connect(database_name(self.database))) as there, there, there.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
