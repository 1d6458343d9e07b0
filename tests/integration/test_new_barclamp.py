"""`crowbar barclamps new` makes a package that works at once; `check` says what is wrong before anybody is hurt."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crowbar_core.cli.new_barclamp import make_barclamp
from crowbar_core.errors import BadInput, CrowbarError, Refused
from crowbar_core.testing import check_barclamp, check_package
from tests.services import python_path

CROWBAR = [sys.executable, "-m", "crowbar_core.cli"]


def run(*line: str | Path, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CROWBAR_"))}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    if path is not None:
        environment["PYTHONPATH"] = python_path(path)
    return subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False)


def crowbar(cwd: Path, *words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    return run(*CROWBAR, *words, cwd=cwd, path=path)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A new package, which may be imported by the test, and is forgotten after it. With a role, or, for a test that is
    parametrised with True, with a resource.
    """
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield make_barclamp("data-base", tmp_path, resource=getattr(request, "param", False))
    for name in [name for name in sys.modules if name.partition(".")[0] == "crowbar_data_base"]:
        del sys.modules[name]


BOTH = pytest.mark.parametrize("made", [False, True], indirect=True, ids=["a role", "a resource"])


@pytest.mark.slow
@BOTH
def test_the_tests_of_a_new_barclamp_pass_at_once(made: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-input", "--disable-pip-version-check"]
    installed = run(sys.executable, "-m", "pip", "install", *options, "--target", site, ".", cwd=made)
    assert installed.returncode == 0, installed.stderr
    tested = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=made, path=site)
    assert tested.returncode == 0, tested.stdout
    assert "4 passed" in tested.stdout
    checked = crowbar(tmp_path, "barclamps", "check", "data-base", path=site)
    assert (checked.returncode, checked.stderr.strip()) == (0, "data-base: nothing is wrong.")


def test_a_new_barclamp_is_the_files_that_are_promised(made: Path) -> None:
    files = sorted(str(path.relative_to(made)) for path in made.rglob("*") if path.is_file())
    assert files == [
        ".gitignore",
        "README.md",
        "crowbar_data_base/__init__.py",
        "crowbar_data_base/scripts/data-base-hello/10-hello.sh",
        "pyproject.toml",
        "tests/test_data_base.py",
    ]
    assert not [path for path in made.rglob("*") if path.is_file() and "@NAME@" in path.read_text()]


@pytest.mark.parametrize("made", [True], indirect=True)
def test_a_new_resource_is_the_files_that_are_promised_in_less_than_250_lines(made: Path) -> None:
    package = made / "crowbar_data_base"
    files = {str(path.relative_to(package)): path.read_text() for path in package.rglob("*") if path.is_file()}
    assert sorted(files) == [
        "__init__.py", "commands.py", "items.py", "migrations/__init__.py", "migrations/versions/0001_items.py",
        "pages.py", "rest.py",
    ]  # fmt: skip
    assert sum(text.count("\n") for text in files.values()) < 250
    style = run(
        sys.executable, "-m", "ruff", "check", "--isolated", "--select=E,F,I,UP", "--line-length=120", ".", cwd=made
    )
    assert style.returncode == 0, style.stdout


@BOTH
def test_a_new_barclamp_is_checked_before_it_is_installed(made: Path) -> None:
    checked = crowbar(made, "barclamps", "check", ".")
    assert (checked.returncode, checked.stderr.strip()) == (0, "data-base: nothing is wrong.")


