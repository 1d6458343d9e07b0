"""Conduits: which network cards of a machine a network means. A pure function of the machine's inventory.

``1g1`` is the first card that is as fast as 1 Gb/s at most, in the order of the bus; ``+1g1`` the first that is so fast
or faster, ``-1g1`` so fast or slower, ``?1g1`` the first of all. Several members, divided by commas, make a team.
Instead of speeds, members may name cards: ``mac=52:54:00:12:34:56``, ``name=eno1`` (also an altname),
``driver=ixgbe*2`` (exactly two). ``bmc`` is the port of the machine's own controller, and no card.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from crowbar_network.errors import bad

SPEEDS: Mapping[str, int] = {
    "10m": 10,
    "100m": 100,
    "1g": 1_000,
    "2.5g": 2_500,
    "5g": 5_000,
    "10g": 10_000,
    "25g": 25_000,
    "40g": 40_000,
    "50g": 50_000,
    "100g": 100_000,
    "200g": 200_000,
    "400g": 400_000,
}
"""Name of a speed -> Mb/s."""

BMC = "bmc"
MOST_MEMBERS = 8
"""Of a team; 2 to so many."""

_BY_SPEED = re.compile(r"([+?-]?)(\d+(?:\.\d+)?[mg])([1-9]\d?)")
_BY_NAME = re.compile(r"(mac|name|driver)=([^*]+?)(?:\*([1-9]\d?))?")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_NUMBERS = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, kw_only=True)
class Nic:
    """A card as a machine reports it. ``path``: where it is on the bus, such as ``0000:00:1c.0/0000:03:00.1``.
    ``speed``: the most it can do, in Mb/s; 0 when nobody knows.
    """

    name: str
    mac: str
    path: str = ""
    speed: int = 0
    driver: str = ""
    altnames: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Member:
    """``kind``: speed, mac, name or driver. ``sign``, ``speed`` (Mb/s) and ``number`` (from 1) are of those by speed;
    ``value`` and ``count`` of the others.
    """

    text: str
    kind: str
    sign: str = ""
    speed: int = 0
    number: int = 0
    value: str = ""
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Conduit:
    text: str
    members: tuple[Member, ...]

    @property
    def is_bmc(self) -> bool:
        return not self.members

    @property
    def needs(self) -> int:
        """How many cards it means."""
        return sum(member.count for member in self.members)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What a conduit means on one machine: its cards, or in ``problem`` why it means none."""

    nics: tuple[Nic, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class InterfaceMap:
    """How the buses of one kind of machine are ordered: ``pattern`` is matched with its product name (``*`` and ``?``),
    ``order`` lists beginnings of bus paths. Cards on none of them follow, in the order of their paths.
    """

    pattern: str
    order: tuple[str, ...]


def parse(text: str, *, field: str = "conduit") -> Conduit:
    """Raises ``BadInput`` with what is wrong about which member."""
    said = text.strip().lower()
    if said == BMC:
        return Conduit(text=BMC, members=())
    members = tuple(_member(part.strip(), field) for part in said.split(","))
    if len({member.kind == "speed" for member in members}) > 1:
        raise bad(field, f"{text!r} names some cards by speed and others not: name all of them in one way.")
    if len({(member.sign, member.speed) for member in members}) > 1:
        raise bad(field, f"The members of {text!r} are not all of one speed and sign, as {members[0].text!r} is.")
    doubled = next((one.text for number, one in enumerate(members) if one in members[:number]), None)
    if doubled is not None:
        raise bad(field, f"{text!r} names {doubled!r} twice.")
    made = Conduit(text=",".join(member.text for member in members), members=members)
    if made.needs > MOST_MEMBERS:
        raise bad(field, f"{text!r} means {made.needs} cards; a team has at most {MOST_MEMBERS}.")
    return made


def _member(text: str, field: str) -> Member:
    if (found := _BY_SPEED.fullmatch(text)) is not None:
        sign, speed, number = found.groups()
        if speed not in SPEEDS:
            raise bad(field, f"There is no speed {speed!r}; there are {', '.join(SPEEDS)}.")
        return Member(text=text, kind="speed", sign=sign, speed=SPEEDS[speed], number=int(number))
    if (found := _BY_NAME.fullmatch(text)) is not None:
        kind, value, count = found.groups()
        if kind == "mac" and not _MAC.fullmatch(value):
            raise bad(field, f"{value!r} is no MAC address like 52:54:00:12:34:56.")
        if kind == "mac" and int(value[:2], 16) & 1:
            raise bad(field, f"{value!r} is a multicast address, which no card has: write the card's own.")
        if count and kind != "driver":
            raise bad(field, f"{text!r}: only driver=NAME*COUNT can mean several cards.")
        return Member(text=text, kind=kind, value=value, count=int(count or 1))
    raise bad(
        field,
        f"{text!r} is no conduit: write speed and number (1g1, +10g2, ?1g1; several by commas), mac=, name= or driver=,"
        f" or {BMC}.",
    )


def map_of(product: str, maps: Sequence[InterfaceMap]) -> InterfaceMap | None:
    """The first whose pattern fits the machine's product."""
    return next((one for one in maps if fnmatchcase(product.lower(), one.pattern.lower())), None)


def in_order(nics: Collection[Nic], *, product: str = "", maps: Sequence[InterfaceMap] = ()) -> tuple[Nic, ...]:
    """By where they are on the bus; the first map whose pattern fits the machine's product goes before that."""
    found = map_of(product, maps)
    order = () if found is None else found.order

    def key(nic: Nic) -> tuple[int, list[int], list[str | int]]:
        rank = next((number for number, begin in enumerate(order) if nic.path.startswith(begin)), len(order))
        return rank, _on_bus(nic.path), _natural(nic.name)

    return tuple(sorted(nics, key=key))


def resolve(conduit: Conduit, nics: Sequence[Nic]) -> Resolved:
    """``nics``: all of the machine's, ``in_order``."""
    if conduit.is_bmc:
        return Resolved()
    found: list[Nic] = []
    for member in conduit.members:
        fitting = _by_speed(member, nics) if member.kind == "speed" else _by_name(member, nics)
        if isinstance(fitting, str):
            return Resolved(problem=fitting)
        for nic in fitting:
            if nic in found:
                return Resolved(problem=f"{member.text} means {nic.name}, which another member means too.")
        found.extend(fitting)
    return Resolved(nics=tuple(found))


def _by_speed(member: Member, nics: Sequence[Nic]) -> tuple[Nic, ...] | str:
    fitting = [nic for nic in nics if _fits(member, nic.speed)]
    if member.number <= len(fitting):
        return (fitting[member.number - 1],)
    how = {"": "of just that speed", "+": "so fast or faster", "-": "so fast or slower", "?": "in all"}[member.sign]
    has = ", ".join(f"{nic.name} {speed_name(nic.speed)}" for nic in nics) or "no card at all"
    return f"{member.text} wants card {member.number} {how}, and there {_are(len(fitting))}: the machine has {has}."


def _fits(member: Member, speed: int) -> bool:
    match member.sign:
        case "?":
            return True
        case "+":
            return speed >= member.speed
        case "-":
            return 0 < speed <= member.speed
        case _:
            return speed == member.speed


def _by_name(member: Member, nics: Sequence[Nic]) -> tuple[Nic, ...] | str:
    match member.kind:
        case "mac":
            fitting = [nic for nic in nics if nic.mac.lower() == member.value]
        case "name":
            fitting = [nic for nic in nics if member.value in (nic.name.lower(), *map(str.lower, nic.altnames))]
        case _:
            fitting = [nic for nic in nics if nic.driver.lower() == member.value]
    if len(fitting) == member.count:
        return tuple(fitting)
    names = f" ({', '.join(nic.name for nic in fitting)})" if fitting else ""
    return f"{member.text} must mean exactly {member.count}, and there {_are(len(fitting))}{names}."


def _are(count: int) -> str:
    return "is none" if not count else "is 1" if count == 1 else f"are {count}"


def clash(one: Sequence[Nic], other: Sequence[Nic]) -> str:
    """What two networks' cards on one machine have in common though they are not the same: ''  when they are equal or
    disjoint, as they must be.
    """
    mine, theirs = {nic.name for nic in one}, {nic.name for nic in other}
    return "" if mine == theirs else ", ".join(sorted(mine & theirs))


def no_card(network: str) -> str:
    """What is wrong with a network of which nobody has said where it is."""
    return f"Network {network} has no conduit that means a card: give it one, or configure=false."


def speed_name(speed: int) -> str:
    """``1g`` of 1000."""
    named = next((name for name, value in SPEEDS.items() if value == speed), None)
    return named or (f"{speed}m" if speed else "of unknown speed")


def _on_bus(path: str) -> list[int]:
    return [int(part, 16) for part in _NUMBERS.findall(path.lower())]


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
