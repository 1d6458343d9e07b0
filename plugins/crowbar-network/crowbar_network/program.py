"""The programs that a node is given, each put together from a part in ``node/`` and its data."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from crowbar_core import PermanentError
from crowbar_network.changes import by_family, is_removal

_ID = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a writer's own tool is told around a change, as text for sh: before it, when the links stand, and when it
    was taken back (called with ``first``, and with ``last`` when all stands as it did; with neither, for both).
    """

    before: str = ""
    settle: str = ""
    undo: str = ""


FILES = (
    "/etc/crowbar-network/*",
    "/etc/crowbar-network/aside/*",
    "/etc/network/interfaces",
    "/etc/network/interfaces.d/*",
    "/etc/netplan/*.yaml",
    "/etc/systemd/network/*.network",
    "/etc/systemd/network/*.netdev",
    "/etc/cloud/cloud.cfg",
    "/etc/cloud/cloud.cfg.d/99-crowbar-network.cfg",
)
"""All that the node's network tools, Crowbar and cloud-init may have for its next start."""


def look(*, files: bool) -> tuple[str, str]:
    """The program, and the mark of its headings. With ``files`` also the texts of ``FILES``, and clients of DHCP."""
    mark = f"==={secrets.token_hex(8)}"
    return _program({"mark": mark}, f"set -- {' '.join(FILES) if files else ''}", part("look")), mark


def listen() -> str:
    """Makes sure that LLDP runs there."""
    return _program({}, part("listen"))


def wires(pings: Iterable[tuple[str, str, int]] = ()) -> tuple[str, str]:
    """What the cards are plugged into; and whether others answer: (own address, theirs, bytes of the full size). The
    program, and the mark of its headings.
    """
    mark = f"==={secrets.token_hex(8)}"
    asked = [f"ask {shlex.quote(mine)} {shlex.quote(theirs)} {size}" for mine, theirs, size in pings]
    return _program({"mark": mark}, part("wires"), part("ping"), *asked, "wait", "heading end"), mark


def sections(text: str, mark: str) -> dict[str, str]:
    """What ``look`` printed, by heading. Raises ``PermanentError`` when its end is missing."""
    found: dict[str, str] = {}
    for part in text.split(f"\n{mark} ")[1:]:
        name, _, rest = part.partition("\n")
        found[name] = rest
    if "end" not in found:
        raise PermanentError("The node did not tell all of its interfaces: is iproute2 there, of 2018 or later?")
    return found


def begin(change: str, *, limit: int, forward: Sequence[str], backward: Sequence[str], trial: Trial) -> str:
    """``limit`` in seconds."""
    (there, there6), (again, again6) = by_family(forward), by_family(backward)
    put = {
        "away": _lines([line for line in there if is_removal(line)]),
        "away6": _lines([line for line in there6 if is_removal(line)]),
        "forward": _lines([line for line in there if not is_removal(line)]),
        "forward6": _lines([line for line in there6 if not is_removal(line)]),
        "backward": _lines(again),
        "backward6": _lines(again6),
        "watch.sh": part("watch"),
        "try.sh": trial.before,
        "settle.sh": trial.settle,
        "untry.sh": trial.undo,
    }
    unpack = "\n".join(_write(f'"$1"/{name}', text) for name, text in put.items() if text)
    return _program({"id": _checked(change), "limit": str(limit)}, f"unpack() {{\n{unpack}\n}}", part("begin"))


def await_tried(change: str, *, seconds: int) -> str:
    """Ends when the change has been tried, and after so many seconds at the latest."""
    return _program({"id": _checked(change), "seconds": str(seconds)}, part("await"))


def keep(change: str, files: Mapping[str, str], copies: Mapping[str, str], gone: Collection[str]) -> str:
    """``copies``: to -> from, both on the node."""
    return _program({"id": _checked(change)}, _filing(files, copies, gone), part("keep"))


def longer(change: str, *, more: int, most: int) -> str:
    """``more``: seconds that the switch waits longer; it allows ``most`` of them for one change."""
    return _program({"id": _checked(change), "more": str(more), "most": str(most)}, part("longer"))


def write(files: Mapping[str, str], copies: Mapping[str, str], gone: Collection[str]) -> str:
    return _program({}, _filing(files, copies, gone), part("write"))


def back(change: str, why: str = "") -> str:
    """``why``: lead back now; without it only ask how it ended."""
    return _program({"id": _checked(change), "why": " ".join(why.split())}, part("back"))


def probe(asked: Iterable[tuple[str, int]], doubled: Iterable[tuple[str, str]]) -> str:
    """``asked``: (address, size of a whole ping, or 0); ``doubled``: (address, interface) that nobody else may have."""
    lines = [f"asked {address} {size} &" for address, size in asked]
    lines += [f"doubled {address} {dev} &" for address, dev in doubled]
    return _program({}, "\n".join(("ask() {", *lines, ":", "}")), part("probe"))


def _filing(files: Mapping[str, str], copies: Mapping[str, str], gone: Collection[str]) -> str:
    """All of it lies beside its place before the first of it is moved there, and what goes is removed last."""
    unpack = [line for path, text in files.items() for line in _put(path, text)]
    unpack += [line for path, source in copies.items() for line in _copy(path, source)]
    paths = [*copies, *files]
    clear = [f'rm -f -- {shlex.quote(path)}"$1"' for path in paths]
    move = [f'mv -f -- {shlex.quote(path)}"$1" {shlex.quote(path)} || exit 1' for path in paths]
    remove = [f"rm -f -- {shlex.quote(path)}" for path in sorted(gone)]
    return "\n".join(
        "\n".join((f"{name}() {{", *lines, ":", "}"))
        for name, lines in (("unpack", unpack), ("clear_away", clear), ("move", move), ("remove_gone", remove))
    )


def _put(path: str, text: str) -> list[str]:
    """With the owner and mode of the file that it replaces."""
    there = shlex.quote(path) + '"$1"'
    before = f"[ ! -e {shlex.quote(path)} ] || cp -p -- {shlex.quote(path)} {there} || return 1"
    return [_folder(path), before, f"{_write(there, text)} || return 1"]


def _copy(path: str, source: str) -> list[str]:
    return [_folder(path), f'cp -p -- {shlex.quote(source)} {shlex.quote(path)}"$1" || return 1']


def _folder(path: str) -> str:
    return f"mkdir -p {shlex.quote(path.rpartition('/')[0])} || return 1"


def _write(where: str, text: str) -> str:
    return f"printf '%s' {shlex.quote(text)} >{where}"


def _program(values: Mapping[str, str], *parts: str) -> str:
    """Read whole before any of it is done, so that nothing in it can take its rest for its own input."""
    given = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    return "\n".join(("crowbar_main() {", *given, *parts, "}", "crowbar_main </dev/null", ""))


@cache
def part(name: str) -> str:
    return (resources.files(__package__) / "node" / f"{name}.sh").read_text(encoding="utf-8")


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _checked(change: str) -> str:
    if not _ID.fullmatch(change):
        raise ValueError(f"{change!r} is no name of a change")
    return change
