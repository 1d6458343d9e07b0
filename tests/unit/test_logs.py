"""Whoever logs with the standard library is heard as the core is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.outside import python_path

SPEAKING = """
import logging, sys
from crowbar_core import logs
from crowbar_core.settings import Settings

logs.configure(Settings(log_level="error"))
logs.configure(Settings(log_level=sys.argv[1]))  # as in a process that is told its settings once more
logging.getLogger("paramiko").setLevel("DEBUG")  # as libraries do of themselves
for name in ("racks.std", "crowbar.racks", "paramiko.transport"):
    for level in ("debug", "info", "warning"):
        getattr(logging.getLogger(name), level)("%s of %s", level, name)
logs.log.info("core")
"""


def spoken(tmp_path: Path, level: str) -> list[str]:
    info = tmp_path / "racks-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: racks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[crowbar.barclamps]\nracks = racks\n")
    done = subprocess.run(
        [sys.executable, "-c", SPEAKING, level],
        env={"PYTHONPATH": python_path(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def said(lines: list[str]) -> list[str]:
    return [match[0] for line in lines if (match := re.search(r"\w+ of [\w.]+", line))]


def test_barclamps_are_heard_from_the_level_of_the_settings_on_and_libraries_from_warning_on(tmp_path: Path) -> None:
    own = ("racks.std", "crowbar.racks")
    expected = {
        "debug": [f"{level} of {name}" for name in own for level in ("debug", "info", "warning")],
        "info": [f"{level} of {name}" for name in own for level in ("info", "warning")],
        "warning": [f"warning of {name}" for name in own],
    }
    for level, lines in expected.items():
        assert said(spoken(tmp_path, level)) == [*lines, "warning of paramiko.transport"]
    assert said(spoken(tmp_path, "error")) == []


def test_barclamps_log_in_the_form_of_the_cores_own_lines(tmp_path: Path) -> None:
    lines = spoken(tmp_path, "info")
    (mine,) = [line for line in lines if "info of racks.std" in line]
    (core,) = [line for line in lines if line.split()[-1] == "core"]
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z \[info +\] "
    assert re.match(form, mine)
    assert re.match(form, core)
    assert "[racks.std]" in mine
