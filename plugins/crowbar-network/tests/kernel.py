"""A small model of what the kernel does with the lines of ``ip -batch``: enough to see where they lead."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

from crowbar_network.conduits import Nic
from crowbar_network.state import Address, Known, KnownRoute, KnownRule, State


@dataclass
class Device:
    kind: str
    master: str = ""
    over: str = ""
    mtu: int = 1500
    up: bool = False
    params: tuple[str, ...] = ()
    addresses: list[str] = field(default_factory=list)


class Refused(Exception):
    """What ``ip`` would exit with an error for."""


class Kernel:
    def __init__(self, *cards: str) -> None:
        self.links: dict[str, Device] = {name: Device(kind="", up=True) for name in cards}
        self.routes: dict[tuple[int, int, str], tuple[str, str]] = {}
        self.rules: set[tuple[int, str, int, int]] = set()

    def batch(self, lines: Any, *, force: bool = False) -> None:
        for line in lines:
            try:
                self._do(line.split())
            except (Refused, KeyError) as problem:
                if not force:
                    raise Refused(f"{line}: {problem}") from None

    def _do(self, words: list[str]) -> None:
        version = 6 if any(":" in word for word in words) else 4
        noun, verb, *rest = words[1:] if words[0] == "-6" else words
        assert (words[0] == "-6") == (noun == "rule" and version == 6), words
        getattr(self, f"_{noun}_{verb}")(rest, version)

    def _link_add(self, words: list[str], _: int) -> None:
        said = _pairs(words[: words.index("type") + 2])
        params = tuple(words[words.index("type") + 2 :])
        if said["name"] in self.links or ("link" in said and said["link"] not in self.links):
            raise Refused("exists, or stands on nothing")
        over = said.get("link", "")
        mtu = self.links[over].mtu if over else 1500
        self.links[said["name"]] = Device(kind=said["type"], over=over, params=params, mtu=mtu)

    def _link_del(self, words: list[str], _: int) -> None:
        name = words[0]
        if not self.links[name].kind:
            raise Refused("a card")
        for other, device in list(self.links.items()):
            if device.over == name:
                self._link_del([other], 4)
            elif device.master == name:
                device.master = ""
        del self.links[name]
        self.routes = {key: route for key, route in self.routes.items() if route[1] != name}

    def _link_set(self, words: list[str], _: int) -> None:
        device = self.links[words[0]]
        match words[1:]:
            case ["up"]:
                device.up = True
            case ["down"]:
                device.up = False
                device.addresses = [one for one in device.addresses if ":" not in one]
                self.routes = {key: route for key, route in self.routes.items() if route[1] != words[0]}
            case ["nomaster"]:
                device.master = ""
            case ["master", master]:
                if self.links[master].kind == "bond" and device.up:
                    raise Refused("a card enters a bond only while it is down")
                if device.master and device.master != master:
                    raise Refused("it is in another")
                device.master = master
                device.up = device.up or self.links[master].kind == "bond"
            case ["mtu", size]:
                if device.over and int(size) > self.links[device.over].mtu:
                    raise Refused("more than what is below")
                device.mtu = int(size)
                for other in self.links.values():
                    if other.over == words[0]:
                        other.mtu = min(other.mtu, device.mtu)
            case _:
                raise AssertionError(words)

    def _addr_replace(self, words: list[str], _: int) -> None:
        device = self.links[words[words.index("dev") + 1]]
        if words[0] not in device.addresses:
            device.addresses.append(words[0])

    def _addr_del(self, words: list[str], _: int) -> None:
        device = self.links[words[2]]
        if words[0] not in device.addresses:
            raise Refused("has no such address")
        device.addresses.remove(words[0])
        if ":" not in words[0]:  # with the first of a subnet go the others
            subnet = ipaddress.ip_interface(words[0]).network
            device.addresses = [
                one for one in device.addresses if ":" in one or ipaddress.ip_interface(one).network != subnet
            ]
        for key, (via, dev) in list(self.routes.items()):  # and the ways by what is no longer reached
            if dev == words[2] and via and not _reached(device, via):
                del self.routes[key]

    def _route_replace(self, words: list[str], version: int) -> None:
        said = _pairs(["to", *words])
        device = self.links[said["dev"]]
        if not device.up:
            raise Refused("is down")
        if "via" in said and not _reached(device, said["via"]):
            raise Refused("the way there is unknown")
        key = (version, int(said.get("table", 0)), said["to"])
        self.routes[key] = (said.get("via", ""), said["dev"])

    def _route_del(self, words: list[str], version: int) -> None:
        said = _pairs(["to", *words])
        del self.routes[version, int(said.get("table", 0)), said["to"]]

    def _rule_add(self, words: list[str], version: int) -> None:
        said = _pairs(words)
        self.rules.add((version, said["from"], int(said["lookup"]), int(said["priority"])))

    def _rule_del(self, words: list[str], version: int) -> None:
        said = _pairs(words)
        self.rules.remove((version, said["from"], int(said["lookup"]), int(said["priority"])))

    def state(self) -> State:
        return State(
            links={name: Known(
                name=name, kind=device.kind, master=device.master, over=device.over, mtu=device.mtu, up=device.up,
                carrier=device.up, params=device.params, partner="02:00:00:00:00:01" if device.kind == "bond" else "",
                addresses=tuple(Address(text=one) for one in sorted(device.addresses)),
            ) for name, device in sorted(self.links.items())},
            routes=tuple(KnownRoute(
                version=version, to=to, via=via, dev=dev, table=table,
                words=f"{to}{f' via {via}' if via else ''} dev {dev}{f' table {table}' if table else ''}",
            ) for (version, table, to), (via, dev) in sorted(self.routes.items())),
            rules=tuple(KnownRule(version=version, source=source, table=table, priority=priority)
                        for version, source, table, priority in sorted(self.rules)),
            nics=tuple(Nic(name=name, mac="") for name, device in self.links.items() if not device.kind),
        )  # fmt: skip


def _reached(device: Device, via: str) -> bool:
    return any(ipaddress.ip_address(via) in ipaddress.ip_interface(one).network for one in device.addresses)


def _pairs(words: list[str]) -> dict[str, str]:
    return dict(zip(words[::2], words[1::2], strict=True))
