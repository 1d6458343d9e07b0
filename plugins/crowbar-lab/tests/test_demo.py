"""`crowbar demo` as a process: it does its job, and nothing of it is left, however it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner
from crowbar_lab import demo as demo_module
from crowbar_lab.demo import demo
from crowbar_lab.errors import LabError
from crowbar_lab.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

SECONDS = 280.0


class Demo:
    """A demo with a directory for its temporary files and a place for its labs of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.labs = directory / "labs"
        self.files = directory / "tmp"
        self.files.mkdir(exist_ok=True)
        self.log = directory / "log"
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self, *args: str) -> None:
        environ = {**os.environ, "TMPDIR": str(self.files), "CROWBAR_LAB_STATE_DIR": str(self.labs)}
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [str(Path(sys.executable).with_name("crowbar")), "demo", *args],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ, start_new_session=True,
            )  # fmt: skip

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self.popen is not None
        return self.popen

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = SECONDS) -> int:
        return self.process.wait(seconds)

    def until_said(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + SECONDS
        while (found := re.search(pattern, self.said())) is None:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)
        return found

    def remains(self) -> list[str]:
        """Everything of it that there still is: labs, files, processes that know its directory."""
        left = [str(path) for place in (self.labs, self.files) if place.exists() for path in place.iterdir()]
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environ = (process / "environ").read_bytes()
                if str(self.directory).encode() in environ and int(process.name) != self.process.pid:
                    left.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return left


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Demo]:
    # Where a lab may be kept is shorter and simpler than pytest's own directories.
    with tempfile.TemporaryDirectory(prefix="crowbar-demo-test-") as directory:
        made = Demo(Path(directory))
        try:
            yield made
        finally:
            if made.popen is not None and made.popen.poll() is None:
                made.popen.kill()
                made.popen.wait()
            if made.labs.exists():
                for lab in made.labs.iterdir():
                    Lab.remove(lab.name, state_dir=made.labs)


def test_the_demo_ends_with_all_active_and_leaves_nothing(played: Demo) -> None:
    played.start("--exit", "--nodes", "2")
    assert played.wait() == 0, played.said()
    said = played.said()
    assert re.search(r"✓ ACTIVE +node-2\.lab\.test +example-hello", said)
    assert re.search(r"All is ACTIVE: [0-9.]+ s after the commit", said)
    for answer in (
        r"node-2\.lab\.test\. +300 +IN +A +10\.77\.0\.\d+", r"node-2\.lab\.test\. +300 +IN +AAAA +fd00:77::\w+",
        r"\.10\.in-addr\.arpa\. +300 +IN +PTR +node-2\.lab\.test\.",
        r"\.ip6\.arpa\. +300 +IN +PTR +node-2\.lab\.test\.",
    ):  # fmt: skip
        assert re.search(answer, said), said
    assert said.index("The plan ") < said.index("Committed.") < said.index("All is ACTIVE")
    assert "Error" not in said
    assert played.remains() == []


def test_the_demo_stays_until_ctrl_c_and_its_password_opens_the_pages(played: Demo) -> None:
    played.start("--nodes", "1")
    found = played.until_said(r"Look around at (\S+) \(user admin, password (\S+)\)")
    url, password = found[1], found[2]
    rows = requests.get(f"{url}/api/v2/node_roles", auth=("admin", password), timeout=30).json()
    assert {row["state_name"] for row in rows} == {"ACTIVE"}
    os.killpg(played.process.pid, signal.SIGINT)
    assert played.wait() == 0, played.said()
    assert played.remains() == []
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


@pytest.mark.parametrize("moment", ["Making a lab", "Starting the server", "Committed"])
def test_sigterm_at_any_moment_leaves_nothing(played: Demo, moment: str) -> None:
    played.start("--exit", "--nodes", "1")
    played.until_said(moment)
    played.process.terminate()
    assert played.wait() == 143, played.said()
    assert "Traceback" not in played.said()
    assert played.remains() == []


def test_a_demo_that_fails_half_way_says_why_and_leaves_nothing(played: Demo) -> None:
    played.start("--exit", "--nodes", "1", "--barclamp", "nothing-of-that-name")
    assert played.wait() == 1
    assert "Error: The barclamp nothing-of-that-name is not installed or brings no role" in played.said()
    assert "Traceback" not in played.said()
    assert played.remains() == []


