"""What both hammers have in common: which orders a BMC is given, and that what came of them is read afterwards.

A BMC that answers "done" may not have done it. So the power is read after each order, and one that goes on saying
something else is called by name: then the node's next hammer is tried.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, TypeVar

from crowbar_core import Hammer, Json, Refused, TemporaryError

T = TypeVar("T")
Power = Literal["on", "off"]
Order = Literal["on", "off", "soft", "cycle", "reset"]
Device = Literal["pxe", "http", "disk"]

PAUSE = 1.0
"""Seconds before a BMC is asked once more that was busy or has hung up."""
LOOK_AGAIN = 0.5

COMMON: Mapping[str, Json] = {
    "address": {
        "type": "string", "pattern": "^[A-Za-z0-9:][A-Za-z0-9.:%_-]{0,252}$",
        "description": "The BMC's address or name.",
    },
    "port": {"type": "integer", "minimum": 1, "maximum": 65535, "description": "If it is not the usual one."},
    "user": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[^\\s:]+$"},
    "password": {"type": "string", "maxLength": 255, "pattern": "^[^\\n\\r\\u0000]*$", "writeOnly": True},
    "boot_mode": {
        "enum": ["bios", "uefi"],
        "description": "How the machine is to boot when a boot device is set; without, the BMC decides.",
    },
    "timeout": {
        "type": "number", "minimum": 1, "maximum": 600, "default": 20,
        "description": "Seconds that the BMC may take for an answer.",
    },
    "settle": {
        "type": "number", "minimum": 0, "maximum": 600, "default": 30,
        "description": "Seconds after which the power must be read as it was ordered.",
    },
}  # fmt: skip


class Busy(Exception):
    """It refused for the moment, or ended the session: worth asking once more. The message is a clause."""


class NotNow(Exception):
    """It refused because of the machine's state, as a reset of one that is off. The message is a clause."""


class BmcHammer(Hammer):
    """``config`` has ``address``, ``user`` and ``password``; the rest of ``schema`` may be left out."""

    devices: ClassVar[Mapping[str, Device]] = {"pxe": "pxe", "disk": "disk"}
    """What it can be told to boot from, as the names of its actions say."""

    def actions(self) -> tuple[str, ...]:
        once = [f"boot-once-{one}" for one in self.devices]
        always = [f"boot-{one}" for one in self.devices if one != "http"]
        return ("on", "off", "soft", "cycle", "reset", "status", *once, *always)

    def perform(self, action: str) -> str:
        """Raises ``TemporaryError`` for a BMC that does not answer, stays busy or says what is not so; ``Refused`` for
        one that wants another user, password, certificate or order.
        """
        if action == "status":
            return self._twice(self.read)
        if action.startswith("boot-"):
            device = self.devices[action.rpartition("-")[2]]
            once = action.startswith("boot-once-")
            self._tell(action, lambda: self.boot(device, once=once))
            return f"boots from {device} {'the next time' if once else 'from now on'}"
        if action == "soft":
            return self._soft()
        if action in ("cycle", "reset"):
            return self._restart("cycle" if action == "cycle" else "reset")
        wanted: Power = "on" if action == "on" else "off"
        self._tell(action, lambda: self.order(wanted))
        return self._confirmed(action, wanted)

    # ---- what a protocol brings; each raises Busy or NotNow

    @abstractmethod
    def read(self) -> Power: ...

    @abstractmethod
    def order(self, order: Order) -> None: ...

    @abstractmethod
    def boot(self, device: Device, *, once: bool) -> None: ...

    # ---- orders

    def _soft(self) -> str:
        if self._twice(self.read) == "off":
            return "it is off"
        self._tell("soft", lambda: self.order("soft"))
        return "its system is asked to shut down"

    def _restart(self, order: Literal["cycle", "reset"]) -> str:
        """One that turns out to be off is switched on."""
        try:
            self._twice(lambda: self.order(order))
        except NotNow:
            return self._switched_on(order)
        if self._reads(("on",)) is None:
            return self._switched_on(order)
        return f"{order}: it is on"

    def _switched_on(self, order: str) -> str:
        self._tell("on", lambda: self.order("on"))
        self._confirmed(order, "on")
        return "it was off, and is switched on"

    def _tell(self, action: str, work: Callable[[], None]) -> None:
        try:
            self._twice(work)
        except NotNow as problem:
            raise Refused(f"{self._whose} does not {action} now: {problem}.") from None

    def _twice(self, work: Callable[[], T]) -> T:
        """Once more after a moment, where it was busy or hung up."""
        try:
            return work()
        except Busy:
            time.sleep(PAUSE)
        try:
            return work()
        except Busy as problem:
            raise TemporaryError(f"{self._whose} was asked twice: {problem}.") from None

    def _confirmed(self, action: str, wanted: Power) -> str:
        if (last := self._reads((wanted,))) is None:
            other = "off" if wanted == "on" else "on"
            raise TemporaryError(
                f"{self._whose} took the order {action}, and still says {self._settle:g} s later that the machine is "
                f"{other}. Either it does not tell the truth, or the machine does not obey: somebody is to look."
            )
        return f"it is {last}"

    def _reads(self, wanted: tuple[Power, ...]) -> Power | None:
        """What is read once it is as wanted; None when it is not in time."""
        until = time.monotonic() + self._settle
        while True:
            if (found := self._twice(self.read)) in wanted:
                return found
            if time.monotonic() >= until:
                return None
            time.sleep(LOOK_AGAIN)

    # ---- what its configuration says

    @property
    def _whose(self) -> str:
        return f"The BMC {self.config['address']} of {self.node.name}"

    @property
    def _settle(self) -> float:
        return float(self._said("settle"))

    @property
    def _timeout(self) -> float:
        return float(self._said("timeout"))

    def _said(self, name: str) -> Any:
        known: Mapping[str, Any] = COMMON[name]
        return self.config.get(name, known.get("default"))


def schema(required: tuple[str, ...] = ("address", "user", "password"), **more: Json) -> dict[str, Json]:
    """That of a hammer with these properties besides; one of the same name replaces the common one."""
    return {
        "type": "object", "properties": {**COMMON, **more}, "required": list(required), "additionalProperties": False,
    }  # fmt: skip
