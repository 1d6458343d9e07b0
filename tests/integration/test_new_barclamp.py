"""`crowbar barclamps new` makes a package that works at once; `check` says what is wrong before anybody is hurt."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crowbar_core.cli.new_barclamp import make_barclamp
from crowbar_core.errors import BadInput, CrowbarError, Refused
from crowbar_core.testing import check_barclamp, check_package
from tests.outside import python_path
from tests.public_names import insides

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
    """A new package, which may be imported by the test, and is forgotten after it. With a role, or what the test is
    parametrised with.
    """
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield make_barclamp("data-base", tmp_path, **getattr(request, "param", {}))
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "crowbar_data_base"]:
        del sys.modules[name]


RESOURCE, NAMED = {"resource": True}, {"resource": True, "noun": "power-switch"}
BOTH = pytest.mark.parametrize("made", [{}, RESOURCE], indirect=True, ids=["a role", "a resource"])
ALL = pytest.mark.parametrize("made", [{}, NAMED], indirect=True, ids=["a role", "a resource of power-switches"])


@pytest.mark.slow
@ALL
def test_the_tests_of_a_new_barclamp_pass_at_once(made: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-input", "--disable-pip-version-check"]
    installed = run(sys.executable, "-m", "pip", "install", *options, "--target", site, ".", cwd=made)
    assert installed.returncode == 0, installed.stderr
    files = [*site.rglob("crowbar_data_base/**/*.py"), *made.rglob("tests/*.py")]
    assert {"__init__.py", "test_data_base.py"} <= {path.name for path in files}
    assert insides(files) == {}, "an author outside the checkout has public names alone"
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


@pytest.mark.parametrize("made", [RESOURCE], indirect=True)
def test_a_new_resource_is_the_files_that_are_promised_in_less_than_270_lines(made: Path) -> None:
    package = made / "crowbar_data_base"
    files = {str(path.relative_to(package)): path.read_text() for path in package.rglob("*") if path.is_file()}
    assert sorted(files) == [
        "__init__.py", "commands.py", "items.py", "migrations/__init__.py", "migrations/versions/0001_items.py",
        "pages.py", "rest.py",
    ]  # fmt: skip
    assert sum(text.count("\n") for text in files.values()) < 270


@pytest.mark.parametrize(
    "name, more",
    [("x" * 40, {}), ("x" * 38 + "-y", RESOURCE), ("x" * 40, {"resource": True, "noun": "a-thing-of-24-characters"})],
)
def test_lines_are_short_and_in_order_whatever_the_names(tmp_path: Path, name: str, more: dict[str, Any]) -> None:
    made = make_barclamp(name, tmp_path, **more)
    ruff = [sys.executable, "-m", "ruff"]
    style = run(*ruff, "check", "--isolated", "--select=E,F,I,UP", "--line-length=120", ".", cwd=made)
    assert style.returncode == 0, style.stdout
    form = run(*ruff, "format", "--isolated", "--line-length=120", "--check", ".", cwd=made)
    assert form.returncode == 0, form.stdout


@pytest.mark.parametrize("made", [NAMED], indirect=True)
def test_table_path_page_command_and_titles_follow_the_noun(made: Path) -> None:
    package = made / "crowbar_data_base"
    assert '"data_base_power_switches"' in (package / "migrations/versions/0001_power_switches.py").read_text()
    table = (package / "power_switches.py").read_text()
    assert 'noun="power switch",\n    plural="power_switches"' in table
    assert "power_switches = db.Table(" in table
    assert "class NewPowerSwitch(Body)" in (package / "rest.py").read_text()
    assert 'power_switches = noun("power-switches", "Power switches.")' in (package / "commands.py").read_text()
    assert 'NavItem(label="Power switches", url="/power-switches")' in (package / "__init__.py").read_text()
    assert "Make a power switch" in (package / "pages.py").read_text()
    assert 'power-switches = "crowbar_data_base.commands:power_switches"' in (made / "pyproject.toml").read_text()
    said = "".join(path.read_text() for path in made.rglob("*") if path.is_file())
    assert "item" not in said
    assert "@" not in said.replace("@hookimpl", "").replace("@requires", "").replace("@pages", "").replace(
        "@creating", "").replace("@changing", "").replace("@deleting", "")  # fmt: skip


@pytest.mark.parametrize(
    "noun, says",
    [
        ("a--b", "two or more of the letters"),
        ("Label", "two or more of the letters"),
        ("x" * 25, "at most 24 characters"),
        ("class", "means something else"),
        ("page", "means something else"),
        ("node", "crowbar has a command nodes already"),
    ],
)
def test_a_noun_that_cannot_be_is_refused(tmp_path: Path, noun: str, says: str) -> None:
    with pytest.raises(CrowbarError, match=says):
        make_barclamp("mine", tmp_path, resource=True, noun=noun, taken=("nodes",))
    assert list(tmp_path.iterdir()) == []


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
         "The package brings a command 'lab', which cannot be loaded: ModuleNotFoundError: No module named 'gone'"),
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


@pytest.mark.parametrize("made", [RESOURCE], indirect=True)
def test_check_says_which_parts_of_a_resource_do_not_fit(made: Path) -> None:
    package = made / "crowbar_data_base"
    table, page, command = package / "items.py", package / "pages.py", package / "commands.py"
    right = {path: path.read_text() for path in (table, page, command)}
    unit = '    Column("unit", Integer),\n)\n\nITEMS'
    table.write_text(right[table].replace(")\n\nITEMS", unit).replace('"note", filter', '"note", "unit", filter'))
    add, options = 'add_list(items, RESOURCE, ("id", "name", "node", "note")', "add_show(items, RESOURCE, "
    wrong = (
        right[command]
        .replace(add, add.replace('"note"', '"nots"'))
        .replace(options, 'add_show(items, "data_bas_items", ')
    )
    command.write_text(wrong.replace('Given(name="note"', 'Given(name="notes"'))
    assert [one.detail for one in check_package(made)["data-base"]] == [
        "crowbar_data_base.items describes a column unit of the table data_base_items, which no migration makes.",
        "`crowbar data-base-items list` shows a column 'nots', which is none of the fields of data_base_items; did you "
        "mean note?",
        "`crowbar data-base-items show` asks for GET /api/v2/data_bas_items/NAME, which nobody answers; did you mean "
        "data_base_items?",
        "`crowbar data-base-items create` sends 'notes', which POST /api/v2/data_base_items does not take; did you "
        "mean note?",
        "`crowbar data-base-items update` sends 'notes', which PATCH /api/v2/data_base_items/NAME does not take; did "
        "you mean note?",
    ]
    forget()
    for path, text in right.items():
        path.write_text(text)
    page.write_text(right[page].replace('Column(name="note"', 'Column(name="unit"'))
    assert [one.detail for one in check_package(made)["data-base"]] == [
        "GET /data-base-items ends in an error: A column of this page shows 'unit', which its rows do not have; they "
        "have id, name, node_id, note, node."
    ]


@pytest.mark.parametrize("made", [RESOURCE], indirect=True)
def test_check_says_where_a_table_is_described_otherwise_than_it_is_made(made: Path) -> None:
    package = made / "crowbar_data_base"
    table, migration = package / "items.py", package / "migrations/versions/0001_items.py"
    table.write_text(
        table.read_text()
        .replace('Column("name", String(64)', 'Column("name", Integer')
        .replace('Column("node_id", Integer)', 'Column("node_id", Integer, nullable=False)')
        .replace(
            "db = Database()\n",
            'db = Database()\nother = db.Table("labels", Column("id", Integer, primary_key=True))\n',
        )
    )
    made_so = 'nullable=False, server_default=""),\n'
    migration.write_text(
        migration.read_text().replace(made_so, f'{made_so}        sa.Column("depth", sa.Float, nullable=False),\n')
        + '    op.create_table("labels", sa.Column("id", sa.Integer, primary_key=True))\n'
    )
    assert [(one.severity, one.detail) for one in check_package(made)["data-base"]] == [
        ("error", "crowbar_data_base.items describes the column name of the table data_base_items as Integer(); the "
         "migrations make it VARCHAR(length=64)."),
        ("warning", "The table labels, which crowbar_data_base.items describes, begins with the name of no barclamp "
         "and _, so that `crowbar db purge` would leave it: name it so."),
        ("warning", "crowbar_data_base.items says that the column node_id of the table data_base_items must be filled "
         "(nullable=False); as the migrations make it, it may be empty (nullable)."),
        ("warning", "The migrations make a column depth of the table data_base_items that must be filled and has no "
         "default; crowbar_data_base.items describes none."),
    ]  # fmt: skip


@pytest.mark.parametrize("made", [RESOURCE], indirect=True)
def test_check_says_which_field_of_a_body_does_not_fit_its_column(made: Path) -> None:
    rest = made / "crowbar_data_base/rest.py"
    rest.write_text(rest.read_text().replace("node_id: Reference |", "node_id: str |"))
    (problem,) = check_package(made)["data-base"]
    assert (problem.severity, problem.detail) == (
        "warning",
        "NewItem takes node_id as str, and the column node_id of data_base_items is Integer(): what it takes, it must "
        "not give that as it is.",
    )


@pytest.mark.parametrize("hook", ["", "data_of", "node_role_data"])
def test_check_says_what_a_script_asks_for_and_nobody_declared(made: Path, hook: str) -> None:
    script = made / "crowbar_data_base/scripts/data-base-hello/10-hello.sh"
    script.write_text(script.read_text() + '[ -z "$(read_attribute data-base/greting)" ] || fail "no greeting"\n')
    if hook:  # which can answer nothing else than what is declared
        module = made / "crowbar_data_base/__init__.py"
        module.write_text(f"{module.read_text()}\n\n@hookimpl\ndef {hook}():\n    return {{}}\n")
    (problem,) = check_package(made)["data-base"]
    assert (problem.severity, problem.detail) == (
        "warning",
        "10-hello.sh of role data-base-hello asks `read_attribute data-base/greting`, but no attribute that the role "
        "has or wants is there; did you mean data-base/greeting?",
    )


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
