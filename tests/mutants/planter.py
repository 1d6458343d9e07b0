"""Plants one fault at a time in a copy of the checkout and runs the tests nearest to it there.

The working tree is never touched. What was found is written down after each fault, under a digest of the files that it
was planted in and of its tests: an interrupted round goes on where it stopped, and what was changed is tried anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import orjson

from tests.mutants.faults import Fault

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / ".cache" / "mutants.json"
WHOLE = ("tests/unit", "tests/integration")
NOTICED_AT_LEAST = 95.0

Fate = Literal["noticed", "not noticed", "stale", "broken"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a planted fault. ``by``: the test that failed, ``time-out``, or what is wrong with the entry."""

    name: str
    fate: Fate
    by: str
    seconds: float
    digest: str = ""


@dataclass
class Findings:
    """What is known from earlier rounds, kept in a file."""

    path: Path
    known: dict[str, Result] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path = RESULTS) -> Findings:
        known = {}
        with contextlib.suppress(OSError, ValueError, TypeError):  # lost or of another shape: everything is tried anew
            known = {name: Result(**one) for name, one in orjson.loads(path.read_bytes()).items()}
        return cls(path, known)

    def still_true(self, name: str, digest: str) -> Result | None:
        found = self.known.get(name)
        return found if found is not None and found.digest == digest else None

    def keep(self, result: Result) -> None:
        """Written at once and as a whole: a round that is killed leaves the file of before or of after."""
        self.known[result.name] = result
        self.path.parent.mkdir(exist_ok=True)
        draft = self.path.with_suffix(".new")
        everything = {name: asdict(one) for name, one in sorted(self.known.items())}
        draft.write_bytes(orjson.dumps(everything, option=orjson.OPT_INDENT_2))
        draft.replace(self.path)


@dataclass(frozen=True)
class Copy:
    """A copy of the checkout, in which faults are planted."""

    root: Path

    @classmethod
    @contextlib.contextmanager
    def of(cls, source: Path) -> Iterator[Copy]:
        """Everything that is, or would be, committed, as it stands in the working tree."""
        directory = Path(tempfile.mkdtemp(prefix="crowbar-mutants-"))
        try:
            for name in tracked(source):
                target = directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, target)
            yield cls(directory)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    @contextlib.contextmanager
    def with_fault(self, fault: Fault) -> Iterator[None]:
        texts = {file: (self.root / file).read_text(encoding="utf-8") for file in fault.files}
        for file, text in texts.items():
            self._write(file, fault.planted(file, text))
        try:
            yield
        finally:
            for file, text in texts.items():
                self._write(file, text)

    def _write(self, file: str, text: str) -> None:
        """Write it, and forget how it was compiled: Python tells a change by the second and the size alone."""
        path = self.root / file
        path.write_text(text, encoding="utf-8")
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()

    def test(self, tests: Sequence[str], *, seconds: float, all_of_them: bool = False) -> tuple[int | None, str]:
        """Run these tests until one fails. Returns pytest's exit code (None: time-out) and what it said."""
        quick = ["-p", "no:schemathesis"]  # it takes longer to load than most of these tests take
        command = [sys.executable, "-m", "pytest", *quick, "-q", "-rfE", "--no-header", "--tb=no", *tests]
        if not all_of_them:
            command.append("-x")
        process = subprocess.Popen(
            command, cwd=self.root, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        try:
            said, _ = process.communicate(timeout=seconds)
            return process.returncode, said
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def _environment(self) -> dict[str, str]:
        """Whatever is started finds the copy's modules before those of the checkout."""
        packages = [self.root, *sorted(path.parent for path in self.root.glob("plugins/*/pyproject.toml"))]
        places = os.pathsep.join(str(path) for path in packages)
        return {**os.environ, "PYTHONPATH": places}

    def check(self) -> None:
        """Make sure that the tests in the copy test the copy."""
        code = "import crowbar_core, tests; print(crowbar_core.__file__); print(tests.__file__)"
        said = subprocess.run(
            [sys.executable, "-c", code], cwd=self.root, env=self._environment(), capture_output=True, text=True,
            timeout=60, check=True,
        ).stdout.splitlines()  # fmt: skip
        strangers = [line for line in said if not Path(line).is_relative_to(self.root)]
        if len(said) != 2 or strangers:
            raise RuntimeError(f"the tests in {self.root} would not test what lies there, but {strangers}")


def tracked(root: Path) -> list[str]:
    """Every file that is, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return sorted({name for name in listed.stdout.split("\0") if name and (root / name).is_file()})


def digest_of(root: Path, fault: Fault) -> str:
    """Of what decides whether the fault is noticed: the entry, the files it is planted in, and its tests. What else may
    decide it (other modules, what tests share) is left out, or nothing would be known for long.
    """
    files = sorted({*fault.files, *(test.partition("::")[0] for test in fault.tests)})
    parts = [repr(fault), *((root / file).read_text(encoding="utf-8") for file in files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def failing_without_fault(copy: Copy, results: Sequence[Result], *, seconds: float) -> set[str]:
    """Of the tests that noticed a fault, those that fail without any: what they noticed was something else."""
    tests = sorted({result.by for result in results if result.fate == "noticed" and "::" in result.by})
    if not tests:
        return set()
    code, said = copy.test(tests, seconds=seconds, all_of_them=True)
    if code == 0:
        return set()
    return set(_failed(said)) or set(tests)


def plant(copy: Copy, fault: Fault, *, seconds: float, whole: bool) -> Result:
    """Plant the fault, run the tests nearest to it (``whole``: then all unit and integration tests), take it out."""
    if (reason := fault.stale(copy.root)) is not None:
        return Result(name=fault.name, fate="stale", by=reason, seconds=0.0)
    begun = time.monotonic()
    fate: Fate = "not noticed"
    by = ""
    with copy.with_fault(fault):
        for tests in (fault.tests, WHOLE) if whole else (fault.tests,):
            code, said = copy.test(tests, seconds=seconds if tests is not WHOLE else seconds * 10)
            if code == 0:
                continue
            fate = "noticed" if code in (None, 1) else "broken"
            by = "time-out" if code is None else _last(said) or f"pytest ended with {code}"
            break
    return Result(name=fault.name, fate=fate, by=by, seconds=round(time.monotonic() - begun, 1))


def _failed(said: str) -> list[str]:
    """The tests that pytest names as failed."""
    return re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.MULTILINE)


def _last(said: str) -> str:
    """The test that pytest names as failed, else its last line."""
    if found := _failed(said):
        return found[0]
    return next((line for line in reversed(said.splitlines()) if line.strip()), "")[:200]
