"""How often interfaces are broken on purpose: once of each kind, or as often as is asked; and what came of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

WRITERS = ("networkd", "ifupdown", "netplan")
"""Of whole machines; nodes of a rack have plain iproute2."""
LONGEST = 10.0
"""Seconds, by a node's own clock, after which a broken change is no more, where they are counted."""


@dataclass(frozen=True, kw_only=True)
class Back:
    """A broken change, and how many seconds after it all was as before. ``named``: whether it was said what was wrong;
    a machine that is too busy to be looked at in time only says that it could not be. ``cpu``: seconds of a processor
    that the machine took for all of it, where that is known. ``booted``: it had to start again, for which nobody
    promises a time, and ``seconds`` are since its start.
    """

    seconds: float
    kind: str
    named: bool = True
    writer: str = "iproute2"
    cpu: float | None = None
    booted: bool = False


BACK = pytest.StashKey[list[Back]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--broken", type=int, default=0, help="how many broken changes of 8 kinds a node must survive")
    parser.addoption("--writer", choices=WRITERS, help="the only one that whole machines of tests are to use")
    parser.addoption("--addresses", choices=("few", "full"), default="few", help="how many 64 writers take at once")
    parser.addoption("--keep-within", type=int, default=20, help="seconds after which a locked machine leads back")


@pytest.fixture
def led_back(pytestconfig: pytest.Config) -> Iterator[Callable[[Back], None]]:
    found = pytestconfig.stash.setdefault(BACK, [])
    first = len(found)
    yield found.append
    if pytestconfig.getoption("--broken", 0) and (said := too_late(found[first:])):
        pytest.fail(said, pytrace=False)


def too_late(found: Sequence[Back]) -> str:
    """How many of these took longer than they may, or ''."""
    late = [one.seconds for one in found if one.seconds > LONGEST and not one.booted]
    return f"{len(late)} of {len(found)} took longer than {LONGEST:g} s: {max(late):.1f} s at most" if late else ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not (found := config.stash.get(BACK, [])) or not config.getoption("--broken", 0):
        return
    terminalreporter.section("broken changes")
    for writer, kind in sorted({(one.writer, one.kind) for one in found}):
        terminalreporter.line(told(writer, kind, [one for one in found if (one.writer, one.kind) == (writer, kind)]))
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    longest = max((one.seconds for one in found if not one.booted), default=0.0)
    terminalreporter.line(
        f"{len(found)} broken changes, each as before at most {longest:.1f} s after it was made (starts of whole"
        f" machines apart), by the clock of the node; the load of this machine is {load} on {os.cpu_count()} processors"
    )


def told(writer: str, kind: str, mine: Sequence[Back]) -> str:
    seconds = [one.seconds for one in mine]
    since = "its start" if mine[0].booted else "the change"
    spent = [one.cpu for one in mine if one.cpu is not None]
    return (
        f"{writer}, {kind}: {len(mine)}, all was as before {min(seconds):.1f} to {max(seconds):.1f} s after {since}"
        + (f", for {min(spent):.1f} to {max(spent):.1f} s of a processor in all" if spent else "")
        + f"; {sum(one.named for one in mine)} times it was said what was wrong"
    )


def often(config: pytest.Config, kinds: int) -> int:
    """How often each of so many kinds is tried: ``--broken`` counts all of them."""
    return max(1, -(-int(config.getoption("--broken", 0)) // kinds))
