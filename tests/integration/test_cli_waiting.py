"""`crowbar converge` and `--wait` as scripts use them: the exit code is the answer, the sentence says where and why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.outside import installed_barclamps, python_path
from tests.services import free_port, wait_until

BARCLAMP = """
import os, time
from pathlib import Path
from crowbar_core import Attribute, Barclamp, Done, Role, hookimpl
from crowbar_core.errors import PermanentError, TemporaryError

HANGS = Path(os.environ["MOODY_HANGS"])

def work(task):
    mood = task.data.get("moody", {}).get("mood")
    if mood == "bad":
        raise PermanentError("it is in a bad mood")
    if mood in ("soon", "later") and task.attempt < 2:
        raise TemporaryError("it is not awake", delay={"soon": 2.0, "later": float(os.environ["MOODY_DELAY"])}[mood])
    return Done()

mood = Attribute(name="mood", map="moody/mood", schema={"type": "string"}, default="good")

@hookimpl
def register_barclamp():
    return Barclamp(name="moody", roles=(
        Role(name="moody", jig="python", run=work, attributes=(mood,), implicit=True),
        Role(name="friend", jig="noop", requires=("moody",)),
    ))

@hookimpl
def on_active(node_role):
    while HANGS.exists():
        time.sleep(0.05)
