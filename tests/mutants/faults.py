"""The list of faults to plant: read from lists/*.toml, and held against the checkout."""

from __future__ import annotations

import ast
import fnmatch
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LISTS = HERE / "lists"


class BadList(Exception):
    """The list of faults cannot be used; the message names the entry and what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """``before`` stands once in ``file``, and is replaced by ``after``."""

    file: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault is one edit, or several where one alone would change nothing. ``tests`` (files or test functions) are
    those nearest to it, nearest first.
    """

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(edit.file for edit in self.edits))

    def planted(self, file: str, text: str) -> str:
        """The file's text with the fault in it."""
        for edit in self.edits:
            if edit.file == file:
                text = text.replace(edit.before, edit.after)
        return text

    def stale(self, root: Path) -> str | None:
        """Why it cannot be planted in this checkout, or None."""
        for edit in self.edits:
            if not (root / edit.file).is_file():
                return f"{edit.file} is not there"
            count = (root / edit.file).read_text(encoding="utf-8").count(edit.before)
            if count != 1:
                return f"this stands {count} times in {edit.file}, and has to stand there once: {edit.before.strip()}"
        for file in self.files:
            try:
                if file.endswith(".py"):
                    ast.parse(self.planted(file, (root / file).read_text(encoding="utf-8")))
            except SyntaxError as error:
                return f"with the fault in it, {file} is no Python: {error}"
        for test in self.tests:
            home, _, function = test.partition("::")
            if not (root / home).is_file():
                return f"its test file {home} is not there"
            if function and f"def {function}(" not in (root / home).read_text(encoding="utf-8"):
                return f"{home} has no test {function}"
        return None


def read_faults(directory: Path = LISTS) -> list[Fault]:
    """All faults, in the order of the files and of the entries in them. Raises ``BadList``."""
    found: dict[str, Fault] = {}
    for path in sorted(directory.glob("*.toml")):
        try:
            entries = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise BadList(f"{path.name} is no TOML: {error}") from error
        for name, entry in entries.items():
            if name in found:
                raise BadList(f"{path.name}: there is a fault {name} already")
            found[name] = _fault(path.name, name, entry)
    return list(found.values())


def _fault(where: str, name: str, entry: object) -> Fault:
    if not isinstance(entry, dict) or set(entry) - {"also"} != {"file", "before", "after", "tests"}:
        raise BadList(f"{where}: fault {name} needs file, before, after and tests, and may have also")
    tests = entry["tests"]
    first = {key: entry[key] for key in ("file", "before", "after")}
    edits = [first, *({"file": entry["file"], **more} for more in entry.get("also", []))]
    for edit in edits:
        if set(edit) != set(first) or not all(isinstance(text, str) for text in edit.values()):
            raise BadList(f"{where}: fault {name} has an edit that is not made of file, before and after")
        if edit["before"] == edit["after"] or not edit["before"].strip():
            raise BadList(f"{where}: fault {name} changes nothing")
    if not (isinstance(tests, list) and tests and all(isinstance(one, str) for one in tests)):
        raise BadList(f"{where}: fault {name} names no tests")
    return Fault(name=name, edits=tuple(Edit(**edit) for edit in edits), tests=tuple(tests))


def choose(faults: Sequence[Fault], patterns: Sequence[str]) -> list[Fault]:
    """Those whose name (or file) fits one of the patterns (``*`` and ``?``, or a part of it); all without patterns."""
    if not patterns:
        return list(faults)

    def fits(fault: Fault, pattern: str) -> bool:
        return any(fnmatch.fnmatchcase(text, f"*{pattern}*") for text in (fault.name, *fault.files))

    for pattern in patterns:
        if not any(fits(fault, pattern) for fault in faults):
            raise BadList(f"there is no fault like {pattern!r}; see: ./dev mutants --list")
    return [fault for fault in faults if any(fits(fault, pattern) for pattern in patterns)]
