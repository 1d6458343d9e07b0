"""What can be said of the code without running it, as tests, so that one summary tells it all."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("plugin", sorted(path.name for path in ROOT.glob("plugins/*/")))
def test_the_tests_of_a_barclamp_use_public_names_only(plugin: str) -> None:
    for path in ROOT.glob(f"plugins/{plugin}/tests/**/*.py"):
        insides = {name for name in imported_modules(path) if name.startswith("crowbar_core.")} - {
            "crowbar_core.client", "crowbar_core.tables", "crowbar_core.testing",
        }  # fmt: skip
        assert not insides, f"{path.relative_to(ROOT)} imports {', '.join(sorted(insides))}"


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
