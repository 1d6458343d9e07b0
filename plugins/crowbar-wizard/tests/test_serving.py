"""Where a server says that it is to be set up, when it is asked as it starts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

CROWBAR = [sys.executable, "-m", "crowbar_core.cli"]
OTHERS = "network,dns,dhcp,provisioner,bmc,lab,example,example-addresses,inventory"
SECONDS = 300.0


def test_a_server_that_was_started_before_says_where_the_questions_are_when_it_is_asked(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("CROWBAR_")}
    env |= {"HOME": str(tmp_path), "CROWBAR_DISABLED_BARCLAMPS": OTHERS, "CROWBAR_DATA_DIR": str(tmp_path / "data")}
    subprocess.run([*CROWBAR, "db", "upgrade"], env=env, check=True, capture_output=True, timeout=SECONDS)
    log = tmp_path / "serve.log"
    with log.open("wb") as to:
        process = subprocess.Popen(
            [*CROWBAR, "serve", "--wizard", "--listen", "127.0.0.1:0"], env=env, cwd=tmp_path,
            stdin=subprocess.DEVNULL, stdout=to, stderr=to,
        )  # fmt: skip
    try:
        until = time.monotonic() + SECONDS
        while not (address := address_in(log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait(60)
    assert f"Set this server up at {address}/wizard." in log.read_text()


def address_in(said: str) -> str:
    """Where it is, once it has said that to the end."""
    line, ended, _ = said.partition("Crowbar is at ")[2].partition("\n")
    return line.split()[0].rstrip("/.") if ended else ""
