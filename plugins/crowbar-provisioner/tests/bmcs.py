"""A light machine's BMC: the lab's own Redfish server, on the loopback, in front of a power switch that counts."""

from __future__ import annotations

import contextlib
import http.server
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from crowbar_lab import vm_bmc
from crowbar_lab.vm_bmc import Bmc, Redfish
from crowbar_lab.vm_qemu import PowerError

from .light import served


@dataclass
class Switch:
    """``boots``: how often it began to boot. A ``deaf`` one takes what it is told for done."""

    on: bool = True
    boots: int = 0
    deaf: bool = False
    target: str | None = None
    mode: str = "Disabled"

    def power_on(self) -> None:
        if not self.on and not self.deaf:
            self.on = True
            self.boots += 1

    def power_off(self) -> None:
        self.on = self.on and self.deaf

    def reset(self) -> None:
        if not self.on:
            raise PowerError("It is off.")
        self.boots += not self.deaf

    press_button = power_off

    def override(self, target: str | None, mode: str) -> None:
        self.target, self.mode = target, mode


class LightRedfish(Redfish):
    address_family = socket.AF_INET

    def __init__(self, bmc: Bmc) -> None:
        self.bmc = bmc
        self.plan: Any = SimpleNamespace(
            uuid="1", firmware="bios", name="light", serial="S-1", cpus=1, memory=1024
        )  # fmt: skip
        http.server.ThreadingHTTPServer.__init__(self, ("127.0.0.1", 0), vm_bmc._RedfishRequest)


@dataclass
class LightBmc:
    switch: Switch
    bmc: Bmc
    port: int


@contextlib.contextmanager
def light_bmc() -> Iterator[LightBmc]:
    switch = Switch()
    vm: Any = switch
    bmc = Bmc(vm)
    with served(LightRedfish(bmc)) as server:
        yield LightBmc(switch=switch, bmc=bmc, port=server.server_address[1])
