"""Real nodes to run scripts on: a lab, and a jig that works from inside the lab's network."""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from crowbar_jig_script.jig import ScriptJig
from crowbar_lab.lab import Lab, LabNode
from crowbar_lab.testing import begin_inside

from crowbar_core import CrowbarError, Done, NodeView, Role, Task


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test with nodes runs in a thread inside the lab's network; threads that it starts are there, too."""
    if "lab" not in pyfuncitem.fixturenames:
        return None
    lab = pyfuncitem.funcargs["lab"]
    assert isinstance(lab, Lab)
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    begin_inside(lab, lambda: pyfuncitem.obj(**arguments)).result()
    return True


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.create(f"jig-{os.getpid()}", nodes=3, state_dir=tmp_path_factory.mktemp("lab"), owner=os.getpid()) as lab:
        yield lab


RUNS = itertools.count(1)
"""The numbers of runs: a node refuses one that is lower than what it has seen."""


class Log:
    """What a run wrote, with the time of each line."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str, str]] = []

    def __call__(self, line: str, /, *, stream: str = "crowbar") -> None:
        self.lines.append((time.monotonic(), stream, line))

    def of(self, stream: str) -> list[str]:
        return [line for _, of, line in self.lines if of == stream]


@dataclass(kw_only=True)
class Started:
    """A run under way."""

    log: Log
    cancelled: threading.Event
    outcome: Future[Done]

    @property
    def out(self) -> list[str]:
        return self.log.of("stdout")

    def result(self) -> Done:
        return self.outcome.result(timeout=60)

    def error(self) -> CrowbarError:
        problem = self.outcome.exception(timeout=60)
        assert isinstance(problem, CrowbarError), problem
        return problem


@dataclass(kw_only=True)
class Site:
    """One node and a jig with connections of its own."""

    lab: Lab
    name: str
    package: Path
    config: dict[str, Any]
    logins: int = 0
    jig: ScriptJig = field(init=False)

    def __post_init__(self) -> None:
        self.jig = ScriptJig(self.config)

    @property
    def node(self) -> LabNode:
        return self.lab.node(self.name)

    def view(self, **given: Any) -> NodeView:
        node = self.node
        known = {"addresses": (node.ipv4, node.ipv6), "host_keys": (node.host_key,), **given}
        return NodeView(id=node.number, name=node.name, **known)

    def scripts(self, scripts: Mapping[str, str], role: str = "r") -> None:
        folder = self.package / "scripts" / role
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, text in scripts.items():
            (folder / name).write_text(text)

    def task(self, log: Any, cancelled: Any, **given: Any) -> Task:
        view = given.pop("node", None) or self.view()
        known: dict[str, Any] = {
            "run_id": next(RUNS), "node_role_id": 1, "attempt": 1, "node": view,
            "address": next(iter(view.addresses), None),
            "role": Role(name="r", jig="script"), "barclamp": "b", "package": self.package.name, "deployment": "d",
            "data": {}, "timeout": 60.0, "refresh": False, "log": log, "cancelled": cancelled, **given,
        }  # fmt: skip
        return Task(**known)

    def start(self, scripts: Mapping[str, str] | str, **given: Any) -> Started:
        self.scripts({"10-only.sh": scripts} if isinstance(scripts, str) else scripts)
        log, cancelled = given.pop("log", None) or Log(), threading.Event()
        task = self.task(log, cancelled, **given)
        return Started(log=log, cancelled=cancelled, outcome=begin_inside(self.lab, lambda: self.jig.run(task)))

    def run(self, scripts: Mapping[str, str] | str, **given: Any) -> Started:
        started = self.start(scripts, **given)
        started.result()
        return started

    def fail(self, scripts: Mapping[str, str] | str, **given: Any) -> CrowbarError:
        return self.start(scripts, **given).error()

    def on_node(self, command: str) -> str:
        """What a command prints on the node, asked over a connection that is not the jig's."""
        asked = self.lab.exec(self.lab.ssh(self.name, [command]), capture_output=True, text=True, timeout=60)
        assert asked.returncode != 255, asked.stderr
        return str(asked.stdout)

    def running(self, mark: str) -> list[str]:
        """The processes of the node with the mark in their command line."""
        return self.on_node(f"pgrep -f '[{mark[0]}]{mark[1:]}'").split()

    def remains(self) -> list[str]:
        """What is left of runs. A shell that stands by has a folder there, and keeps the empty files of a few runs."""
        kept = r"\( -type d -name 'shell-*' -o -type f -empty \)"
        return self.on_node(rf"find /run/crowbar -mindepth 1 ! {kept} 2>/dev/null").split()


@pytest.fixture
def site(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with make_site(lab, tmp_path, monkeypatch) as made:
        yield made


class make_site:  # noqa: N801 - reads like the function that it is
    def __init__(
        self, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, node: int = 1, **config: Any
    ) -> None:
        package = tmp_path / f"barclamp_{os.urandom(4).hex()}"
        package.mkdir()
        (package / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path)
        config = {"key_file": str(lab.private_key), "kill_grace": 1.0, "lost_after": 15.0, **config}
        self.site = Site(lab=lab, name=lab.nodes[node].name, package=package, config=config)

    def __enter__(self) -> Site:
        return self.site

    def __exit__(self, *_: object) -> None:
        self.site.jig.close()


@pytest.fixture
def sites(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Site]]:
    """Makes sites on other nodes, or with other settings."""
    made: list[Site] = []

    def make(**given: Any) -> Site:
        made.append(make_site(lab, tmp_path, monkeypatch, **given).site)
        return made[-1]

    yield make
    for each in made:
        each.jig.close()


def sh(shell: list[str], program: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(shell, input=program, capture_output=True, timeout=60, check=False)
