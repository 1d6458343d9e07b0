"""Who is asked by whom whether he answers, and what the answers say of the ends. Pure functions.

On small networks everybody asks everybody; on larger ones each node asks its next two, the routers, and one node at
each switch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

SMALL = 12
"""Up to so many nodes everybody asks everybody."""
NEXT = 2
MOST_SWITCHES = 8


@dataclass(frozen=True, kw_only=True)
class Ping:
    """``to``: a node, or the address of a router. ``small``: it answers; ``full``: also packets of the full size."""

    node: str
    network: str
    to: str
    small: bool
    full: bool


def targets(nodes: Sequence[str], switch_of: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """For each of these nodes of a network the others that it asks. ``switch_of``: node -> its switch, where known."""
    if len(nodes) <= SMALL:
        return {node: tuple(other for other in nodes if other != node) for node in nodes}
    first_at: dict[str, str] = {}
    for node in nodes:
        if (switch := switch_of.get(node)) and len(first_at) < MOST_SWITCHES:
            first_at.setdefault(switch, node)
    asked = {}
    for number, node in enumerate(nodes):
        others = [nodes[(number + step) % len(nodes)] for step in range(1, NEXT + 1)]
        asked[node] = tuple(dict.fromkeys(one for one in (*others, *first_at.values()) if one != node))
    return asked


def reached(pings: Sequence[Ping]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Ends that do not answer: see ``_blamed``."""
    yield from _blamed(pings, lambda one: one.small)


def whole(pings: Sequence[Ping]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Ends to which packets of the full size do not get through."""
    yield from _blamed(pings, lambda one: one.full)


def _blamed(pings: Sequence[Ping], good: Callable[[Ping], bool]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """One end whose pings all fail while others' succeed; the two of a pair that fails though both succeed with others
    (or of the only pair); or (with True) all of them where none succeeds.
    """
    passed = {end for one in pings if good(one) for end in (one.node, one.to)}
    failed = [one for one in pings if not good(one)]
    ends = list(dict.fromkeys(end for one in failed for end in (one.node, one.to)))
    if not ends:
        return
    if not passed:
        yield tuple(ends), len(ends) > 2
        return
    for end in ends:
        if end not in passed:
            yield (end,), False
    pairs = {tuple(sorted((one.node, one.to))) for one in failed if one.node in passed and one.to in passed}
    right = {tuple(sorted((one.node, one.to))) for one in pings if good(one)}
    for pair in sorted(pairs - right):
        yield pair, False