"""
DELAY = 100.0


@dataclass
class Served:
    room: Path
    url: str
    password: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, *args: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "CROWBAR_URL": self.url, "CROWBAR_USER": "admin", "CROWBAR_PASSWORD": self.password}
        line = [sys.executable, "-m", "crowbar_core.cli", *args]
        return subprocess.run(line, env=environ, capture_output=True, text=True, timeout=seconds)

    def done(self, *args: str) -> str:
        result = self.run(*args)
        assert result.returncode == 0, (args, result.stderr)
        return result.stdout

    def fails(self, *args: str) -> str:
        result = self.run(*args)
        assert result.returncode == 1, (args, result.returncode, result.stderr)
        assert "Traceback" not in result.stderr
        return result.stderr

    def node(self, name: str, mood: str = "good", *, deployment: str = "") -> None:
        """A node with both roles proposed, in a deployment of its own name."""
        self.done("nodes", "create", f"{name}.wait.test", "--alive", "--available")
        self.done("deployments", "create", name)
        self.done("deployments", "bind", name, "friend", f"{name}.wait.test")
        if mood != "good":
            self.set(name, mood)

    def set(self, name: str, mood: str) -> None:
        self.done("attribs", "set", "mood", mood, "--noderole", f"{name}.wait.test/moody")

    def forget(self) -> None:
        """No node is left, so that the next test has the cluster for itself."""
        for row in json.loads(self.done("nodes", "list", "--format", "json")):
            if not row["system"]:
                assert self.ask("DELETE", f"nodes/{row['id']}").ok

    def ask(self, method: str, path: str) -> requests.Response:
        return requests.request(method, f"{self.url}/api/v2/{path}", auth=("admin", self.password), timeout=30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    room = tmp_path_factory.mktemp("waiting")
    info = room / "site" / "moody-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: moody\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[crowbar.barclamps]\nmoody = moody\n")
    (room / "site" / "moody.py").write_text(BARCLAMP)
    served = Served(room, f"http://127.0.0.1:{free_port()}")
    environ = {
        **os.environ, "HOME": str(room), "PYTHONPATH": python_path(room / "site"),
        "CROWBAR_DATA_DIR": str(room / "data"),
        "MOODY_HANGS": str(room / "hangs"), "MOODY_DELAY": str(DELAY), "CROWBAR_PROBE_SECONDS": "0",
        "CROWBAR_HOOK_SECONDS": "1", "CROWBAR_DISABLED_BARCLAMPS": ",".join(installed_barclamps()),
    }  # fmt: skip
    log_path = room / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "crowbar_core.cli", "serve", "--listen", served.url.removeprefix("http://")],
            env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: "Crowbar is at" in log_path.read_text(), seconds=60, what="the server")
        served.password = log_path.read_text().partition("with the password ")[2].partition(" ")[0]
        wait_until(lambda: served.run("ping").returncode == 0, seconds=60, what="all is well")
        yield served
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def crowbar(server: Served) -> Iterator[Served]:
    yield server
    (server.room / "hangs").unlink(missing_ok=True)
    server.forget()


def test_converge_says_how_much_is_active(crowbar: Served) -> None:
    crowbar.node("one")
    crowbar.done("deployments", "commit", "one")
    result = crowbar.run("converge")
    assert (result.returncode, result.stderr) == (0, "Settled: 2 noderoles are ACTIVE.\n")


def test_what_waits_is_no_success_and_the_list_that_is_named_is_not_empty(crowbar: Served) -> None:
    crowbar.node("dead")
    crowbar.done("nodes", "update", "dead.wait.test", "--no-available")
    crowbar.done("deployments", "commit", "dead")
    said = crowbar.fails("converge")
    assert said.startswith("Error: Not all is ACTIVE: 2 noderoles wait. `crowbar noderoles list --state ")
    assert "dead.wait.test/moody: Node dead.wait.test is not available." in said
    command = said.partition("`crowbar ")[2].partition("`")[0]
    assert "dead.wait.test" in crowbar.done(*command.split())
    found: dict[str, Any] = json.loads(crowbar.run("converge", "--format", "json").stdout)
    assert (found["settled"], found["state"], found["waiting"]) == (False, "waiting", 2)


def test_a_retry_is_waited_for(crowbar: Served) -> None:
    crowbar.node("soon", "soon")
    crowbar.done("deployments", "commit", "soon")
    crowbar.done("converge")
    runs = json.loads(crowbar.done("runs", "list", "--node", "soon.wait.test", "--format", "json"))
    assert sorted(one["attempt"] for one in runs if one["role"] == "moody") == [1, 2]


def test_a_retry_is_said_to_wait(crowbar: Served) -> None:
    crowbar.node("later", "later")
    crowbar.done("deployments", "commit", "later")
    waits = wait_until(lambda: crowbar.ask("GET", "anneal").json()["waits"], seconds=120, what="the retry")
    assert waits is not None
    assert waits[0]["role"] == "moody"
    assert 0 < waits[0]["seconds"] <= DELAY
    said = crowbar.fails("converge", "--timeout", "0")
    assert "Not settled within 0 s" in said


def test_what_is_left_when_the_time_is_over_is_said(crowbar: Served) -> None:
    crowbar.node("late", "later")
    began = time.monotonic()
    said = crowbar.fails("deployments", "commit", "late", "--wait", "--timeout", "0.5")
    assert time.monotonic() - began < 60
    assert "Not settled within 0.5 s: " in said


def test_setting_a_value_with_wait_fails_when_the_role_fails(crowbar: Served) -> None:
    crowbar.node("bad")
    crowbar.done("deployments", "commit", "bad", "--wait")
    mine = ("--noderole", "bad.wait.test/moody", "--now", "--wait")
    said = crowbar.fails("attribs", "set", "mood", "bad", *mine)
    assert "Failed: bad.wait.test/moody" in said
    crowbar.done("attribs", "set", "mood", "good", *mine)  # tries again what failed for the other
    crowbar.done("attribs", "set", "mood", "fine", *mine)
    crowbar.done("attribs", "unset", "mood", *mine)


def test_what_failed_before_does_not_fail_the_setting_of_another_value(crowbar: Served) -> None:
    crowbar.node("broken", "bad")
    crowbar.fails("deployments", "commit", "broken", "--wait")
    crowbar.node("sound")
    crowbar.done("deployments", "commit", "sound")
    crowbar.done("attribs", "set", "mood", "fine", "--noderole", "sound.wait.test/moody", "--now", "--wait")
    assert "Failed: broken.wait.test/moody" in crowbar.fails("converge")


def test_a_hook_that_hangs_holds_nobody_up(crowbar: Served) -> None:
    (crowbar.room / "hangs").touch()
    crowbar.node("hang")
    result = crowbar.run("deployments", "commit", "hang", "--wait", seconds=120)
    assert result.returncode == 0, result.stderr
    crowbar.done("converge")