def test_a_server_that_dies_ends_the_demo_with_its_reason(played: Demo) -> None:
    played.start("--nodes", "1")
    played.until_said("Look around at")
    server = _find(lambda line: b"serve" in line and b"fd://" in line, played)
    os.kill(server, signal.SIGKILL)
    assert played.wait() == 1
    assert "Error: The server ended by itself" in played.said()
    assert played.remains() == []


def test_what_a_killed_demo_left_is_removed_by_the_next_one(played: Demo) -> None:
    played.start("--nodes", "1")
    played.until_said("Look around at")
    played.process.kill()
    played.process.wait()
    assert played.remains() != []
    played.start("--exit", "--nodes", "1", "--barclamp", "nothing-of-that-name")
    assert played.wait() == 1
    assert played.remains() == []


@pytest.mark.machines
def test_a_broken_change_of_a_network_is_led_back_before_ones_eyes_and_nothing_is_left(played: Demo) -> None:
    played.start("--exit", "--network", "--nodes", "1")
    assert played.wait() == 0, played.said()
    told = [
        r"over storage, node-1\.lab\.test answers at 10\.100\.0\.17",
        r"over storage, node-1\.lab\.test answers at fd00:100::",
        r"gets VLAN 200, which the switch does not carry",
        r"node-1\.lab\.test has bond0, bond0\.200\.",
        r"It does not answer any more at 10\.100\.0\.17",
        r"It answers again at 10\.100\.0\.17",
        r"led back [0-9.]+ s after the change began",
        r"The run [0-9]+ failed: .* router 10\.100\.0\.1 of network storage does not answer on bond0\.200",
        r"node-1\.lab\.test is still there, and has bond0, bond0\.100, as before",
        r"All is ACTIVE again",
    ]
    assert [line for line in told if not re.search(line, played.said())] == [], played.said()
    assert played.remains() == []


def test_without_user_mode_linux_there_is_no_second_network_and_a_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo_module, "check_host", lambda: None)
    monkeypatch.setattr(demo_module, "missing_for_rack", lambda: ["user-mode-linux"])

    def no_further(directory: Path) -> None:
        raise LabError("It goes on.")

    monkeypatch.setattr(demo_module.server, "begin_database", no_further)
    result = CliRunner().invoke(demo, ["--exit", "--network"])
    assert "nodes with several cards need User Mode Linux, which is not installed (apt-get install user-mode" in (
        result.output
    )
    assert "It goes on." in result.output


def test_without_root_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = CliRunner().invoke(demo, ["--exit"])
    assert result.exit_code == 1
    assert result.output == "Error: A lab needs root, and this is user id 1000: run the command with sudo.\n"


def _find(matches: Callable[[bytes], bool], played: Demo) -> int:
    """The oldest process of the demo with such a command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = str(played.directory).encode() in (process / "environ").read_bytes()
            if ours and matches((process / "cmdline").read_bytes()):
                found.append(int(process.name))
    assert found, played.said()
    return min(found)


@pytest.mark.vms
@pytest.mark.timeout(2400)
def test_bare_machines_are_installed_and_managed_and_nothing_is_left(played: Demo) -> None:
    played.start("--vms", "2", "--exit")
    assert played.wait(2000) == 0, played.said()
    said = played.said()
    assert "All are managed:" in said
    assert len(set(re.findall("ACTIVE +(d52-54-00-[0-9a-f-]+)[^ ]* +provisioner-bmc", said))) == 2
    assert said.count("install: done: debian-12 is alive from vda") == 2
    assert said.count("boots: local") == 0, "their BMCs had them boot from the disk at once"
    assert len(re.findall("ACTIVE +d52-54-00-[0-9a-f-]+[^ ]* +example-report", said)) == 2
    assert {firmware for firmware in ("bios", "uefi") if f": {firmware}, serial number LAB" in said} == {"bios", "uefi"}
    assert "Nothing of the demo is left." in said
    assert played.remains() == []


def test_machines_instead_of_light_nodes_exclude_these() -> None:
    told = CliRunner().invoke(demo, ["--vms", "2", "--network"])
    assert (told.exit_code, "leave --nodes and --network out" in told.output) == (2, True)
