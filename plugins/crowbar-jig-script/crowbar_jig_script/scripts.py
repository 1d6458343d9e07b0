"""The scripts of a role, as they lie in the package of its barclamp."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from crowbar_core import PermanentError

_SHELLS = frozenset({"sh", "dash", "bash", "ash", "ksh", "mksh"})
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SETTLED = 2.0
"""Seconds after which a change of a file shows in its times, however coarse those are."""


@dataclass(frozen=True, kw_only=True)
class Script:
    name: str
    text: str

    @property
    def interpreter(self) -> tuple[str, ...]:
        """As the kernel reads the first line: a program and at most one argument. ``sh`` without one."""
        first, _, _ = self.text.partition("\n")
        if not first.startswith("#!"):
            return ("sh",)
        words = tuple(first[2:].strip().split(None, 1))
        return ("sh", *words[1:]) if words and words[0] == "/bin/sh" else words or ("sh",)

    @property
    def speaks_sh(self) -> bool:
        return any(PurePosixPath(word).name in _SHELLS for part in self.interpreter[:2] for word in part.split())

    @property
    def prepared(self) -> str:
        """With the functions at hand for a shell; put on the first line, so that line numbers stay true."""
        if not self.speaks_sh:
            return self.text
        first, newline, rest = self.text.partition("\n")
        return '. "$CROWBAR_LIB"' + ("" if first.startswith("#!") else f"; {first}") + newline + rest


def has_teardown(package: str, role: str) -> bool:
    """Whether the package has scripts in ``scripts/<role>/teardown/``."""
    try:
        return (_files(package) / "scripts" / role / "teardown").is_dir()
    except (ModuleNotFoundError, TypeError, ValueError):
        return False


def find_scripts(package: str, role: str, *, teardown: bool = False) -> tuple[Script, ...]:
    """``scripts/<role>/*.sh`` of the package, or those below its ``teardown/``, in lexical order. Looked at for each
    run: an edited script counts at once.
    """
    if not _NAME.fullmatch(role):
        raise PermanentError(f"Role {role!r} cannot have scripts: its name is not a plain file name.")
    where = f"{package}/scripts/{role}/" + ("teardown/" if teardown else "")
    try:
        folder = _files(package) / "scripts" / role
        folder = folder / "teardown" if teardown else folder
        scripts = _in_folder(folder, where) if isinstance(folder, Path) else _read_all(folder, where)
    except (ModuleNotFoundError, FileNotFoundError, NotADirectoryError):
        scripts = ()
    if not scripts:
        raise PermanentError(f"Role {role} has no scripts: expected {where}*.sh in the barclamp's package.")
    return scripts


def _files(package: str) -> Traversable:
    return _files_of(import_module(package))


_files_of = lru_cache(maxsize=100)(resources.files)


def _in_folder(folder: Path, where: str) -> tuple[Script, ...]:
    """Those of a folder are read again when something in it is not as it was."""
    now, seen, last = time.time(), [], 0.0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".sh"):
                its = entry.stat()
                seen.append((entry.name, its.st_ino, its.st_size, its.st_mtime_ns, its.st_ctime_ns))
                last = max(last, its.st_ctime)
    if abs(now - last) < _SETTLED:
        return _read_all(folder, where)
    return _read_once(folder, where, tuple(seen))


@lru_cache(maxsize=100)
def _read_once(folder: Path, where: str, seen: tuple[tuple[str | int, ...], ...]) -> tuple[Script, ...]:
    """As ``_read_all``; ``seen`` tells one state of the folder from another."""
    return _read_all(folder, where)


def _read_all(folder: Traversable, where: str) -> tuple[Script, ...]:
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sh")), key=lambda entry: entry.name)
    return tuple(_read(file, where) for file in files)


def _read(file: Traversable, where: str) -> Script:
    if not _NAME.fullmatch(file.name):
        raise PermanentError(
            f"{where}{file.name!r} is no name for a script: letters, digits, dot, dash and underscore."
        )
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise PermanentError(f"{where}{file.name} is not UTF-8 text.") from None
    if "\0" in text:
        raise PermanentError(f"{where}{file.name} contains a NUL.")
    # A byte order mark or DOS line ends would make the first line unreadable to sh.
    return Script(name=file.name, text=text.removeprefix("\ufeff").replace("\r\n", "\n"))
