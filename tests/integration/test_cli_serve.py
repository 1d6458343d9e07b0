"""`crowbar serve` and its like as real processes: listening, stopping, dying, and why they cannot start."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.outside import python_path
from tests.services import free_port, wait_until

SECONDS = 120.0


class Process:
    """A `crowbar` process with its own data directory; gone after the test with all its children."""

    def __init__(self, directory: Path, *args: str, environ: dict[str, str] | None = None, **extra: Any) -> None:
        self.log = directory / f"{args[0]}.log"
        more = environ or {}
        environ = {**os.environ, "HOME": str(directory), "CROWBAR_DATA_DIR": str(directory / "data"), **more}
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "crowbar_core.cli", *args],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ, start_new_session=True, **extra,
            )  # fmt: skip

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self) -> int:
        return self.popen.wait(SECONDS)

    def worker(self) -> int:
        """The pid of gunicorn's worker."""
        children = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


class Starter:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[Process] = []
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def __call__(self, *args: str, **extra: Any) -> Process:
        made = Process(self.directory, *args, **extra)
        self.processes.append(made)
        return made

    def serve(self, *args: str) -> Process:
        made = self("serve", "--listen", f"127.0.0.1:{self.port}", *args)
        self.ready(made)
        return made

    def ready(self, process: Process) -> None:
        def answers() -> bool:
            assert process.popen.poll() is None, process.said()
            return ready(self.url)

        wait_until(answers, seconds=SECONDS, what=f"{self.url} ready")


def ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    made = Starter(tmp_path)
    yield made
    for process in made.processes:
        process.end()


def test_the_first_start_shows_the_address_and_once_the_password_of_admin(start: Starter) -> None:
    process = start.serve()
    wait_until(lambda: "Crowbar is at" in process.said(), seconds=SECONDS, what="the address")
    said = process.said()
    assert f"Crowbar is at {start.url}\n" in said
    password = said.partition("with the password ")[2].partition(" ")[0]
    answer = requests.get(f"{start.url}/api/v2/nodes", auth=("admin", password), timeout=60)
    assert answer.status_code == 200
    process.popen.terminate()
    assert process.wait() == 0
    process.log.unlink()
    again = start.serve()
    assert "password" not in again.said()


def test_sigterm_ends_all_of_it_in_good_order(start: Starter) -> None:
    process = start.serve()
    worker = process.worker()
    began = time.monotonic()
    process.popen.terminate()
    assert process.wait() == 0
    assert time.monotonic() - began < 30
    assert not alive(worker)
    database = sqlite3.connect(start.directory / "data" / "crowbar.sqlite")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    assert "Traceback" not in process.said()


