"""A core in another process, on the same database: told what to do line by line, and killed if need be.

As a program: ``python -m tests.integration.elsewhere DATABASE_URL MODULE...`` evaluates each line of its input, in
which ``bed`` is a ``Testbed`` with these barclamps, and prints what came out.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import crowbar_core
from crowbar_core import CrowbarError
from crowbar_core.testing import Testbed

ROOT = Path(__file__).parent.parent.parent


class Elsewhere:
    def __init__(self, database_url: str, *modules: str) -> None:
        command = [sys.executable, "-m", "tests.integration.elsewhere", database_url, *modules]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._read() == "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def begin(self, expression: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{expression}\n")
        self.process.stdin.flush()

    def __call__(self, expression: str) -> Any:
        """What the expression is there; JSON."""
        self.begin(expression)
        return self._read()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(60)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the other process has ended"
        return json.loads(line)


def main(database_url: str, *modules: str) -> None:
    loaded = [importlib.import_module(name) for name in modules]
    known = {**vars(crowbar_core), **{module.__name__.rpartition(".")[2]: module for module in loaded}}
    with Testbed(*loaded, database_url=database_url) as bed:
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            try:
                with bed.serving():
                    said = eval(line, {**known, "bed": bed})
            except CrowbarError as error:
                said = f"{type(error).__name__}: {error.detail}"
            print(json.dumps(said, default=repr), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
