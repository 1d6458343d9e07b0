"""What is pushed to a node: one program for sh that holds the scripts, the role's data and the part that runs them.

Everything that comes from data is a single-quoted literal in it, which no shell looks into.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources

from crowbar_core import Json, PermanentError, Task
from crowbar_jig_script.scripts import Script

# bash reads a program on its standard input byte by byte; so it gets the rest in one piece.
_IN_ONE_PIECE = 'if [ -n "${BASH_VERSION-}" ]; then eval "$(cat)"; exit; fi\n'
_PRINT = r"printf '%s\n'"


def _which_run(task: Task) -> str:
    """What tells the run, its installation and its binding from others, for the parts that run on the node."""
    once = f"{task.node_role_id}-{_plain(task.once)}" if task.once else ""
    return f"run={task.run_id} realm={_plain(task.installation) or 'none'} once={once}"


def _plain(text: str) -> str:
    """Fit for the name of a file."""
    return re.sub(r"[^A-Za-z0-9]", "", text)


def run_program(task: Task, scripts: Sequence[Script], *, token: str, grace: float, clock: bool = False) -> bytes:
    """The whole run, for a shell that leads a session of its own."""
    run = _run(task, scripts, token=token, grace=grace, clock=clock)
    return _program("session", "driver", _helpers(), *run, last="crowbar_which\ncrowbar_stand\ncrowbar_run")


def run_frame(task: Task, scripts: Sequence[Script], *, token: str, grace: float, clock: bool = False) -> bytes:
    """The same for the shell that stands by, which has the driver. ``clock``: the node says what time it has, which
    costs it a process. Only the last line does anything: of a frame that arrives in part, nothing is run.
    """
    run = _run(task, scripts, token=token, grace=grace, clock=clock)
    return _encoded("\n".join((*run, "crowbar_go() {", "crowbar_which", "crowbar_run", "}", "crowbar_go", "")))


STANDBY_COMMAND = (
    'exec sh -c \'read -r line </proc/$$/stat; set -- ${line##*) }; [ "$4" = $$ ] && exec sh;'
    " command -v setsid >/dev/null || exit 98; setsid sh; exit $?'"
)
"""For the SSH server, whatever root's shell is. It must lead a session of its own; most servers see to that."""


def standby_program() -> bytes:
    """What the shell that stands by is told first: how to carry out one run.

    A shell whose run has not ended well, or has left something behind, ends with it.
    """
    return _encoded("\n".join((_shell("session"), _shell("driver"), _helpers(), "crowbar_stand", "")))


def _helpers() -> str:
    return f"crowbar_helpers={quote(_shell('helpers'))}"


def _run(task: Task, scripts: Sequence[Script], *, token: str, grace: float, clock: bool) -> tuple[str, str, str]:
    environment = {
        "CROWBAR_NODE": task.node.name,
        "CROWBAR_ROLE": task.role.name,
        "CROWBAR_DEPLOYMENT": task.deployment,
        "CROWBAR_RUN_ID": str(task.run_id),
        "CROWBAR_ATTEMPT": str(task.attempt),
        "CROWBAR_REFRESH": "1" if task.refresh else "",
    }
    unpack = [f'crowbar_put lib {quote(data_functions(task.data) if task.data else _no_data())}"$crowbar_helpers"']
    put, play = _steps(tuple(scripts))
    unpack += [*put, *(f"export {name}={quote(value)}" for name, value in environment.items())]
    which = f"token={token} grace={round(grace)} clock={'yes' if clock else ''} {_which_run(task)}"
    return (
        _function("crowbar_unpack", unpack),
        play,
        # Not by itself: cut off in the middle of a name, it would be a command.
        _function("crowbar_which", [which]),
    )


@lru_cache(maxsize=100)
def _steps(scripts: tuple[Script, ...]) -> tuple[tuple[str, ...], str]:
    """What puts the scripts down on the node, and the function that runs them: the same for all nodes of a role."""
    put = ['crowbar_put call \'. "$CROWBAR_LIB"\n"$@"\n\'']
    put += [f"crowbar_put {script.name} {quote(script.prepared)}" for script in scripts]
    play = []
    for number, script in enumerate(scripts):
        if number == len(scripts) - 1:
            play.append("export CROWBAR_LAST=1")
        words = " ".join(quote(word) for word in script.interpreter)
        play.append(f'crowbar_play {number} {words} "$dir/"{script.name}')
    return tuple(put), _function("crowbar_scripts", play)


def end_program(task: Task, *, token: str, grace: float) -> bytes:
    """Ends the run, or sees to it that it does not begin."""
    return _program("session", "end", f"token={token} grace={round(grace)} {_which_run(task)}", last="crowbar_stop")


def look_program(task: Task, *, token: str) -> bytes:
    """Looks for the mark of a destructive role, and for whoever may still be at work on it."""
    return _program("session", "look", f"token={token} {_which_run(task)}", last="crowbar_seek")


def _program(*parts: str, last: str) -> bytes:
    """Only the last line does anything: of a program that arrives in part, nothing is run."""
    texts = [_shell(part) if part.isalpha() else part for part in parts]
    return _encoded(_IN_ONE_PIECE + "\n".join(texts) + f"\n{last}\n")


def _encoded(program: str) -> bytes:
    try:
        return program.encode()
    except UnicodeEncodeError:
        raise PermanentError("The role's data contains half a surrogate pair, which is no text.") from None


@cache
def _shell(name: str) -> str:
    """A part of the program as it lies beside this module, without the comments, which no node needs."""
    text = (resources.files(__package__) / "shell" / f"{name}.sh").read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if line and not line.lstrip().startswith("#"))


def _function(name: str, lines: Sequence[str]) -> str:
    return "\n".join((f"{name}() {{", *lines, "}"))


def quote(text: str) -> str:
    """A literal for sh. Within single quotes every character stands for itself, but for the quote."""
    if "\0" in text:
        raise PermanentError("The role's data contains a NUL, which no shell script can hold.")
    return "'" + text.replace("'", "'\\''") + "'"


# ---------------------------------------------------------------- the data, as functions


def helpers(data: Mapping[str, Json]) -> str:
    """The functions that scripts call."""
    return f"{data_functions(data)}{_shell('helpers')}\n"


@cache
def _no_data() -> str:
    return data_functions({})


def data_functions(data: Mapping[str, Json]) -> str:
    """Those of them into which the data is written."""
    values, present, names = [], [], []
    for path, value in _walk("", dict(data)):
        if value is not None:
            values.append(f"{quote(path)}) {_PRINT} {quote(as_text(value))} ;;")
            present.append(quote(path))
        if isinstance(value, dict | list):
            keys = value if isinstance(value, dict) else range(len(value))
            shown = " ".join(quote(str(key)) for key in keys)
            names.append(f"{quote(path)}) {_PRINT if shown else ':'} {shown} ;;")
    return "\n".join(
        (
            _function("crowbar_value", ['case "$1" in', *values, "*) return 1 ;;", "esac"]),
            _function("crowbar_has", ['case "$1" in', "|".join(present) + ") return 0 ;;", "*) return 1 ;;", "esac"]),
            _function("crowbar_names", ['case "$1" in', *names, "*) return 1 ;;", "esac"]),
            "",
        )
    )


def _walk(path: str, value: Json) -> Iterator[tuple[str, Json]]:
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _walk(f"{path}/{key}" if path else str(key), inner)


def as_text(value: Json) -> str:
    """A string as it is, everything else as JSON on one line."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
