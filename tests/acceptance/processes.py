"""Crowbar as an operator starts it: real processes, asked over HTTP, killed in the middle, and what they leave."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from crowbar_lab.lab import Lab

from crowbar_core.testing import wait_until
from tests.outside import installed_barclamps, python_path

BARCLAMP = Path(__file__).parent / "barclamp"
START_SECONDS = 120.0
QUICK = {
    "LEASE_SECONDS": "3",
    "HEARTBEAT_SECONDS": "0.5",
    "CANCEL_POLL_SECONDS": "0.2",
    "LEADER_SECONDS": "3",
    "SWEEP_SECONDS": "0.5",
    "RING_SECONDS": "2",
    "PROBE_SECONDS": "0",
    "KILL_GRACE": "1",
    "HOOK_SECONDS": "1",
    "HTTP_THREADS": "8",
}
"""Patience in tenths of what it is by default, so that what heals by time heals within a test."""


@dataclass
class Process:
    """One `crowbar ...`, the leader of a process group of its own."""

    name: str
    popen: subprocess.Popen[bytes]
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def find(self, pattern: str, seconds: float = START_SECONDS) -> str:
        """The first group of the first match in what it said; fails when the process ends before."""

        def look() -> re.Match[str] | None:
            hit = re.search(pattern, self.log)
            if hit is None and self.popen.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.popen.returncode}:\n{self.log}")
            return hit

        try:
            found = wait_until(look, seconds=seconds, what=f"{pattern!r} from {self.name}")
        except Exception as error:
            raise AssertionError(f"{error}\n{self.log}") from error
        assert found is not None
        return found.group(found.lastindex or 0)

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        """kill -9 of all its processes at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(60)

    def children(self) -> list[int]:
        listed = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def terminate(self, seconds: float = 90.0) -> tuple[int, float]:
        """SIGTERM; the exit code and how long it took."""
        began = time.monotonic()
        self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(seconds), time.monotonic() - began
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {seconds:g} s of SIGTERM:\n{self.log}") from None


