"""Whether a driver keeps to what ``drivers.Driver`` says: random changes, kills in between, then no difference."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from crowbar_core import CrowbarError
from crowbar_dhcp.drivers import Driver
from crowbar_dhcp.serving import NOTHING, Boot, Machine, Net, Options, Serving, serving_of

_TRIES = 5


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
    for turn in range(changes):
        world.change()
        if turn in strikes and kill:
            kill()
        try:
            driver.bring(world.wanted())
        except CrowbarError:
            continue  # it may fail while the server is away: what is wanted then is brought later
    said += _settled(driver, world.wanted(), "after all changes")
    if kill:
        kill()
        said += [f"started anew, it has otherwise: {one}" for one in driver.differences(world.wanted())]
    said += _settled(driver, NOTHING, "when nothing is to be served")
    return said


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

    def _delete(self) -> None:
        if (key := self._some()) is not None:
            del self.machines[key]

    def _pool(self) -> None:
        self.pools = {4: self.chance.randrange(100, 200), 6: self.chance.randrange(0x1000, 0xF000)}
