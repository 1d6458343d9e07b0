"""Cards that are plugged in elsewhere than they should be. Pure functions.

What was accepted (somebody said: so it is right) is what they are compared with. Where nothing was, with each other: a
switch that has the first cards of others is no place for a second one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from crowbar_network.wires import Machine, Wire

Accepted = Mapping[str, Mapping[str, tuple[str, str]]]
"""Node -> MAC -> (chassis, port)."""
_ENOUGH = 2
"""So many others make a pattern."""


@dataclass(frozen=True, kw_only=True)
class Misplaced:
    kind: str
    node: str
    wires: tuple[Wire, ...]
    said: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a card is on its node: ``label`` is a network and which of its cards."""

    node: str
    nic: str
    label: tuple[str, int]


def misplaced(machines: Mapping[str, Machine], places: Sequence[Place], accepted: Accepted) -> Iterator[Misplaced]:
    yield from _moved(machines, accepted)
    yield from _odd(machines, places, accepted)


def _moved(machines: Mapping[str, Machine], accepted: Accepted) -> Iterator[Misplaced]:
    owners = {place: (node, mac) for node, places in accepted.items() for mac, place in places.items()}
    wires = {(name, one.mac): one for name, machine in machines.items() for one in machine.wires}
    done: set[tuple[str, str]] = set()
    for (node, mac), wire in wires.items():
        was, there = accepted.get(node, {}).get(mac), wire.neighbour
        if was is None or there is None or there.place == was or (node, mac) in done:
            continue
        done.add((node, mac))
        owner = owners.get(there.place)
        other = wires.get(owner) if owner is not None else None
        if owner is not None and other is not None and other.neighbour and other.neighbour.place == was:
            done.add(owner)
            both = f"{wire.nic} is at {there.at}, and {other.nic} at {other.neighbour.at}"
            if owner[0] == node:
                said = f"{wire.nic} and {other.nic} of {node} are swapped: {both}."
                yield Misplaced(kind="swapped", node=node, wires=(wire, other), said=said)
            else:
                said = (
                    f"{wire.nic} of {node} and {other.nic} of {owner[0]} are swapped: the first is at {there.at}, "
                    "which is the other's."
                )
                yield Misplaced(kind="swapped", node=node, wires=(wire,), said=said)
            continue
        whose = f", where {owner[0]} should be" if owner is not None and owner[0] != node else ""
        said = f"{wire.nic} of {node} is at {there.at}{whose}; it was accepted at {_place(was)}."
        yield Misplaced(kind="moved", node=node, wires=(wire,), said=said)


def _place(place: tuple[str, str]) -> str:
    chassis, port = place
    return f"switch {chassis.partition(' ')[0]}, port {port}"


def _odd(machines: Mapping[str, Machine], places: Sequence[Place], accepted: Accepted) -> Iterator[Misplaced]:
    having: dict[str, Counter[tuple[str, int]]] = {}
    there: dict[str, list[tuple[tuple[str, int], Wire]]] = {}
    for one in places:
        wire = machines[one.node].wire(one.nic)
        if wire is not None and wire.neighbour is not None:
            having.setdefault(wire.neighbour.chassis, Counter())[one.label] += 1
            there.setdefault(one.node, []).append((one.label, wire))
    for node, wires in there.items():
        known = accepted.get(node, {})
        odd = [wire for label, wire in wires if wire.mac not in known and _is_odd(having, label, wire)]
        at = ", and ".join(f"{one.nic} is at {one.neighbour.at}" for one in odd if one.neighbour)
        if len(odd) > 1:
            names = " and ".join(one.nic for one in odd)
            said = f"{names} of {node} are swapped: {at}; on the other nodes it is the other way round."
            yield Misplaced(kind="swapped", node=node, wires=tuple(odd), said=said)
        elif odd:
            said = f"On {node} {at}, where the other nodes have another card."
            yield Misplaced(kind="wrong switch", node=node, wires=tuple(odd), said=said)


def _is_odd(having: Mapping[str, Counter[tuple[str, int]]], label: tuple[str, int], wire: Wire) -> bool:
    """Whether its switch has nobody else's card of this label and several of another, and others have it elsewhere."""
    assert wire.neighbour is not None
    there = having[wire.neighbour.chassis]
    others = max((count for other, count in there.items() if other != label), default=0)
    elsewhere = sum(count[label] for chassis, count in having.items() if chassis != wire.neighbour.chassis)
    return there[label] == 1 and others >= _ENOUGH and elsewhere >= _ENOUGH
