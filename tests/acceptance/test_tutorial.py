"""The tutorial as a newcomer follows it: every block as it stands, in an empty folder, until the roles are ACTIVE."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from crowbar_lab.lab import Lab

from tests.test_docs import Block, blocks

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
COMMANDS = {"crowbar": "crowbar_core.cli:main", "pip": "pip._internal.cli.main:main", "pytest": "pytest:console_main"}
SECONDS = 240


class Newcomer:
    """Somebody with a home, an empty folder and a virtual environment of their own, in which Crowbar is installed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.folder = directory / "folder"
        self.home = directory / "home"
        self.labs = directory / "labs"
        for path in (self.folder, self.home):
            path.mkdir()
        self._make_environment(directory / "venv")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CROWBAR_", "PIP_", "PYTHON", "PYTEST", "SUDO_", "VIRTUAL_ENV", "XDG_"))
        }
        self.environ = {
            **kept,
            "HOME": str(self.home),
            "PATH": f"{directory / 'venv' / 'bin'}:{os.environ['PATH']}",
            "CROWBAR_LAB_STATE_DIR": str(self.labs),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # which is how pip reads "no isolation": the backend is here already
        }

    def _make_environment(self, path: Path) -> None:
        """What is installed where the tests run is installed here, too; what is added here is here alone."""
        venv.create(path, symlinks=True)
        (packages,) = path.glob("lib/python*/site-packages")
        (packages / "crowbar.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        for name, entry in COMMANDS.items():
            module, _, function = entry.partition(":")
            script = path / "bin" / name
            script.write_text(
                f"#!{path}/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
            )
            script.chmod(0o755)

    def follow(self, block: Block, said: str) -> str:
        """Do what a block asks for; what it said. The lines of a text are looked for in what was ``said`` before."""
        if block.made:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            return ""
        if block.language == "text":
            missing = set(block.text.splitlines()) - set(said.splitlines())
            assert not missing, f"line {block.line}: {missing} is not in what the block before said:\n{said}"
            return ""
        assert block.language == "sh", f"line {block.line}: nobody knows what to do with a block of {block.language}"
        return self.type(block.text)

    def type(self, text: str) -> str:
        done = subprocess.run(
            ["sh", "-e", "-c", text], cwd=self.folder, env=self.environ, timeout=SECONDS, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}ended with {done.returncode}:\n{done.stdout}{done.stderr}{self.log()}"
        return done.stdout

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in self.labs.glob("*/server/server.log"))

    def states(self) -> dict[str, str]:
        rows = json.loads(self.type("crowbar noderoles list --deployment friday --format json"))
        return {f"{row['node']}/{row['role']}": row["state_name"] for row in rows}

    def remains(self) -> list[str]:
        """Labs, and processes that know this directory."""
        left = [path.name for path in self.labs.glob("*")]
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(self.directory).encode() in (process / "environ").read_bytes():
                    left.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return left


@pytest.fixture
def newcomer() -> Iterator[Newcomer]:
    # Where a lab may be kept is shorter and simpler than pytest's own directories.
    with tempfile.TemporaryDirectory(prefix="crowbar-tutorial-") as directory:
        made = Newcomer(Path(directory))
        try:
            yield made
        finally:
            for name in Lab.names(state_dir=made.labs):
                Lab.remove(name, state_dir=made.labs)  # with its server, which is in its network


def test_who_follows_the_tutorial_ends_with_all_active_and_nothing_left(newcomer: Newcomer) -> None:
    *its_blocks, last = blocks(TUTORIAL)
    said, settled = "", 0
    for block in its_blocks:
        said = newcomer.follow(block, said)
        if "crowbar converge" in block.text and not block.made:
            states = newcomer.states()
            assert set(states.values()) == {"ACTIVE"}, states
            settled += 1
    assert settled >= 2, "it sets something up, and changes it"
    assert set(newcomer.states()) >= {"node-1.lab.test/party-hello", "admin.lab.test/party-report"}
    config = newcomer.home / ".config" / "crowbar" / "config.toml"
    assert 'profile = "lab"' in config.read_text()

    assert last.text == "crowbar lab down\n"
    newcomer.follow(last, said)
    assert "lab" not in config.read_text()
    assert newcomer.remains() == []
