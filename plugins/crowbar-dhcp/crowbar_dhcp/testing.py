"""Whether a driver keeps to what ``drivers.Driver`` says: random changes, of which each is told by itself where it can
be, kills in between, then no difference.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from crowbar_core import CrowbarError
from crowbar_dhcp.drivers import Driver, Part
from crowbar_dhcp.serving import NOTHING, Boot, Machine, Net, Options, Serving, serving_of

_TRIES = 5
_LOOKED_AT = 7
"""After every so many changes it is looked whether the server has what it was told of single nodes."""


def check_dhcp_driver(
    driver: Driver, *, kill: Callable[[], None] | None = None, changes: int = 30, kills: int = 2, seed: int = 1,
    families: tuple[int, ...] = (4, 6),
) -> list[str]:  # fmt: skip
    """Objections; none: it conforms. ``kill`` ends the server at once and starts it again, ``kills`` times. The server
    serves nothing of Crowbar's afterwards.
    """
    chance = random.Random(seed)
    world = _World(chance, families)
    strikes = set(chance.sample(range(changes), kills)) if kill else set()
    said: list[str] = []
    confirmed: Serving | None = None
    """What it has; None: that is not known."""
    for turn in range(changes):
        world.change()
        wanted = world.wanted()
        if turn in strikes and kill:
            kill()
        try:
            _tell(driver, confirmed, wanted)
        except CrowbarError:
            confirmed = None  # it may fail while the server is away: all that is wanted then is brought later
            continue
        if confirmed is not None and turn % _LOOKED_AT == 0:
            said += [f"told of some, there differs: {one}" for one in driver.differences(wanted)]
            said += [f"it is told of the same twice: {one}" for one in _tell(driver, confirmed, wanted)]
        confirmed = wanted
    if confirmed is not None:
        said += [f"told of some, in the end there differs: {one}" for one in driver.differences(confirmed)]
    said += _settled(driver, world.wanted(), "after all changes")
    if kill:
        kill()
        said += [f"started anew, it has otherwise: {one}" for one in driver.differences(world.wanted())]
    said += _settled(driver, NOTHING, "when nothing is to be served")
    return said


def part_of(before: Serving, wanted: Serving) -> Part | None:
    """What a server is to be told that has had ``before`` confirmed; None: it must be told all."""
    if (before.subnets, before.options, before.strangers) != (wanted.subnets, wanted.options, wanted.strangers):
        return None
    had, has = set(before.reservations), set(wanted.reservations)
    nodes = {one.node for one in had ^ has}
    macs = frozenset(one.mac for one in had | has if one.node in nodes)
    mine = tuple(one for one in wanted.reservations if one.mac in macs)
    return Part(serving=replace(wanted, reservations=mine), macs=macs)


def _tell(driver: Driver, confirmed: Serving | None, wanted: Serving) -> Sequence[str]:
    part = part_of(confirmed, wanted) if confirmed is not None else None
    return driver.bring(wanted) if part is None else driver.bring_some(part)


def _settled(driver: Driver, wanted: Serving, when: str) -> list[str]:
    problem = ""
    for _ in range(_TRIES):
        try:
            driver.bring(wanted)
        except CrowbarError as error:
            problem = error.detail
            continue
        again = [f"{when}, it is told the same twice: {one}" for one in driver.bring(wanted)]
        return [*(f"{when}, there differs: {one}" for one in driver.differences(wanted)), *again]
    return [f"{when}, it cannot be told: {problem}"]


class _World:
    """Networks and nodes that change by chance."""

    def __init__(self, chance: random.Random, families: tuple[int, ...]) -> None:
        self.chance, self.families = chance, families
        self.machines: dict[int, Machine] = {}
        self.pools = {4: 100, 6: 0x1000}
        self.number = 0

    def change(self) -> None:
        deeds = [
            self._create,
            self._create,
            self._create,
            self._rename,
            self._address,
            self._boot,
            self._delete,
            self._cards,
            self._pool,
        ]
        self.chance.choice(deeds)()

    def wanted(self) -> Serving:
        nets = []
        if 4 in self.families:
            first = self.pools[4]
            nets.append(Net(id=40, network="four", subnet="198.51.100.0/24", routers=("198.51.100.1",),
                            ranges={"dhcp": (f"198.51.100.{first}", f"198.51.100.{first + 20}")}))  # fmt: skip
        if 6 in self.families:
            first = self.pools[6]
            nets.append(Net(id=60, network="six", subnet="2001:db8:1::/64",
                            ranges={"dhcp": (f"2001:db8:1::{first:x}", f"2001:db8:1::{first + 99:x}")}))  # fmt: skip
        return serving_of(nets, list(self.machines.values()), Options(dns_servers=("198.51.100.2", "2001:db8:1::2")))

    def _create(self) -> None:
        self.number += 1
        mac = f"02:00:5e:00:{self.number >> 8:02x}:{self.number & 255:02x}"
        self.machines[self.number] = Machine(id=self.number, name=f"n{self.number}.example.org", macs=(mac,))
        self._address(self.number)

    def _some(self) -> int | None:
        return self.chance.choice(sorted(self.machines)) if self.machines else None

    def _put(self, key: int | None, **values: object) -> None:
        if key is not None:
            self.machines[key] = replace(self.machines[key], **values)  # type: ignore[arg-type]

    def _rename(self) -> None:
        self._put(self._some(), name=f"r{self.chance.randrange(10**6)}.example.org")

    def _address(self, key: int | None = None) -> None:
        last = self.chance.randrange(10, 90)
        taken = {one for machine in self.machines.values() for one in machine.addresses}
        if f"198.51.100.{last}" not in taken:
            self._put(key or self._some(), addresses=(f"198.51.100.{last}", f"2001:db8:1::{last:x}"))

    def _boot(self) -> None:
        what = self.chance.choice(["a", "b", ""])
        four = {"bios": f"tftp://198.51.100.3/{what}.kpxe", "ipxe": f"http://198.51.100.3/{what}.ipxe"}
        six = {"uefi": f"tftp://[2001:db8:1::3]/{what}.efi"}
        self._put(self._some(), boot=Boot(by="p", dhcp4=four, dhcp6=six) if what else Boot())

    def _cards(self) -> None:
        """Another card, one more, or that of another node, so that it is nobody's."""
        if (key := self._some()) is None:
            return
        mine = self.machines[key].macs
        new = f"02:00:5e:01:00:{self.chance.randrange(256):02x}"
        theirs = self.machines[self.chance.choice(sorted(self.machines))].macs
        several = self.chance.choice([(new,), (new, *mine), (*mine[:1], *theirs[:1]), mine[:1]])
        self._put(key, macs=tuple(dict.fromkeys(several)))

    def _delete(self) -> None:
        if (key := self._some()) is not None:
            del self.machines[key]

    def _pool(self) -> None:
        self.pools = {4: self.chance.randrange(100, 200), 6: self.chance.randrange(0x1000, 0xF000)}
