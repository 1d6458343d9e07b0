"""How often interfaces are broken on purpose: once of each kind, or as often as is asked; and what came of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import pytest

BACK = pytest.StashKey[list[tuple[float, str, bool]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--broken", type=int, default=0, help="how many broken changes of 8 kinds a node must survive")
    parser.addoption("--keep-within", type=int, default=20, help="seconds after which a locked machine leads back")


LONGEST = 10.0
"""Seconds, by a node's own clock, after which a broken change is no more, where they are counted."""


@pytest.fixture
def led_back(pytestconfig: pytest.Config) -> Iterator[Callable[[float, str, bool], None]]:
    """Takes how many seconds after a broken change all was as before, of which kind it was, and whether that was said:
    a machine that is too busy to be looked at in time only says that it could not be.
    """
    found = pytestconfig.stash.setdefault(BACK, [])
    first = len(found)
    yield lambda seconds, kind, named: found.append((seconds, kind, named))
    if pytestconfig.getoption("--broken", 0) and (said := too_late(found[first:])):
        pytest.fail(said, pytrace=False)


def too_late(found: Sequence[tuple[float, str, bool]]) -> str:
    """How many of these took longer than they may, or ''."""
    late = [one for one in found if one[0] > LONGEST]
    return f"{len(late)} of {len(found)} took longer than {LONGEST:g} s: {max(late)[0]:.1f} s at most" if late else ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not (found := config.stash.get(BACK, [])) or not config.getoption("--broken", 0):
        return
    terminalreporter.section("broken changes")
    for kind in sorted({kind for _, kind, _ in found}):
        mine = sorted((seconds, named) for seconds, one, named in found if one == kind)
        count = sum(named for _, named in mine)
        took = f"all was as before after {mine[0][0]:.1f} to {mine[-1][0]:.1f} s"
        terminalreporter.line(f"{kind}: {len(mine)}, {took}; {count} times it was said what was wrong")
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    terminalreporter.line(
        f"{len(found)} broken changes, each as before at most {max(found)[0]:.1f} s after it was made, by the clock of"
        f" the node; the load of this machine is {load} on {os.cpu_count()} processors"
    )
