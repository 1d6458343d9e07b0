"""What can be said of the code without running it, as tests, so that one summary tells it all."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import crowbar_core
from crowbar_core.cli.new_barclamp import make_barclamp

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280, check=False
    )


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check"], id="ruff finds nothing to object to"),
        pytest.param(["ruff", "format", "--check"], id="the code is formatted"),
        pytest.param(["mypy"], id="the types hold"),
        pytest.param(["lint-imports", "--cache-dir", ".cache/import-linter"], id="the layers hold"),
    ],
)
def test_static_check(command: list[str]) -> None:
    done = run(BIN / command[0], *command[1:])
    assert done.returncode == 0, f"{' '.join(command)} says:\n{done.stdout}"


def test_importing_crowbar_core_loads_neither_flask_nor_sqlalchemy() -> None:
    code = "import sys, crowbar_core; print(sorted({'flask', 'sqlalchemy', 'werkzeug', 'celery'} & set(sys.modules)))"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"


def test_import_linter_watches_every_package_of_the_checkout() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    plugins = {path.parent.name for path in ROOT.glob("plugins/*/crowbar_*/__init__.py")}
    assert {"crowbar_core"} | plugins == set(config["root_packages"])
    by_name = {contract["name"]: contract for contract in config["contracts"]}
    public_names_only = by_name["A barclamp uses the public names of crowbar_core, never its insides"]
    assert plugins == set(public_names_only["source_modules"])
    assert plugins == set(by_name["Barclamps do not import each other"]["modules"])


def imported_modules(path: Path) -> set[str]:
    found = set()
    for item in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(item, ast.Import):
            found |= {alias.name for alias in item.names}
        elif isinstance(item, ast.ImportFrom) and item.module:
            found.add(item.module)
    return found


def names_of_the_core(path: Path) -> set[str]:
    """What a file takes from ``crowbar_core`` that its public names are not: a module, as a rule."""
    taken = {
        alias.name
        for item in ast.walk(ast.parse(path.read_text(), path))
        if isinstance(item, ast.ImportFrom) and item.module == "crowbar_core"
        for alias in item.names
    }
    return taken - set(crowbar_core.__all__)


KITS = {f"crowbar_core.{name}" for name in ("client", "commands", "pages", "rest", "tables", "testing")}


def insides(paths: Iterable[Path], public: set[str] = KITS) -> dict[str, list[str]]:
    """What these files import of the core's that is not public."""
    found = {}
    for path in paths:
        hidden = {name for name in imported_modules(path) if name.startswith("crowbar_core.")} - public
        hidden |= {f"crowbar_core.{name}" for name in names_of_the_core(path)} - public
        if hidden:
            found[path.name] = sorted(hidden)
    return found


@pytest.mark.parametrize("plugin", sorted(path.name for path in ROOT.glob("plugins/*/")))
def test_the_tests_of_a_barclamp_use_public_names_only(plugin: str) -> None:
    public = {"crowbar_core.client", "crowbar_core.tables", "crowbar_core.testing"}
    assert insides(ROOT.glob(f"plugins/{plugin}/tests/**/*.py"), public) == {}


def test_the_barclamps_of_the_tests_use_public_names_only() -> None:
    paths = [ROOT / "tests/integration/cellar.py", ROOT / "tests/integration/taster.py"]
    packages = [*ROOT.glob("tests/acceptance/barclamp/*/")]
    assert {path.name for path in packages} >= {"crowbar_faults", "crowbar_installing"}
    assert insides([*paths, *(one for package in packages for one in package.rglob("*.py"))]) == {}


@pytest.mark.parametrize("more", [{}, {"resource": True}], ids=["a role", "a resource"])
def test_a_new_barclamp_uses_public_names_only(more: dict[str, Any], tmp_path: Path) -> None:
    made = [*make_barclamp("mine", tmp_path, **more).rglob("*.py")]
    assert len(made) >= 2
    assert insides(made) == {}


def test_what_is_not_public_is_found_however_it_is_imported(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden.py"
    hidden.write_text(
        "import crowbar_core.store\nfrom crowbar_core.errors import Refused\n"
        "from crowbar_core import Role, rest, services\n"
    )
    assert insides([hidden]) == {"hidden.py": ["crowbar_core.errors", "crowbar_core.services", "crowbar_core.store"]}


def test_every_dependency_says_what_it_is_for() -> None:
    for path in [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]:
        text = path.read_text()
        for requirement in tomllib.loads(text)["project"].get("dependencies", []):
            line = next(line for line in text.splitlines() if f'"{requirement}"' in line)
            assert "#" in line, f"{path.relative_to(ROOT)}: say in a comment what {requirement} is for"


@pytest.mark.parametrize("script", ["dev", ".ci/run"])
def test_the_shell_can_read_its_scripts(script: str) -> None:
    done = run("bash", "-n", script)
    assert done.returncode == 0, done.stdout
    assert (ROOT / script).stat().st_mode & 0o111, f"{script} must be executable"
