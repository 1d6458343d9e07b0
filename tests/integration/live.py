"""A real server, and the command line that asks it: for the tests of what people type."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from click.testing import CliRunner, Result

from crowbar_core.cli.root import root
from tests.services import free_port, wait_until


@dataclass
class Live:
    url: str
    password: str

    def run(self, *args: str, stdin: str | None = None) -> Result:
        environ = {"CROWBAR_URL": self.url, "CROWBAR_USER": "admin", "CROWBAR_PASSWORD": self.password}
        return CliRunner().invoke(root, args, input=stdin, env=environ)

    def done(self, *args: str, stdin: str | None = None) -> str:
        """What a command that succeeds prints."""
        result = self.run(*args, stdin=stdin)
        assert result.exit_code == 0, (args, result.output)
        return result.stdout

    def json(self, *args: str, stdin: str | None = None) -> Any:
        return json.loads(self.done(*args, "--format", "json", stdin=stdin))

    def refused(self, *args: str, stdin: str | None = None) -> str:
        """The sentence with which a command is refused: nothing on stdout, no traceback, exit code 1."""
        result = self.run(*args, stdin=stdin)
        assert result.exit_code == 1, (args, result.output)
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ")
        assert "unexpected" not in result.stderr
        assert "Traceback" not in result.stderr
        assert result.stderr.replace("\n", "").isprintable()
        return result.stderr.removeprefix("Error: ").rstrip("\n")


@contextmanager
def live_server(directory: Path) -> Iterator[Live]:
    environ = {**os.environ, "HOME": str(directory), "CROWBAR_DATA_DIR": str(directory / "data")}
    line = [sys.executable, "-m", "crowbar_core.cli"]
    made = subprocess.run(
        [*line, "db", "upgrade", "--format", "json"], env=environ, check=True, capture_output=True, timeout=120
    )
    url = f"http://127.0.0.1:{free_port()}"
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [*line, "serve", "--listen", url.removeprefix("http://")],
            env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:

        def ready() -> bool:
            assert server.poll() is None, (directory / "log").read_text()
            try:
                return requests.get(f"{url}/readyz", timeout=5).status_code == 200
            except requests.RequestException:
                return False

        wait_until(ready, seconds=120, what="the server")
        yield Live(url, json.loads(made.stdout)["admin_password"])
        assert "Traceback" not in (directory / "log").read_text()
    finally:
        server.terminate()
        try:
            server.wait(40)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
