"""`crowbar barclamps new` and `check`: a package that works at once, and what is wrong with one before it is used."""

from __future__ import annotations

import contextlib
import importlib
import keyword
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import click

from crowbar_core.barclamp import Problem
from crowbar_core.brought import BARCLAMPS
from crowbar_core.cli import output as out
from crowbar_core.cli.context import Noun, output
from crowbar_core.cli.errors import FAILED
from crowbar_core.errors import BadInput, Refused

PREFIX = "crowbar-"
LONGEST, LONGEST_NOUN = 40, 24
NOUN = "item"
"""What a barclamp with a resource keeps, until somebody has a better word."""
RESERVED = frozenset(("core", "crowbar", "test", "tests", "testing"))
_NAME = re.compile(r"[a-z](?:[a-z0-9]|-(?!-))*[a-z0-9]", re.ASCII)
OURS = frozenset(
    [
        "act",
        "actions",
        "body",
        "cluster",
        "columns",
        "command",
        "commands",
        "create",
        "cursor",
        "delete",
        "field",
        "fields",
        "form",
        "form_body",
        "given",
        "insert",
        "key",
        "keys",
        "list_page",
        "listed",
        "migrations",
        "name",
        "names",
        "node",
        "nodes",
        "note",
        "notes",
        "noun",
        "object_page",
        "page",
        "pages",
        "remove",
        "request",
        "rest",
        "rests",
        "row",
        "rows",
        "select",
        "show",
        "table",
        "text",
        "texts",
        "update",
        "value",
        "values",
    ]
)
"""What the files of a resource, and the core, call by these names already."""
LINE = 120
_OUTER = re.compile(r"( *)([^(\[]*[(\[])(.*)([)\]],?)")
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
    "resource/migration.py.txt": "crowbar_@MODULE@/migrations/versions/0001_@IDS@.py",
    "resource/items.py.txt": "crowbar_@MODULE@/@IDS@.py",
    "resource/rest.py.txt": "crowbar_@MODULE@/rest.py",
    "resource/pages.py.txt": "crowbar_@MODULE@/pages.py",
    "resource/commands.py.txt": "crowbar_@MODULE@/commands.py",
    "resource/test.py.txt": "tests/test_@MODULE@.py",
}
"""The same of a barclamp with a table of its own, in place of a role."""


def add_new(group: Noun, commands: Sequence[str] = ()) -> None:
    """`crowbar barclamps new NAME`; ``commands`` are those that crowbar has itself."""

    @group.verb("new", help="Make the package of a new barclamp: a directory crowbar-NAME whose tests pass.")
    @click.argument("name")
    @click.option("--directory", default=".", metavar="DIR", help="Where to make it (here unless said).")
    @click.option("--resource", is_flag=True, help="With a table, a REST resource, a page and a command, and no role.")
    @click.option("--noun", metavar="NOUN", help="What one is called that the resource keeps (item unless said).")
    def new(name: str, directory: str, resource: bool, noun: str | None) -> None:
        if noun is not None and not resource:
            raise click.UsageError("--noun names what a barclamp keeps: give --resource as well.")
        made = make_barclamp(name, Path(directory), resource=resource, noun=noun, taken=commands)
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


def make_barclamp(
    name: str, directory: Path, *, resource: bool = False, noun: str | None = None, taken: Collection[str] = ()
) -> Path:
    """Make the package, all of it or nothing: with a role, or with a ``resource`` that keeps things called ``noun``;
    commands that are ``taken`` are no names for these. Returns its directory. Raises ``BadInput``, ``Refused``.
    """
    _refuse_bad_name(name)
    if noun is not None:
        _refuse_bad_noun(noun, taken)
    target = directory / f"{PREFIX}{name}"
    if not directory.is_dir():
        raise Refused(f"There is no directory {directory}. Make it first, or give another with --directory.")
    if os.path.lexists(target):
        raise Refused(f"There is a {target} already. Choose another name, or remove it first.")
    if any(entry.name == name for entry in metadata.entry_points(group=BARCLAMPS)):
        raise Refused(f"A barclamp {name} is installed already. Choose another name.")
    words = {"@NAME@": name, "@MODULE@": name.replace("-", "_"), **_words(name, noun)}
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{PREFIX}{name}-", dir=directory))
        try:
            for template, place in (WITH_RESOURCE if resource else FILES).items():
                text = (resources.files(__package__) / TEMPLATES / template).read_text(encoding="utf-8")
                file = draft / _filled(place, words)
                file.parent.mkdir(parents=True, exist_ok=True)
                filled = _filled(text, words)
                file.write_text(_in_style(filled) if place.endswith(".py") else filled, encoding="utf-8")
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