def test_a_database_is_not_said_to_be_restored_while_a_server_is_at_work_on_it(start: Starter) -> None:
    server = start.serve()
    refused = start("db", "restored")
    assert refused.wait() == 1, refused.said()
    (line,) = [line for line in refused.said().splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: Crowbar is at work on this database: ")
    assert f"(process {server.worker()} on {socket.gethostname()}); stop it and say this again" in line
    server.popen.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    done = start("db", "restored")
    assert done.wait() == 0, done.said()
    assert "The next run will have the number 1000001." in done.said()


def test_ctrl_c_ends_it_like_sigterm(start: Starter) -> None:
    process = start.serve()
    worker = process.worker()
    os.killpg(process.popen.pid, signal.SIGINT)
    assert process.wait() == 0
    assert not alive(worker)
    assert "Traceback" not in process.said()


def test_a_client_that_never_finishes_its_request_does_not_hold_up_the_end(start: Starter) -> None:
    process = start.serve()
    with socket.create_connection(("127.0.0.1", start.port)) as client:
        client.sendall(b"POST /api/v2/nodes HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        began = time.monotonic()
        process.popen.terminate()
        assert process.wait() == 0
        assert time.monotonic() - began < 30


def test_when_the_master_is_killed_the_worker_ends_too(start: Starter) -> None:
    process = start.serve()
    worker = process.worker()
    process.popen.kill()
    process.wait()
    wait_until(lambda: not alive(worker), seconds=120, what="the worker's end")
    start.serve()  # the address and the database are free again


def test_a_worker_that_dies_is_replaced(start: Starter) -> None:
    process = start.serve()
    worker = process.worker()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: process.worker() not in (0, worker), seconds=SECONDS, what="another worker")
    start.ready(process)
    process.popen.terminate()
    assert process.wait() == 0


def test_an_inherited_socket_is_served(start: Starter) -> None:
    with socket.create_server(("127.0.0.1", start.port)) as listener:
        process = start("serve", "--listen", f"fd://{listener.fileno()}", pass_fds=(listener.fileno(),))
    start.ready(process)
    wait_until(lambda: f"Crowbar is at {start.url}\n" in process.said(), seconds=SECONDS, what="the address")


def test_it_listens_on_ipv6(start: Starter) -> None:
    process = start("serve", "--listen", f"[::1]:{start.port}")
    start.url = f"http://[::1]:{start.port}"
    start.ready(process)
    wait_until(lambda: f"Crowbar is at {start.url}\n" in process.said(), seconds=SECONDS, what="the address")


@pytest.mark.parametrize(
    "args, says",
    [
        (("--listen", "fd://99"), "no such file descriptor"),
        (("--listen", "fd://0"), "is no socket"),
        (("--listen", "fd://x"), "no such file descriptor"),
        (("--listen", "nowhere"), "must be HOST:PORT"),
        (("--listen", "127.0.0.1:99999"), "must be HOST:PORT"),
        (("--listen", "203.0.113.1:3000"), "Cannot listen at 203.0.113.1:3000"),
        (("--database-url", "mysql://x"), "scheme 'mysql'"),
        (("--data-dir", "/proc/nothing"), "/proc/nothing"),
        (("--set", "concurrency=many"), "CROWBAR_CONCURRENCY"),
        (("--set", "queue=pigeons"), "pigeons"),
        (("--config", "/nonexistent.toml"), "/nonexistent.toml"),
    ],
)
def test_what_keeps_it_from_starting_is_one_sentence(start: Starter, args: tuple[str, ...], says: str) -> None:
    defaults = () if "--listen" in args else ("--listen", f"127.0.0.1:{start.port}")
    process = start("serve", *defaults, *args)
    assert process.wait() == 1
    assert says in process.said()
    assert process.said().startswith("Error: ")
    assert process.said().count("\n") == 1, process.said()


def test_an_address_in_use_is_one_sentence(start: Starter) -> None:
    with socket.create_server(("127.0.0.1", start.port)):
        process = start("serve", "--listen", f"127.0.0.1:{start.port}")
        assert process.wait() == 1
    where = f"127.0.0.1:{start.port}"
    said = f"Error: Cannot listen at {where}: Address already in use. Choose another address with --listen.\n"
    assert process.said() == said


def test_pages_and_annealer_run_apart(start: Starter) -> None:
    web = start("web", "--workers", "2", "--listen", f"127.0.0.1:{start.port}")
    start.ready(web)
    annealer = start("annealer")
    wait_until(lambda: "The annealer is at work" in annealer.said(), seconds=SECONDS, what="the annealer")
    for process in (annealer, web):
        process.popen.terminate()
        assert process.wait() == 0, process.said()
        assert "Traceback" not in process.said()


def test_who_works_is_seen_and_who_does_not_is_missed(start: Starter) -> None:
    web = start("web", "--listen", f"127.0.0.1:{start.port}")
    start.ready(web)
    wait_until(lambda: "with the password" in web.said(), seconds=SECONDS, what="the password")
    crowbar = Asker(start.url, web.said().partition("with the password ")[2].partition(" ")[0])
    assert [one["kinds"] for one in crowbar.processes()] == [["web"]]
    health = requests.get(f"{start.url}/readyz", timeout=60).json()
    assert health["status"] == "degraded"
    assert "no annealer is alive" in health["detail"]
    assert "no worker is alive" in health["detail"]
    missed = crowbar("ping")
    assert missed.returncode == 1
    assert b"is up but degraded: no annealer is alive" in missed.stderr

    annealer = start("annealer")
    wait_until(lambda: crowbar("ping").returncode == 0, seconds=SECONDS, what="all is well")
    assert crowbar("ping").stderr.decode().endswith("is ready.\n")
    mine = next(one for one in crowbar.processes() if one["pid"] == annealer.popen.pid)
    assert (mine["kinds"], mine["state"], mine["runs"]) == (["annealer", "worker"], "alive", 0)
    assert mine["concurrency"] > 0

    annealer.popen.kill()
    annealer.wait()
    said = wait_until(lambda: failure(crowbar("ping")), seconds=SECONDS, what="it is missed")
    assert said is not None
    assert "no worker is alive" in said
    states = {one["pid"]: one["state"] for one in crowbar.processes()}
    assert states[annealer.popen.pid] == "dead"

    again = start("annealer")
    wait_until(lambda: crowbar("ping").returncode == 0, seconds=SECONDS, what="all is well again")
    pids = {one["pid"] for one in crowbar.processes()}
    assert annealer.popen.pid not in pids, "who takes its place says so"
    again.popen.terminate()
    assert again.wait() == 0
    assert [one["kinds"] for one in crowbar.processes()] == [["web"]], "who stops in good order is not missed"
    assert crowbar("ping").returncode == 1
    web.popen.terminate()
    assert web.wait() == 0


class Asker:
    """`crowbar` as an operator types it."""

    def __init__(self, url: str, password: str) -> None:
        self.environ = {**os.environ, "CROWBAR_URL": url, "CROWBAR_USER": "admin", "CROWBAR_PASSWORD": password}

    def __call__(self, *args: str) -> subprocess.CompletedProcess[bytes]:
        line = [sys.executable, "-m", "crowbar_core.cli", *args]
        return subprocess.run(line, env=self.environ, capture_output=True, timeout=SECONDS)

    def processes(self) -> list[dict[str, Any]]:
        done = self("processes", "--format", "json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found


def failure(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode() if done.returncode == 1 else ""


def test_a_barclamp_that_does_not_load_is_one_line_in_the_log_at_the_start(start: Starter) -> None:
    site = start.directory / "site"
    info = site / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[crowbar.barclamps]\nbroken = nothing_of_that_name:barclamp\n")
    environ = {"PYTHONPATH": python_path(site), "NO_COLOR": "1"}
    process = start("serve", "--listen", f"127.0.0.1:{start.port}", environ=environ)
    start.ready(process)
    wait_until(lambda: "a package did not load" in process.said(), seconds=SECONDS, what="the line")
    (line,) = [line for line in process.said().splitlines() if "a package did not load" in line]
    assert "Barclamp broken" in line
    assert "nothing_of_that_name" in line
    health = requests.get(f"{start.url}/readyz", timeout=60)
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert "1 installed package did not load" in health.json()["detail"]


TALKER = """
import logging
from crowbar_core import Barclamp, Periodic, Service, hookimpl

log = logging.getLogger(__name__ + ".deep")

@hookimpl
def register_barclamp():
    return Barclamp(name="talker")

@hookimpl
def register_services():
    return [Service(name="talker", run=serve)]

@hookimpl
def register_periodic():
    return [Periodic(name="talk", seconds=1, run=job)]

def serve(stopped):
    log.info("a service says %s", "this")
    logging.getLogger("somebody.else").info("a library says this")
    stopped.wait()

def job():
    try:
        1 / 0
    except ZeroDivisionError:
        log.warning("a job says this", exc_info=True, extra={"rack": "r7"})
    logging.getLogger("somebody.else").info("a library says this")
"""


def test_what_jobs_and_services_of_barclamps_log_is_in_the_servers_log(start: Starter) -> None:
    site = start.directory / "site"
    info = site / "talker-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "talker.py").write_text(TALKER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: talker\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[crowbar.barclamps]\ntalker = talker\n")
    environ = {"PYTHONPATH": python_path(site), "CROWBAR_LOG_FORMAT": "json"}
    process = start("serve", "--listen", f"127.0.0.1:{start.port}", environ=environ)
    start.ready(process)
    wait_until(
        lambda: all(one in process.said() for one in ("a service says this", "a job says this")),
        seconds=SECONDS, what="both are said",
    )  # fmt: skip
    lines = [json.loads(line) for line in process.said().splitlines() if '"logger": "talker.deep"' in line]
    found = {line["event"]: line for line in lines}
    assert found["a service says this"]["level"] == "info"
    job = found["a job says this"]
    assert (job["level"], job["rack"]) == ("warning", "r7")
    assert "ZeroDivisionError" in job["exception"]
    assert "a library" not in process.said()


def test_the_database_is_made_checked_and_asked_for_what_is_not_there(start: Starter) -> None:
    check = start("db", "check")
    assert check.wait() == 1
    assert "crowbar db upgrade" in check.said()
    assert start("db", "upgrade").wait() == 0
    check.log.unlink()
    assert start("db", "check").wait() == 0
    purge = start("db", "purge", "--yes", "nothing-of-that-name")
    assert purge.wait() == 1
    assert "no tables of a barclamp 'nothing-of-that-name'" in purge.said()


def test_a_lost_password_is_set_without_a_server(start: Starter) -> None:
    assert start("db", "upgrade").wait() == 0
    environ = {**os.environ, "CROWBAR_DATA_DIR": str(start.directory / "data")}
    line = [sys.executable, "-m", "crowbar_core.cli", "admin", "password"]
    done = subprocess.run(
        [*line, "admin"], input=b"a new password\n", env=environ, capture_output=True, timeout=SECONDS
    )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    start.serve()
    answer = requests.get(f"{start.url}/api/v2/whoami", auth=("admin", "a new password"), timeout=60)
    assert answer.json()["name"] == "admin"
    done = subprocess.run(
        [*line, "nobody"], input=b"a new password\n", env=environ, capture_output=True, timeout=SECONDS
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: There is no user nobody")


def resident(pid: int) -> int:
    """Megabytes that the process holds."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) // 1024


@pytest.mark.slow
def test_memory_that_large_bodies_took_goes_back(start: Starter) -> None:
    process = start("web", "--listen", f"127.0.0.1:{start.port}")
    start.ready(process)
    wait_until(lambda: "with the password" in process.said(), seconds=SECONDS, what="the password")
    auth = ("admin", process.said().partition("with the password ")[2].partition(" ")[0])
    assert requests.get(f"{start.url}/api/v2/nodes", auth=auth, timeout=SECONDS).status_code == 200
    before = resident(process.worker())
    body = b'{"name": [' + b'{"a": 1, "b": [1.5, "xx"]},' * 75_000 + b"1]}"
    statuses: list[int] = []

    def send() -> None:
        kind = {"Content-Type": "application/json"}
        answer = requests.post(f"{start.url}/api/v2/groups", data=body, auth=auth, headers=kind, timeout=240)
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [422] * 12
    wait_until(lambda: resident(process.worker()) < before + 120, seconds=SECONDS, what="the memory is given back")