@pytest.mark.parametrize(
    "name, says",
    [
        ("", "two or more of the letters"),
        ("../evil", "two or more of the letters"),
        ("a/b", "two or more of the letters"),
        ("/tmp/x", "two or more of the letters"),
        ("Upper", "two or more of the letters"),
        ("1st", "two or more of the letters"),
        ("a--b", "two or more of the letters"),
        ("ends-", "two or more of the letters"),
        ("new\nline", "two or more of the letters"),
        ("$(id)", "two or more of the letters"),
        ("{{7*7}}", "two or more of the letters"),
        ("ｆullwidth", "two or more of the letters"),
        ("x" * 65_000, "at most 40 characters"),
        ("crowbar-dns", "Leave crowbar- out of the name"),
        ("core", "may not be called core"),
        ("example", "is installed already"),
    ],
)
def test_a_bad_name_is_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(CrowbarError, match=says):
        make_barclamp(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_one_sentence_on_the_command_line(tmp_path: Path) -> None:
    done = crowbar(tmp_path, "barclamps", "new", "../evil")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("Error: The name of a barclamp is")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "crowbar-mine").symlink_to("/nonexistent")
    with pytest.raises(Refused, match="crowbar-mine already"):
        make_barclamp("mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["crowbar-mine"]


def test_a_directory_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"There is no directory .*nowhere"):
        make_barclamp("mine", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "file, old, new, says",
    [
        ("crowbar_data_base/__init__.py", 'jig="script"', 'jig="scirpt"', "names the jig 'scirpt'"),
        ("crowbar_data_base/__init__.py", "def on_active", "def on_actve", "did you mean on_active?"),
        ("crowbar_data_base/__init__.py", '{"type": "boolean"}', '{"type": "bool"}', "invalid schema"),
        ("crowbar_data_base/__init__.py", "default=False", 'default="no"', "breaks the rule type"),
        ("crowbar_data_base/__init__.py", 'wants=("data-base-greeting",)', 'wants=("data-base-greting",)',
         "did you mean data-base-greeting?"),
        ("crowbar_data_base/__init__.py", 'Barclamp(name="data-base"', 'Barclamp(name="database"',
         "but its entry point 'data-base'"),
        ("crowbar_data_base/__init__.py", "from crowbar_core import", "from crowbar_croe import",
         "No module named 'crowbar_croe'"),
        ("crowbar_data_base/scripts/data-base-hello/10-hello.sh", "set -eu", "if true", "cannot be read by sh"),
        ("pyproject.toml", '= "crowbar_data_base"', '= "crowbar_data_bass"', "cannot be imported"),
        ("pyproject.toml", "crowbar.barclamps", "crowbar.barclamp", "names no barclamp"),
        ("pyproject.toml", "[project]", "[project", "is not TOML"),
        ("pyproject.toml", "[tool.hatch", '[project.entry-points."crowbar.commands"]\nlab = "os:path"\n\n[tool.hatch',
         "which is no click command of that name"),
        ("pyproject.toml", "[tool.hatch", '[project.entry-points."crowbar.commands"]\nlab = "gone:lab"\n\n[tool.hatch',
         "The command lab of The package cannot be loaded: ModuleNotFoundError: No module named 'gone'"),
        ("pyproject.toml", "[tool.hatch",
         '[project.entry-points."crowbar.commands"]\nnodes = "crowbar_core.cli.nodes:nodes"\n\n[tool.hatch',
         "It brings a command 'nodes', which crowbar has already"),
    ],
)  # fmt: skip
def test_check_says_what_is_wrong_with_a_package(made: Path, file: str, old: str, new: str, says: str) -> None:
    path = made / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    try:
        said = [problem.detail for problem in check_package(made, taken_commands=("nodes",))["data-base"]]
    except BadInput as error:
        said = [error.detail]
    assert says in said[0]
    assert not any("\n" in one for one in said)


def test_what_a_barclamp_prints_is_no_part_of_the_answer(made: Path) -> None:
    module = made / "crowbar_data_base/__init__.py"
    module.write_text(
        module.read_text().replace("@hookimpl\ndef register", "print('noise')\n\n\n@hookimpl\ndef register")
        + '\n\n@hookimpl\ndef register_periodic():\n    print("more noise")\n    return []\n'
    )
    done = crowbar(made, "barclamps", "check", ".", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert [(one["barclamp"], one["severity"]) for one in json.loads(done.stdout)] == [("data-base", "warning")]
    assert "prints while it is imported" in done.stdout


def test_nobody_of_that_name_is_said_with_those_there_are(tmp_path: Path) -> None:
    (problem,) = check_barclamp("nobody")
    assert "neither an installed barclamp nor a module" in problem.detail
    done = crowbar(tmp_path, "barclamps", "check", "nobody")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_half_a_package_is_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def write_text(path: Path, text: str, **_options: str) -> int:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        return len(text)

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(Refused, match="cannot be made: No space left on device"):
        make_barclamp("mine", tmp_path)
    assert len(written) == 3
    assert list(tmp_path.iterdir()) == []
