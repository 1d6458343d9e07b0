"""The program that tells a node whom to ask, run by sh beside the files of this machine, not on them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from crowbar_dns import resolving


def run(program: str, root: Path) -> subprocess.CompletedProcess[str]:
    for place in (resolving.RESOLV_CONF, resolving.RESOLVED, "/run/systemd/system"):
        program = program.replace(place, f"{root}{place}")
    return subprocess.run(["sh", "-c", program], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc/resolv.conf"


def test_what_was_there_is_kept_and_comes_back(conf: Path, tmp_path: Path) -> None:
    conf.write_text("nameserver 192.0.2.1\n")
    for server in ("192.0.2.7", "192.0.2.7", "192.0.2.8"):
        done = run(resolving.set_up([server], ["one.test"]), tmp_path)
        assert (done.returncode, done.stdout) == (0, "resolv.conf\n"), done.stderr
        assert conf.read_text() == resolving.resolv_conf([server], ["one.test"])
    assert run(resolving.remove(), tmp_path).returncode == 0
    assert conf.read_text() == "nameserver 192.0.2.1\n"


def test_a_file_that_cannot_be_written_fails_the_run(conf: Path, tmp_path: Path) -> None:
    (conf / "kept").mkdir(parents=True)
    Path(f"{conf}.before-crowbar").touch()
    done = run(resolving.set_up(["192.0.2.7"], []), tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""
    assert [one.name for one in conf.iterdir()] == ["kept"]
