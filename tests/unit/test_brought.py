"""Commands of installed packages: names come from the metadata, and nothing is imported but what is called."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from crowbar_core.cli.root import COMMANDS, root
from crowbar_core.testing import Testbed

WHISTLE = """
import click
print("noise")
@click.command("whistle")
def whistle():
    "Whistle a tune."
    click.echo("tweet")
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution of one module on the path, as pip would leave it there."""
    for name in [name for name in os.environ if name.startswith("CROWBAR_")]:
        monkeypatch.delenv(name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def install(distribution: str, text: str = "", *, commands: str = "", barclamps: str = "") -> None:
        module = distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\nSummary: What {distribution} is for\n"
        )
        (info / "entry_points.txt").write_text(f"[crowbar.commands]\n{commands}\n[crowbar.barclamps]\n{barclamps}\n")

    yield install
    for name in set(sys.modules) - before:
        if name.startswith("dist_"):
            del sys.modules[name]


def crowbar(*args: str) -> Result:
    return CliRunner().invoke(root, args, prog_name="crowbar")


def test_help_lists_what_packages_bring_and_imports_none_of_it(install: Install) -> None:
    install("dist-a", "raise AssertionError('imported')", commands="whistle = dist_a:whistle\ndrum = dist_a:drum")
    listed = crowbar("--help")
    assert listed.exit_code == 0, listed.output
    section = listed.stdout.partition("Commands of barclamps:")[2]
    assert "dist-a: What dist-a is for\n    drum, whistle\n" in section, "each package says once what it is for"
    assert "dist_a" not in sys.modules
    assert listed.stderr == ""


def test_a_command_is_imported_when_it_is_called_and_its_noise_is_no_output(install: Install) -> None:
    install("dist-a", WHISTLE, commands="whistle = dist_a:whistle")
    install("dist-b", "raise AssertionError('imported')", commands="bell = dist_b:bell")
    done = crowbar("whistle")
    assert (done.exit_code, done.stdout) == (0, "tweet\n")
    assert "Whistle a tune." in crowbar("whistle", "--help").stdout
    assert "dist_b" not in sys.modules


LOOKING = """
import click
from crowbar_core import cluster
@click.command("whistle")
def whistle():
    click.echo(len(cluster().nodes()))
"""
NO_CLUSTER = (
    "A command runs where an operator is, without the database: it asks the server, with connect() of "
    "crowbar_core.commands). This is a fault of Crowbar's, or of the package that brings the command: "
)


def test_in_a_command_no_cluster_answers_and_the_way_out_is_said(install: Install, tmp_path: Path) -> None:
    install("dist-a", LOOKING, commands="whistle = dist_a:whistle")
    done = crowbar("whistle")
    assert (done.exit_code, done.stdout) == (1, "")
    assert NO_CLUSTER in done.stderr
    with Testbed(data_dir=str(tmp_path)) as bed, bed.serving():
        assert bed.cli("whistle").stderr == done.stderr, "where a test would have one, it does not answer either"


@pytest.mark.parametrize(
    "text, says",
    [
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        ("", "cannot be loaded: AttributeError"),
        ("whistle = 5", "is 5, which is no click command of that name"),
        ("import click\nwhistle = click.Command('bell')", "which is no click command of that name"),
    ],
)
def test_a_command_that_cannot_be_had_is_one_sentence_when_it_is_called(install: Install, text: str, says: str) -> None:
    install("dist-a", text, commands="whistle = dist_a:whistle")
    assert "whistle" in crowbar("--help").stdout
    done = crowbar("whistle")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert says in done.stderr


def test_no_package_takes_the_name_of_another_command(install: Install) -> None:
    install("dist-a", WHISTLE, commands="whistle = dist_a:whistle\nnodes = dist_a:whistle")
    install("dist-b", "raise AssertionError('imported')", commands="whistle = dist_b:whistle")
    listed = crowbar("--help")
    assert listed.stderr.splitlines() == [
        "dist-a brings a command 'nodes', which exists already; it is left out.",
        "dist-b brings a command 'whistle', which exists already; it is left out.",
    ]
    assert crowbar("whistle").stdout == "tweet\n"


@pytest.mark.parametrize(
    "disabled, there", [("", True), ("one", True), ("one,two", False)], ids=["none", "one of two", "both"]
)
def test_commands_of_a_package_go_when_all_its_barclamps_are_disabled(
    install: Install, monkeypatch: pytest.MonkeyPatch, disabled: str, there: bool
) -> None:
    install("dist-a", WHISTLE, commands="whistle = dist_a:whistle", barclamps="one = dist_a\ntwo = dist_a")
    monkeypatch.setenv("CROWBAR_DISABLED_BARCLAMPS", disabled)
    assert ("whistle" in crowbar("--help").stdout) == there
    assert (crowbar("whistle").exit_code == 0) == there


def test_safe_mode_knows_the_core_s_own_commands_alone(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("dist-a", WHISTLE, commands="whistle = dist_a:whistle")
    monkeypatch.setenv("CROWBAR_SAFE_MODE", "true")
    assert "Commands of barclamps" not in crowbar("--help").stdout
    assert crowbar("whistle").exit_code == 2


def test_a_misspelt_name_is_answered_with_the_nearest_one(install: Install) -> None:
    install("dist-a", "raise AssertionError('imported')", commands="whistle = dist_a:whistle")
    done = crowbar("wistle")
    assert done.exit_code == 2
    assert "There is no command 'wistle'. Did you mean `whistle`?" in done.stderr


def test_settings_that_cannot_be_read_take_no_command_of_the_core_s_along(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROWBAR_SAFE_MODE", "perhaps")
    listed = crowbar("--help")
    assert listed.exit_code == 0
    assert "The barclamps' commands are missing: CROWBAR_SAFE_MODE is 'perhaps'" in listed.stderr


def test_completion_offers_names_and_imports_no_command() -> None:
    code = (
        "import sys\nfrom crowbar_core.cli.root import root\n"
        "try:\n    root.main([], prog_name='crowbar')\nexcept SystemExit:\n    pass\n"
        "print(sorted(name for name in sys.modules if name.startswith(('crowbar_core.cli', 'crowbar_lab'))))"
    )
    asked = {"_CROWBAR_COMPLETE": "bash_complete", "COMP_WORDS": "crowbar no", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, **asked},
    )
    *offered, imported = done.stdout.splitlines()
    assert offered == [f"plain,{name}" for name in sorted(COMMANDS) if name.startswith("no")]
    assert "crowbar_core.cli.nodes" not in imported
    assert "crowbar_lab" not in imported
