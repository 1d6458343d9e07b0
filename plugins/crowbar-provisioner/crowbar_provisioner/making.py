"""The role provisioner-images: what machines boot, and what is written to their disks, is made where it is missing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from crowbar_core import Done, Outcome, PermanentError, RunCancelled, Task, cluster
from crowbar_provisioner.images.build import OS, PREFIX
from crowbar_provisioner.settings import Settings

IMAGES_ROLE = "provisioner-images"
_PAUSE = 0.5


def run(task: Task) -> Outcome:
    """In processes of their own, which end with the run. Raises ``PermanentError`` with the last line of one."""
    said: Mapping[str, Any] = task.data.get("provisioner", {})
    task.begin()
    for what, there, words in wanted(cluster().settings(Settings).root, str(said.get("images-kernel") or "full")):
        if there.exists():
            task.log(f"the {what} is there")
            continue
        task.log(f"making the {what}: crowbar {' '.join(words)}")
        there.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="crowbar-making-", dir=there.parent) as work:
            try:
                _make(task, what, [sys.executable, "-m", "crowbar_core.cli", *words], work)
            finally:
                for left in there.parent.glob(f"{PREFIX}*"):  # of one that was killed
                    shutil.rmtree(left, ignore_errors=True)
        if not there.exists():
            raise PermanentError(f"The {what} was made, and {there} is not there.")
    return Done()


def wanted(root: Path, kernel: str) -> Sequence[tuple[str, Path, Sequence[str]]]:
    """Of each: what it is, the file that is written last, and the words of the command that makes it."""
    boot, images = root / "sledgehammer", root / "images"
    return (
        ("discovery image", boot / "SHA256SUMS", ("sledgehammer", "build", "--kernel", kernel, "--to", str(boot))),
        (f"image of {OS}", images / f"{OS}.json", ("images", "build", OS, "--kernel", kernel, "--to", str(images))),
    )


def _make(task: Task, what: str, line: Sequence[str], work: str) -> None:
    last = ""
    with tempfile.NamedTemporaryFile() as out, open(out.name, encoding="utf-8", errors="replace") as told:
        making = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "TMPDIR": work},
        )  # fmt: skip
        try:
            while True:
                ended = making.poll() is not None
                for one in told.read().splitlines():
                    task.log(one)
                    last = one.strip() or last
                if ended:
                    break
                if task.cancelled.wait(_PAUSE):
                    raise RunCancelled(f"the {what} was not finished")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(making.pid, signal.SIGKILL)
            making.wait()
    if making.returncode:
        said = last.removeprefix("Error: ") or f"it ended with exit code {making.returncode}"
        raise PermanentError(f"The {what} cannot be made: {said}")
