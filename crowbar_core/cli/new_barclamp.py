"""`crowbar barclamps new` and `check`: a package that works at once, and what is wrong with one before it is used."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import click

from crowbar_core.barclamp import Problem
from crowbar_core.cli import output as out
from crowbar_core.cli.context import Noun, output
from crowbar_core.cli.errors import FAILED
from crowbar_core.errors import BadInput, Refused

GROUP = "crowbar.barclamps"
PREFIX = "crowbar-"
LONGEST = 40
RESERVED = frozenset(("core", "crowbar", "test", "tests", "testing"))
_NAME = re.compile(r"[a-z](?:[a-z0-9]|-(?!-))*[a-z0-9]", re.ASCII)
TEMPLATES = "new_barclamp_files"
FILES: Mapping[str, str] = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "gitignore.txt": ".gitignore",
    "package.py.txt": "crowbar_@MODULE@/__init__.py",
    "script.sh.txt": "crowbar_@MODULE@/scripts/@NAME@-hello/10-hello.sh",
    "test.py.txt": "tests/test_@MODULE@.py",
}
"""Template -> where it goes in the new package."""
WITH_RESOURCE: Mapping[str, str] = {
    "resource/pyproject.toml.txt": "pyproject.toml",
    "resource/README.md.txt": "README.md",
    "gitignore.txt": ".gitignore",
    "resource/package.py.txt": "crowbar_@MODULE@/__init__.py",
    "resource/migrations.py.txt": "crowbar_@MODULE@/migrations/__init__.py",
    "resource/migration.py.txt": "crowbar_@MODULE@/migrations/versions/0001_items.py",
    "resource/items.py.txt": "crowbar_@MODULE@/items.py",
    "resource/rest.py.txt": "crowbar_@MODULE@/rest.py",
    "resource/pages.py.txt": "crowbar_@MODULE@/pages.py",
    "resource/commands.py.txt": "crowbar_@MODULE@/commands.py",
    "resource/test.py.txt": "tests/test_@MODULE@.py",
}
"""The same of a barclamp with a table of its own, in place of a role."""


def add_new(group: Noun) -> None:
    """`crowbar barclamps new NAME`"""

    @group.verb("new", help="Make the package of a new barclamp: a directory crowbar-NAME whose tests pass.")
    @click.argument("name")
    @click.option("--directory", default=".", metavar="DIR", help="Where to make it (here unless said).")
    @click.option("--resource", is_flag=True, help="With a table, a REST resource, a page and a command, and no role.")
    def new(name: str, directory: str, resource: bool) -> None:
        made = make_barclamp(name, Path(directory), resource=resource)
        if output() != "table":
            out.data({"name": name, "path": str(made)}, output())
        out.say(f"Made {made}. Next: cd {made} && pip install -e '.[test]' && pytest")


def add_check(group: Noun, commands: Sequence[str] = ()) -> None:
    """`crowbar barclamps check [NAME|PATH]...`; ``commands`` are those that crowbar has itself."""

    @group.verb("check", help="Say what is wrong with barclamps: installed ones (all unless named), or directories.")
    @click.argument("what", nargs=-1, metavar="[NAME|DIR]...")
    def check(what: tuple[str, ...]) -> None:
        rows: list[dict[str, str]] = []
        with contextlib.redirect_stdout(sys.stderr):  # what barclamps print is no part of the answer
            found = {name: problems for one in what or _installed() for name, problems in _check(one, commands).items()}
        for name, problems in found.items():
            rows += [{"barclamp": name, "severity": one.severity, "detail": one.detail} for one in problems]
            if not problems:
                out.say(f"{name}: nothing is wrong.")
        if rows or output() != "table":
            out.rows(rows, ("barclamp", "severity", "detail"), output())
        if not found:
            out.say("No barclamp is installed.")
        if any(row["severity"] == "error" for row in rows):
            raise click.exceptions.Exit(FAILED)


def make_barclamp(name: str, directory: Path, *, resource: bool = False) -> Path:
    """Make the package, all of it or nothing: with a role, or with a ``resource``. Returns its directory. Raises
    ``BadInput``, ``Refused``.
    """
    _refuse_bad_name(name)
    target = directory / f"{PREFIX}{name}"
    if not directory.is_dir():
        raise Refused(f"There is no directory {directory}. Make it first, or give another with --directory.")
    if os.path.lexists(target):
        raise Refused(f"There is a {target} already. Choose another name, or remove it first.")
    if any(entry.name == name for entry in metadata.entry_points(group=GROUP)):
        raise Refused(f"A barclamp {name} is installed already. Choose another name.")
    words = {"@NAME@": name, "@MODULE@": name.replace("-", "_")}
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{PREFIX}{name}-", dir=directory))
        try:
            for template, place in (WITH_RESOURCE if resource else FILES).items():
                text = (resources.files(__package__) / TEMPLATES / template).read_text(encoding="utf-8")
                file = draft / _filled(place, words)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(_filled(text, words), encoding="utf-8")
            draft.chmod(0o755)
            draft.rename(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise Refused(f"{target} cannot be made: {error.strerror}.") from error
    return target


def _filled(text: str, words: Mapping[str, str]) -> str:
    for mark, word in words.items():
        text = text.replace(mark, word)
    return text


def _refuse_bad_name(name: str) -> None:
    if name.startswith((PREFIX, "crowbar_")):
        raise BadInput(f"Leave {name[: len(PREFIX)]} out of the name: the package is called {PREFIX}NAME by itself.")
    if len(name) > LONGEST:
        raise BadInput(f"The name of a barclamp has at most {LONGEST} characters; this one has {len(name)}.")
    if not _NAME.fullmatch(name):
        raise BadInput(
            "The name of a barclamp is two or more of the letters a to z, digits and single hyphens; it begins with a "
            "letter and does not end with a hyphen."
        )
    if name in RESERVED:
        raise BadInput(f"A barclamp may not be called {name}: that would be taken for a part of Crowbar's own.")


def _installed() -> list[str]:
    return sorted({entry.name for entry in metadata.entry_points(group=GROUP)})


def _check(what: str, commands: Sequence[str]) -> dict[str, list[Problem]]:
    # By name: the other commands of this noun need neither Flask nor a database.
    testing: Any = importlib.import_module("crowbar_core.testing")
    if os.sep in what or what in (".", "..") or (Path(what) / "pyproject.toml").is_file():
        found: dict[str, list[Problem]] = testing.check_package(Path(what), taken_commands=commands)
        return found
    return {what: testing.check_barclamp(what, taken_commands=commands)}
