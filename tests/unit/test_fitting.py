"""What a check says of parts that do not fit each other, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from crowbar_core.cli.context import Noun
from crowbar_core.cli.root import COMMANDS, root
from crowbar_core.settings import Settings
from crowbar_core.testing.fitting import wrong_commands
from crowbar_core.testing.scripts import _asked
from crowbar_core.web.app import create_app

TOLD = [("motd", "text"), ("motd", "members"), ("kernel",)]


@pytest.mark.parametrize(
    "script, asks",
    [
        ("read_attribute motd/text", []),
        ("read_attribute /motd/text/", []),
        ("read_attribute motd", []),
        ("read_attribute kernel/0/node", []),
        ("read_attribute ''", []),
        ("read_attribute motd/texts", ["motd/texts"]),
        ('echo "$(read_attribute motd/texts)" >/etc/motd', ["motd/texts"]),
        ("x=`read_attribute 'motd/texts'`", ["motd/texts"]),
        ("if has_attribute motd/shout; then :; fi", ["motd/shout"]),
        ("for one in $(get_keys members); do :; done", ["members"]),
        ('sh "$CROWBAR_CALL" read_attribute motd/texts', ["motd/texts"]),
        ('read_attribute "motd/members/$one/name"', []),
        ('read_attribute "members/$one/name"', ["members/$one/name"]),
        ('read_attribute "$path"', []),
        ('read_attribute "mot$d/x"', []),
        ("# read_attribute motd/texts", []),
        ('echo "no read_attribute here"', []),
        ("write_attribute motd/texts x", []),
    ],
)
def test_a_script_asks_for_what_is_told_to_its_role(tmp_path: Path, script: str, asks: list[str]) -> None:
    (tmp_path / "10.sh").write_text(f"set -eu\n{script}\n")
    assert [path for _, path in _asked(tmp_path / "10.sh", TOLD)] == asks


def test_a_script_of_a_role_that_is_told_nothing_asks_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "10.sh").write_text("read_attribute motd\nread_attribute ''\nread_attribute \"$x\"\n")
    assert [path for _, path in _asked(tmp_path / "10.sh", [])] == ["motd"]


def test_what_the_cores_own_commands_ask_for_is_answered(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=str(tmp_path), safe_mode=True))
    try:
        top = click.Context(root)
        nouns = [one for name in COMMANDS if isinstance(one := root.get_command(top, name), Noun)]
        assert sum(len(one.calls) for one in nouns) > 30
        assert list(wrong_commands(nouns, app, lambda: app)) == []
    finally:
        app.extensions["crowbar"].close()