@dataclass
class Site:
    """One installation: its settings, its processes, the room in which the barclamp leaves its evidence."""

    home: Path
    settings: dict[str, str] = field(default_factory=dict)
    lab: Lab | None = None
    processes: list[Process] = field(default_factory=list)
    url: str = ""
    password: str = ""

    def __post_init__(self) -> None:
        for part in ("room/locks", "room/open", "site"):
            (self.home / part).mkdir(parents=True)
        info = self.home / "site" / "crowbar_faults-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crowbar-faults\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[crowbar.barclamps]\nfaults = crowbar_faults:faults\nwitness = crowbar_faults:witness\n"
            "[crowbar.jigs]\ndawdling = crowbar_faults.dawdling:DawdlingJig\n"
        )

    @property
    def room(self) -> Path:
        return self.home / "room"

    # ------------------------------------------------------------ processes

    def environment(self, **settings: object) -> dict[str, str]:
        chosen = {**QUICK, "DATA_DIR": str(self.home / "data"), "LISTEN": "127.0.0.1:0", **self.settings}
        if self.lab is None:
            # Nodes that are only names: nobody could find them alive.
            chosen["DISABLED_BARCLAMPS"] = ",".join(installed_barclamps())
        else:
            chosen |= {"JIG_SCRIPT_KEY_FILE": str(self.lab.private_key), "JIG_SCRIPT_KILL_GRACE": "1"} | self.settings
        chosen |= {name.upper(): str(value) for name, value in settings.items()}
        for name in [name for name in chosen if name.startswith("JIG_SCRIPT_")]:
            chosen[name.replace("JIG_SCRIPT_", "FAULTS_", 1)] = chosen[name]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CROWBAR_")}
        return {
            **kept,
            "HOME": str(self.home),
            "PYTHONPATH": python_path(self.home / "site", BARCLAMP),
            "PYTHONUNBUFFERED": "1",
            "FAULTS_ROOM": str(self.room),
            **{f"CROWBAR_{name}": value for name, value in chosen.items()},
        }

    def start(
        self, kind: str, *, wait: bool = True, wrapper: tuple[str, ...] = (), arguments: tuple[str, ...] = (),
        **settings: object,
    ) -> Process:  # fmt: skip
        """`crowbar KIND`; ready when it says so."""
        log_path = self.home / f"{kind}-{len(self.processes)}.log"
        command = [*wrapper, sys.executable, "-m", "crowbar_core.cli", kind, *arguments]
        if self.lab is not None:
            command = self.lab.enter(command)
        # Should the tests be killed with -9, nothing of this may stay behind.
        command = ["setpriv", "--pdeathsig=KILL", "--", *command]
        with log_path.open("wb") as log, socket.create_server(("127.0.0.1", 0)) as door:
            # Opened here: from another network namespace, the server's own loopback could not be reached.
            if self.lab is not None:
                settings["listen"] = f"fd://{door.fileno()}"
            popen = subprocess.Popen(
                command, env=self.environment(**settings), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.home, start_new_session=True, pass_fds=(door.fileno(),) if self.lab else (),
            )  # fmt: skip
        process = Process(kind, popen, log_path)
        self.processes.append(process)
        if wait:
            self.wait_ready(process)
        return process

    def wait_ready(self, process: Process) -> None:
        if process.name not in ("serve", "web"):
            process.find(r"is at work")
            return
        self.url = process.find(r"Crowbar is at (http://\S+)").rstrip("/.")
        if not self.password:
            self.password = process.find(r"with the password (\S+)", 5.0)
        self.wait(lambda: self.ready().status_code == 200, "readiness", START_SECONDS)

    def close(self) -> None:
        """Kill everything; what each process said stays in the test's directory."""
        for process in self.processes:
            process.kill()

    # ------------------------------------------------------------ the command line

    @property
    def as_admin(self) -> dict[str, str]:
        """What the environment of a command says that asks this server."""
        return {"CROWBAR_URL": self.url, "CROWBAR_USER": "admin", "CROWBAR_PASSWORD": self.password}

    def typed(self, *words: str) -> str:
        """What `crowbar WORDS` prints, as an operator types it on a wide screen."""
        line = [sys.executable, "-m", "crowbar_core.cli", *words]
        environment = {**os.environ, **self.as_admin, "COLUMNS": "200"}
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def crowbar(self, *words: str) -> Any:
        """What a script reads of it."""
        return json.loads(self.typed(*words, "--format", "json") or "null")

    # ------------------------------------------------------------ the API

    def request(
        self, method: str, path: str, body: Any = None, *, url: str = "", seconds: float = 60, **query: Any
    ) -> requests.Response:
        """Of the server that was started last, or of the one at ``url``."""
        with requests.Session() as session:
            session.trust_env = False
            # Who asks only for the health is nobody: a load balancer.
            auth = ("admin", self.password) if path.startswith("api/") else None
            return session.request(
                method, f"{url or self.url}/{path}", json=body, params=query, auth=auth, timeout=seconds
            )

    def ready(self) -> requests.Response:
        return self.request("GET", "readyz")

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        answer = self.request(method, f"api/v2/{path}", body, **query)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def all(self, path: str, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", path, limit=1000, **query)
        return found

    def build(self, nodes: int, *roles: str, deployment: str = "work") -> list[str]:
        """A proposed deployment with these roles on nodes that are alive. Returns the nodes' names."""
        self.ask("POST", "deployments", {"name": deployment})
        names = [f"n{number}.{deployment}.test" for number in range(nodes)]
        for name in names:
            self.ask("POST", "nodes", {"name": name, "alive": True, "available": True})
            for role in roles:
                self.bind(name, role, deployment)
        return names

    def bind(self, node: str, role: str, deployment: str = "work") -> int:
        bound = self.ask("POST", "node_roles", {"node_id": node, "role_id": role, "deployment_id": deployment})
        return int(bound["id"])

    def commit(self, deployment: str = "work") -> None:
        self.ask("PUT", f"deployments/{deployment}/commit")

    def node_role(self, node: str, role: str) -> dict[str, Any]:
        (found,) = [one for one in self.all(f"nodes/{node}/node_roles") if one["role"] == role]
        return found

    def runs_of(self, node: str, role: str) -> list[dict[str, Any]]:
        """In the order in which they were made."""
        found = self.all(f"node_roles/{self.node_role(node, role)['id']}/runs")
        return sorted(found, key=lambda run: int(run["id"]))

    def working(self) -> int:
        """How much is under way, whatever else is the case."""
        return int(self.request("GET", "api/v2/anneal").json()["working"])

    def run_log(self, run: int) -> list[str]:
        return [line["line"] for line in self.ask("GET", f"runs/{run}/log")]

    # ------------------------------------------------------------ waiting

    def wait(self, question: Callable[[], Any], what: str, seconds: float = 120.0) -> Any:
        """The first true answer. A server that is just down is asked again; in the end, the logs are shown."""

        def asked() -> Any:
            try:
                return question()
            except requests.ConnectionError:
                return None

        try:
            return wait_until(asked, seconds=seconds, what=what, pause=0.05)
        except Exception as error:
            raise AssertionError(f"{error}\n{self.story()}") from error

    def open(self, gate: str = "all") -> None:
        (self.room / "open" / gate).touch()

    def journal(self, word: str, node: str | None = None, role: str | None = None) -> list[list[str]]:
        path = self.room / "journal"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [
            line
            for line in lines
            if line[0] == word and (node is None or line[1] == node) and (role is None or line[2] == role)
        ]

    def wait_begun(self, role: str, node: str | None = None, times: int = 1, seconds: float = 120.0) -> None:
        self.wait(lambda: len(self.journal("begin", node, role)) >= times, f"{role} begins ({times})", seconds)

    def wait_noted(self, word: str, node: str, role: str) -> None:
        self.wait(lambda: self.journal(word, node, role), f"{word} {role} of {node}")

    def wait_active(self, seconds: float = 120.0) -> None:
        """Everything committed is ACTIVE and nothing is open."""

        def settled() -> bool:
            states = {one["state_name"] for one in self.all("node_roles")}
            return states - {"PROPOSED"} == {"ACTIVE"} and self.working() == 0

        self.wait(settled, "all is ACTIVE", seconds)

    # ------------------------------------------------------------ evidence

    def check(self, *, twice: frozenset[str] = frozenset()) -> None:
        """Never two at once on a node, and no work done again except by the roles in ``twice``."""
        violations = self.room / "violations"
        assert not violations.exists(), violations.read_text() + self.story()
        done = Counter((line[1], line[2]) for line in self.journal("end"))
        again = {key: count for key, count in done.items() if count > 1 and key[1] not in twice}
        assert not again, f"done again: {again}\n{self.story()}"

    def story(self) -> str:
        """What a person would want to see when a test has failed."""
        told = [f"--- {one.log_path.name}\n{one.log[-6000:]}" for one in self.processes]
        with contextlib.suppress(Exception):
            told.append(self.ready().text)
            told += [
                f"{one['node']} {one['role']} {one['state_name']} {one['status']}" for one in self.all("node_roles")
            ]
            said = ("id", "node", "role", "state", "attempt", "exit_reason")
            told += [f"run {' '.join(str(one[name]) for name in said)}" for one in self.all("runs")]
        journal = self.room / "journal"
        return "\n".join([*told, "--- journal", journal.read_text() if journal.exists() else "(none)"])


@contextlib.contextmanager
def installed(home: Path, *, lab: Lab | None = None, **settings: object) -> Iterator[Site]:
    """An installation that is gone afterwards, whatever happened."""
    site = Site(home, {name.upper(): str(value) for name, value in settings.items()}, lab)
    try:
        yield site
    finally:
        site.close()
