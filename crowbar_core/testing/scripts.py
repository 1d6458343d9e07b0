"""What can be said of a barclamp's scripts without running them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from importlib import resources
from importlib.abc import Traversable

from crowbar_core.barclamp import Barclamp, Problem
from crowbar_core.testing.wording import near

SCRIPT_JIG = "script"
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "ksh"))


def wrong_scripts(definition: Barclamp, package: str) -> Iterator[Problem]:
    """Roles without scripts, scripts that nobody runs, and scripts that no shell can read."""
    try:
        home = resources.files(package) / "scripts"
    except (ImportError, TypeError):
        return
    scripted = {role.name for role in definition.roles if role.jig == SCRIPT_JIG and not role.abstract}
    for role in sorted(scripted):
        scripts = [one for one in _entries(home / role) if one.name.endswith(".sh")]
        if not scripts:
            yield Problem(detail=f"Role {role} has no scripts: expected {package}/scripts/{role}/*.sh.")
        for script in scripts:
            if (said := _wrong(f"scripts/{role}/{script.name}", script)) is not None:
                yield Problem(detail=said)
    for folder in _entries(home):
        if folder.is_dir() and folder.name not in scripted and not folder.name.startswith(("_", ".")):
            yield Problem(
                detail=f"scripts/{folder.name}/ belongs to no role of that name with the jig 'script'"
                f"{near(folder.name, scripted)}",
                severity="warning",
            )


def _wrong(where: str, script: Traversable) -> str | None:
    try:
        text = script.read_bytes().decode()
    except UnicodeDecodeError:
        return f"{where} is not UTF-8 text."
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        return f"{where} does nothing: it holds no command."
    words = text.partition("\n")[0].removeprefix("#!").split() if text.startswith("#!") else ["sh"]
    shells = [name for word in words if (name := word.rpartition("/")[2]) in _SHELLS]
    program = shutil.which(shells[0]) if shells else None
    if program is None:
        return None  # for an interpreter that may be on the nodes and is not here
    done = subprocess.run(
        [program, "-n"], input=text, capture_output=True, text=True, timeout=30, env={"LC_ALL": "C"}, check=False
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it is no shell script"])[0]
        return f"{where} cannot be read by {shells[0]}: {said}."
    return None


def _entries(folder: Traversable) -> Iterator[Traversable]:
    try:
        found = sorted(folder.iterdir(), key=lambda one: one.name)
    except OSError:
        return
    yield from found