def _words(name: str, noun: str | None) -> dict[str, str]:
    """What stands in the templates for the noun. Only one that was chosen is a name without the barclamp's before it:
    items there may be many of.
    """
    one = noun or NOUN
    many = _plural(one)
    said, ids = one.replace("-", " "), many.replace("-", "_")
    module, all_said = name.replace("-", "_"), many.replace("-", " ")
    return {
        "@ID@": one.replace("-", "_"),
        "@IDS@": ids,
        "@CLASS@": "".join(part.capitalize() for part in one.split("-")),
        "@CONST@": ids.upper(),
        "@AN@": "an" if one[0] in "aeio" else "a",
        "@WORD@": said,
        "@WORDS@": all_said,
        "@WORD^@": said.capitalize(),
        "@WORDS^@": all_said.capitalize(),
        "@TABLE@": f"{module}_{ids}",
        "@CALLED@": said if noun else f"{name} {said}",
        "@ACTION@": one.replace("-", "_") if noun else f"{module}_{one}",
        "@PATH@": ids if noun else f"{module}_{ids}",
        "@PAGE@": many if noun else f"{name}-{many}",
        "@TITLE@": all_said.capitalize() if noun else f"{name} {all_said}",
    }


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "z", "ch", "sh")) else f"{noun}s"


def _in_style(text: str) -> str:
    """As a formatter would leave it, whatever the names: imports of the package's own modules in order, and what stands
    in the outer brackets of a line that became too long on lines of its own.
    """
    lines = text.splitlines()
    own = [place for place, line in enumerate(lines) if line.startswith("from .") and not line.startswith("from . ")]
    for place, line in zip(own, sorted(lines[place] for place in own), strict=True):
        lines[place] = line
    return "".join(f"{short}\n" for line in lines for short in _short(line))


def _short(line: str) -> list[str]:
    found = _OUTER.fullmatch(line) if len(line) > LINE else None
    if found is None:
        return [line]
    margin, head, inner, tail = found.groups()
    inside = [f"{margin}    {inner}"]
    if len(inside[0]) > LINE:
        inside = [short for one in _parts(inner) for short in _short(f"{margin}    {one},")]
    return [margin + head, *inside, margin + tail]


def _parts(arguments: str) -> list[str]:
    """What stands between the commas that are in no brackets."""
    found, deep = [""], 0
    for letter in arguments:
        deep += (letter in "([{") - (letter in ")]}")
        if letter == "," and not deep:
            found.append("")
        else:
            found[-1] += letter
    return [one.strip() for one in found]


def _refuse_bad_noun(noun: str, taken: Collection[str]) -> None:
    if len(noun) > LONGEST_NOUN:
        raise BadInput(f"A noun has at most {LONGEST_NOUN} characters; this one has {len(noun)}.")
    if not _NAME.fullmatch(noun):
        raise BadInput(
            "A noun is two or more of the letters a to z, digits and single hyphens, as in label and power-strip. It "
            "begins with a letter and does not end with a hyphen."
        )
    many = _plural(noun)
    words = {noun, many, noun.replace("-", "_"), many.replace("-", "_")}
    if many in taken:
        raise Refused(f"crowbar has a command {many} already. Choose another noun.")
    if words & OURS or any(keyword.iskeyword(word) for word in words):
        raise BadInput(f"Things may not be called {noun}: that means something else in these files, or in Python.")


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
    return sorted({entry.name for entry in metadata.entry_points(group=BARCLAMPS)})


def _check(what: str, commands: Sequence[str]) -> dict[str, list[Problem]]:
    # By name: the other commands of this noun need neither Flask nor a database.
    testing: Any = importlib.import_module("crowbar_core.testing")
    if os.sep in what or what in (".", "..") or (Path(what) / "pyproject.toml").is_file():
        found: dict[str, list[Problem]] = testing.check_package(Path(what), taken_commands=commands)
        return found
    return {what: testing.check_barclamp(what, taken_commands=commands)}
