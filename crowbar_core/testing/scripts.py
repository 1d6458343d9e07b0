"""What can be said of a barclamp's scripts without running them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from importlib.abc import Traversable

from crowbar_core.barclamp import Barclamp, Problem
from crowbar_core.testing.wording import near

SCRIPT_JIG = "script"
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "ksh"))


_READ = re.compile(
    r"""(?:^|[;|&({`!]|\b(?:then|do|else|if|elif|while|until)\b|CROWBAR_CALL\}?"?)[ \t]*
    (read_attribute|has_attribute|get_keys)[ \t]+("[^"\n]*"|'[^'\n]*'|[^\s;|&()<>"'`]+)""",
    re.MULTILINE | re.VERBOSE,
)
"""Where a command may begin: the words stand in messages, too."""
_Path = tuple[str, ...]


def wrong_scripts(
    definition: Barclamp, package: str, told: Mapping[str, Sequence[_Path]] | None = None
) -> Iterator[Problem]:
    """Roles without scripts, scripts that nobody runs, scripts that no shell can read, and what they ask for that is
    not ``told`` to their role: role -> the paths at which it can have something.
    """
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
        if told is not None and role in told:
            of_teardown = [one for one in _entries(home / role / "teardown") if one.name.endswith(".sh")]
            for script in (*scripts, *of_teardown):
                for asks, path in _asked(script, told[role]):
                    yield Problem(
                        detail=f"{script.name} of role {role} asks `{asks} {path}`, but no attribute that the role has "
                        f"or wants is there{near(path, ['/'.join(one) for one in told[role]])}",
                        severity="warning",
                    )
    for folder in _entries(home):
        if folder.is_dir() and folder.name not in scripted and not folder.name.startswith(("_", ".")):
            yield Problem(
                detail=f"scripts/{folder.name}/ belongs to no role of that name with the jig 'script'"
                f"{near(folder.name, scripted)}",
                severity="warning",
            )


def _asked(script: Traversable, told: Sequence[_Path]) -> Iterator[tuple[str, str]]:
    """(function, path) of what a script asks for where nothing can be. What is made while it runs is not known."""
    try:
        text = script.read_bytes().decode()
    except UnicodeDecodeError:
        return
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for asks, word in dict.fromkeys(_READ.findall("\n".join(lines))):
        path = word.strip("\"'")
        known, made, _ = re.split(r"([$`*?\\]|$)", path, maxsplit=1)
        parts = [part for part in (known.rpartition("/")[0] if made else known).split("/") if part]
        if parts and not any(all(one == other for one, other in zip(parts, there, strict=False)) for there in told):
            yield asks, path


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
