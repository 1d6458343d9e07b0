"""What can be said of the code without running it, as tests, so that one summary tells it all."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from crowbar_core.cli.new_barclamp import make_barclamp
from tests.public_names import insides, reached

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


@pytest.mark.parametrize("plugin", sorted(path.name for path in ROOT.glob("plugins/*/")))
def test_the_tests_of_a_barclamp_use_public_names_only(plugin: str) -> None:
    public = frozenset({"crowbar_core.client", "crowbar_core.tables", "crowbar_core.testing"})
    assert insides(ROOT.glob(f"plugins/{plugin}/tests/**/*.py"), public) == {}


SCENARIOS = (
    "acceptance/test_installation.py",
    "acceptance/test_services.py",
    "acceptance/test_small_barclamp.py",
    "integration/test_a_thousand_nodes.py",
    "integration/test_inventory.py",
    "integration/test_other_processes.py",
    "integration/test_self_registration.py",
)
"""What is promised to authors, played as an author would."""


def test_scenarios_and_their_barclamps_use_public_names_only() -> None:
    used = reached(ROOT / "tests" / name for name in SCENARIOS)
    assert {path.name for path in used} >= {"processes.py", "elsewhere.py", "outside.py", "taster.py"}
    used.add(ROOT / "tests/integration/cellar.py")
    packages = [*ROOT.glob("tests/acceptance/barclamp/*/")]
    assert {path.name for path in packages} >= {"crowbar_faults", "crowbar_installing"}
    used |= {path for package in packages for path in package.rglob("*.py")}
    assert insides(used) == {}


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


def test_what_a_test_reaches_through_others_is_found(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text("from tests.acceptance import processes\nfrom tests.services import RedisServer\n")
    assert {path.name for path in reached([test])} == {"test_it.py", "processes.py", "outside.py", "services.py"}


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
