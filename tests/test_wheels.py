"""The packages as a user gets them: built as wheels, installed into an empty virtual environment, and started."""

import json
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

import pytest
import requests

from tests.services import free_port, wait_until

ROOT = Path(__file__).parent.parent
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheels"), pytest.mark.timeout(900)]


def run(command: Sequence[str | Path], cwd: Path) -> str:
    """Its standard output. Nothing of the checkout or of the environment the tests run in is in its way."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, (
        f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    return done.stdout


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment, and an empty directory to start programs in."""

    path: Path
    cwd: Path

    def run(self, program: str, *arguments: str | Path) -> str:
        return run([self.path / "bin" / program, *arguments], self.cwd)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheels of the core and of every plugin, by distribution name."""
    target = tmp_path_factory.mktemp("wheels")
    built = {}
    for project in PROJECTS:
        before = set(target.iterdir())
        run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, project], ROOT)
        (wheel,) = set(target.iterdir()) - before
        built[wheel.name.split("-")[0].replace("_", "-")] = wheel
    return built


@pytest.fixture(scope="module")
def core_alone(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return install(["crowbar-core"], wheels, tmp_path_factory.mktemp("core-alone"))


@pytest.fixture(scope="module")
def core_with_script_jig(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return install(["crowbar-core", "crowbar-jig-script"], wheels, tmp_path_factory.mktemp("core-with-script-jig"))


def install(names: list[str], wheels: dict[str, Path], directory: Path) -> Environment:
    """An empty environment with these distributions from our wheels, and what they depend on from the package index."""
    venv.create(directory / "venv", with_pip=True, symlinks=True)
    (directory / "cwd").mkdir()
    environment = Environment(path=directory / "venv", cwd=directory / "cwd")
    # The index must not be asked for our own names: whoever owns them there would otherwise be installed instead.
    environment.run("pip", "install", "--quiet", "--no-input", *(wheels[name] for name in names))
    return environment


def test_every_project_becomes_a_wheel_with_its_data_and_nothing_else(wheels: dict[str, Path]) -> None:
    for project in PROJECTS:
        name = "crowbar-core" if project == ROOT else project.name
        with (project / "pyproject.toml").open("rb") as file:
            packages = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        assert name.replace("-", "_") in packages
        inside = set(zipfile.ZipFile(wheels[name]).namelist())
        sources = {
            str(path.relative_to(project))
            for package in packages
            for path in (project / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert {f"{package}/__init__.py" for package in packages} <= sources
        assert {path for path in inside if ".dist-info/" not in path} == sources
    assert "crowbar_core/py.typed" in zipfile.ZipFile(wheels["crowbar-core"]).namelist()


def test_a_wheel_carries_the_licence(wheels: dict[str, Path]) -> None:
    for wheel in wheels.values():
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            metadata = HeaderParser().parsestr(archive.read(name).decode())
        assert metadata["License-Expression"] == "Apache-2.0"
    names = zipfile.ZipFile(wheels["crowbar-core"]).namelist()
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]


def test_the_core_alone_brings_a_working_command(core_alone: Environment) -> None:
    assert "0.1.0" in core_alone.run("crowbar", "--version")
    assert "Usage: crowbar" in core_alone.run("crowbar", "--help")
    core_alone.run("pip", "check")


def test_the_core_alone_needs_no_plugin_and_no_celery(core_alone: Environment) -> None:
    installed = core_alone.run("pip", "list", "--format=freeze").lower()
    assert "crowbar-core==" in installed
    for name in ("crowbar-jig-script", "fabric", "celery", "redis", "pytest", "hypothesis"):
        assert f"{name}==" not in installed


def test_core_and_script_jig_bring_a_working_command(core_with_script_jig: Environment) -> None:
    assert "0.1.0" in core_with_script_jig.run("crowbar", "--version")
    assert "Usage: crowbar" in core_with_script_jig.run("crowbar", "--help")
    core_with_script_jig.run("pip", "check")


def test_the_installed_script_jig_can_be_loaded(core_with_script_jig: Environment) -> None:
    code = """
from importlib.metadata import entry_points
for group in ("crowbar.barclamps", "crowbar.jigs"):
    for point in entry_points(group=group):
        point.load()
        print(group, point.name)
"""
    assert set(core_with_script_jig.run("python", "-c", code).splitlines()) == {
        "crowbar.barclamps jig-script",
        "crowbar.jigs noop",
        "crowbar.jigs python",
        "crowbar.jigs script",
    }


TINY = '''
"""A barclamp of one file, as somebody might try out with the core alone."""
from pathlib import Path

from crowbar_core import Barclamp, Role, hookimpl


def greet(task):
    Path(task.node.name).write_text("was here")


@hookimpl
def register_barclamp():
    return Barclamp(
        name="tiny",
        roles=(
            Role(name="tiny-mark", jig="noop"),
            Role(name="tiny-greet", jig="python", run=greet, requires=("tiny-mark",)),
        ),
    )
'''


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def test_the_core_alone_serves_its_pages_and_anneals_noop_and_python_roles(core_alone: Environment) -> None:
    tiny = core_alone.cwd / "tiny"
    (tiny / "tiny-1.dist-info").mkdir(parents=True)
    (tiny / "tiny.py").write_text(TINY)
    (tiny / "tiny-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
    (tiny / "tiny-1.dist-info" / "entry_points.txt").write_text("[crowbar.barclamps]\ntiny = tiny\n")
    url = f"http://127.0.0.1:{free_port()}"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    env |= {"PYTHONPATH": str(tiny), "CROWBAR_DATA_DIR": str(core_alone.cwd / "data"), "HOME": str(core_alone.cwd)}
    env |= {"CROWBAR_LISTEN": url.removeprefix("http://"), "CROWBAR_URL": url, "CROWBAR_USER": "admin"}
    crowbar = core_alone.path / "bin" / "crowbar"
    with (core_alone.cwd / "log").open("wb") as log:
        server = subprocess.Popen([crowbar, "serve"], cwd=core_alone.cwd, env=env, stdout=log, stderr=log)
    try:
        wait_until(lambda: answers(f"{url}/readyz"), seconds=60, what="the server")
        said = (core_alone.cwd / "log").read_text()
        env["CROWBAR_PASSWORD"] = said.partition("with the password ")[2].split()[0]

        def ask(*arguments: str) -> str:
            done = subprocess.run(
                [crowbar, *arguments],
                cwd=core_alone.cwd,
                env=env,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, f"crowbar {' '.join(arguments)}: {done.stdout}{done.stderr}"
            return done.stdout

        assert "tiny-greet" in ask("roles", "list")
        ask("nodes", "create", "one.example.test")
        ask("nodes", "update", "one.example.test", "--alive", "--available")
        ask("deployments", "create", "try")
        ask("nodes", "bind", "one.example.test", "tiny-greet", "--deployment", "try")
        ask("deployments", "commit", "try")
        ask("converge", "--timeout", "60")
        assert (core_alone.cwd / "one.example.test").read_text() == "was here"
        states = json.loads(ask("noderoles", "list", "--format", "json"))
        assert {one["state_name"] for one in states} == {"ACTIVE"}
        page = requests.get(f"{url}/", timeout=60)
        assert page.ok
        assert "<title>" in page.text
    finally:
        server.terminate()
        assert server.wait(40) == 0, (core_alone.cwd / "log").read_text()
