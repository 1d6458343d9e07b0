"""What is plugged in or set at switches otherwise than the networks want it: facts in, findings out. Pure functions.

Each thing that is wrong is named once: what follows from it (a card on the wrong port has the wrong VLAN, too, and
nobody answers there) is left out. What only a few facts speak for is not said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from crowbar_network.conduits import speed_name
from crowbar_network.pinging import Ping, reached, whole
from crowbar_network.swapping import Accepted, Place, misplaced
from crowbar_network.wires import Machine, Wire

LACP = 4
"""The mode of a bond that needs a partner."""


@dataclass(frozen=True, kw_only=True)
class Meant:
    """What a network wants of the cards of one node. ``vlan`` with ``tagged``: its frames have that tag; without: the
    port's own VLAN should be this one, if the network says so. ``mode`` of the bond, None without one. ``speed``: the
    least, in Mb/s; 0 for any. ``mtu`` 0: as it is.
    """

    node: str
    network: str
    nics: tuple[str, ...]
    vlan: int | None = None
    tagged: bool = False
    mode: int | None = None
    mtu: int = 0
    speed: int = 0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """``said`` is a whole sentence. ``nic`` may be several, by commas; what is of no one node or port is ''."""

    kind: str
    said: str
    node: str = ""
    nic: str = ""
    network: str = ""
    switch: str = ""
    port: str = ""


@dataclass(frozen=True, kw_only=True)
class _Words:
    """What is said of all ends, of one, of two, of two switches, and of a router."""

    all: str
    one: str
    two: str
    switches: str
    router: str


def find(
    machines: Sequence[Machine], meant: Sequence[Meant], pings: Sequence[Ping], accepted: Accepted
) -> tuple[Finding, ...]:
    """All that is wrong, the wires first. ``accepted``: node -> MAC -> (chassis, port), as somebody found it right."""
    return tuple(_Search(machines, meant, accepted).all(pings))


class _Search:
    def __init__(self, machines: Sequence[Machine], meant: Sequence[Meant], accepted: Accepted) -> None:
        self.machines = {one.node: one for one in machines}
        self.meant = [one for one in meant if one.node in self.machines]
        self.accepted = accepted
        self.explained: set[tuple[str, str]] = set()
        """(node, card) of which something was said."""

    def all(self, pings: Sequence[Ping]) -> Iterator[Finding]:
        silent = _unanswered(pings)
        yield from self._each(self._misplaced())
        yield from self._each(one for meant in self._sets() for one in self._dead(meant))
        yield from self._each(one for meant in self._sets() for one in self._half(meant))
        yield from self._each(one for meant in self.meant for one in self._slow(meant))
        yield from self._each(self._unannounced())
        yield from self._each(self._vlans(silent))
        yield from self._each(one for meant in self.meant for one in self._small(meant))
        yield from self._each(self._lost(pings))
        yield from self._each(self._cut(pings))

    def _each(self, found: Iterable[Finding]) -> Iterator[Finding]:
        """One for each card: whatever else is wrong with it comes to light when that is mended."""
        for one in list(found):
            cards = {(one.node, nic) for nic in one.nic.split(", ") if nic}
            if not cards & self.explained:
                self.explained |= cards
                yield one

    def _sets(self) -> Iterator[Meant]:
        """One network for each set of cards: what is said of the cards is so for all networks on them."""
        seen = set()
        for one in self.meant:
            if (one.node, one.nics) not in seen:
                seen.add((one.node, one.nics))
                yield one

    def _wires(self, meant: Meant) -> Iterator[Wire]:
        for nic in meant.nics:
            if (wire := self.machines[meant.node].wire(nic)) is not None:
                yield wire

    # ------------------------------------------------------------ cables

    def _misplaced(self) -> Iterator[Finding]:
        places = [Place(node=one.node, nic=nic, label=(one.network, number))
                  for one in self._sets() for number, nic in enumerate(one.nics)]  # fmt: skip
        for one in misplaced(self.machines, places, self.accepted):
            there = one.wires[0].neighbour
            yield Finding(
                kind=one.kind, node=one.node, nic=", ".join(wire.nic for wire in one.wires), said=one.said,
                switch=there.switch if there else "", port=there.port if there else "",
            )  # fmt: skip

    def _dead(self, meant: Meant) -> Iterator[Finding]:
        for wire in self._wires(meant):
            if not wire.carrier and meant.mode is None:
                why = "has no carrier: its cable is out, or its port at the switch is off" if wire.up else "is down"
                yield _finding("no carrier", meant, wire, f"{wire.nic} of {meant.node} {why}.")

    def _half(self, meant: Meant) -> Iterator[Finding]:
        if meant.mode is None:
            return
        wires = list(self._wires(meant))
        bond = self.machines[meant.node].bonds.get(wires[0].master) if wires else None
        name = wires[0].master if bond else "its bond"
        for wire in wires:
            if not wire.carrier:
                why = "has no carrier"
            elif bond is None:
                return  # it is not made yet
            elif not wire.master:
                why = "is not in it"
            elif meant.mode == LACP and wire.partner is False:
                why = "has no LACP partner: its port is in no group at the switch"
            elif meant.mode == LACP and wire.aggregator != bond.aggregator:
                why = "is in another aggregator than the others: its port is in another group, or at another switch"
            else:
                continue
            yield _finding("half a bond", meant, wire, f"{name} of {meant.node} is not whole: {wire.nic} {why}.")

    def _unannounced(self) -> Iterator[Finding]:
        """A card at whose other end nobody speaks LLDP, though switches do at those of the others."""
        for network, several in self._by_network().items():
            pairs = [(meant, wire) for meant in several for wire in self._wires(meant)
                     if wire.carrier and self.machines[meant.node].listens]  # fmt: skip
            heard = sum(wire.neighbour is not None for _, wire in pairs)
            for meant, wire in pairs:
                if wire.neighbour is None and heard >= 2 and 2 * heard > len(pairs):
                    yield _finding(
                        "silent", meant, wire,
                        f"Nobody announces himself at {wire.nic} of {meant.node}, as switches do at the other cards of "
                        f"network {network}: it is plugged into something else, or LLDP is off at the port.",
                    )  # fmt: skip
                elif wire.neighbour is not None and not wire.neighbour.bridge and 2 * self._bridges(pairs) > len(pairs):
                    yield _finding(
                        "silent", meant, wire,
                        f"{wire.nic} of {meant.node} is plugged into the machine {wire.neighbour.switch}, no switch.",
                    )  # fmt: skip

    @staticmethod
    def _bridges(pairs: Sequence[tuple[Meant, Wire]]) -> int:
        return sum(wire.neighbour is not None and wire.neighbour.bridge for _, wire in pairs)

    def _by_network(self) -> dict[str, list[Meant]]:
        found: dict[str, list[Meant]] = {}
        for one in self.meant:
            found.setdefault(one.network, []).append(one)
        return found

    # ------------------------------------------------------------ ports

    def _slow(self, meant: Meant) -> Iterator[Finding]:
        wires = [wire for wire in self._wires(meant) if wire.carrier]
        fastest = max((wire.speed for wire in wires), default=0)
        for wire in wires:
            least = meant.speed or (fastest if meant.mode is not None else 0)
            if 0 < wire.speed < least:
                yield _finding(
                    "wrong speed", meant, wire,
                    f"{wire.nic} of {meant.node} runs at {speed_name(wire.speed)}; network {meant.network} wants "
                    f"{speed_name(least)}{_at(wire)}.",
                )  # fmt: skip
            elif wire.duplex == "half":
                yield _finding(
                    "wrong speed", meant, wire, f"{wire.nic} of {meant.node} runs at half duplex{_at(wire)}."
                )

    def _vlans(self, silent: set[tuple[str, str]]) -> Iterator[Finding]:
        for several in self._by_network().values():
            usual = self._usual([one for one in several if not one.tagged])
            for meant in several:
                for wire in self._wires(meant):
                    unheard = (meant.node, meant.network) in silent
                    if wire.neighbour is not None and (why := _vlan_of(meant, wire, usual, unheard=unheard)):
                        yield _finding("wrong VLAN", meant, wire, why)

    def _usual(self, several: Iterable[Meant]) -> int | None:
        """The VLAN of untagged frames at most ports of a network that does not say one; None where they differ."""
        told: Counter[int | None] = Counter(
            wire.neighbour.vlan
            for meant in several
            for wire in self._wires(meant)
            if wire.neighbour is not None and wire.neighbour.vlan is not None
        )
        vlan, count = next(iter(told.most_common(1)), (None, 0))
        return vlan if count >= 2 and 2 * count > sum(told.values()) else None

    def _small(self, meant: Meant) -> Iterator[Finding]:
        for wire in self._wires(meant):
            if 0 < wire.mtu < meant.mtu:
                yield _finding(
                    "small MTU", meant, wire,
                    f"{wire.nic} of {meant.node} itself has an MTU of {wire.mtu:,}; network {meant.network} wants "
                    f"{meant.mtu:,}.",
                )  # fmt: skip
            elif wire.neighbour is not None and 0 < wire.neighbour.mtu < meant.mtu:
                yield _finding(
                    "small MTU", meant, wire,
                    f"The port of {wire.nic} of {meant.node} takes packets of {wire.neighbour.mtu:,} bytes{_at(wire)}; "
                    f"network {meant.network} wants {meant.mtu:,}.",
                )  # fmt: skip

    # ------------------------------------------------------------ what pings tell

    def _mended(self, pings: Iterable[Ping], network: str) -> list[Ping]:
        """Those between ends of which nothing was said so far."""
        known = {one.node for one in self.meant if one.network == network
                 and any((one.node, nic) in self.explained for nic in one.nics)}  # fmt: skip
        return [one for one in pings if one.network == network and not {one.node, one.to} & known]

    def _lost(self, pings: Sequence[Ping]) -> Iterator[Finding]:
        for network in dict.fromkeys(one.network for one in pings):
            yield from self._ends(
                "unreachable", reached(self._mended(pings, network)), network,
                _Words(
                    all="No node of network {network} answers any other{on}: is its VLAN there, everywhere?",
                    one="{end} and the others on network {network} do not answer each other",
                    two="{end} and {other} do not answer each other on network {network}, though both answer others",
                    switches="Nodes at {end} and at {other} do not answer each other on network {network}",
                    router="Router {end} of network {network} answers none of the nodes",
                ),
            )  # fmt: skip

    def _cut(self, pings: Sequence[Ping]) -> Iterator[Finding]:
        for network in dict.fromkeys(one.network for one in pings):
            full = "Packets of the full size do not get through"
            yield from self._ends(
                "small MTU", whole([one for one in self._mended(pings, network) if one.small]), network,
                _Words(
                    all=f"{full} anywhere on network {{network}}{{on}}: look at the MTU there",
                    one=f"{full} to {{end}} on network {{network}}",
                    two=f"{full} between {{end}} and {{other}} on network {{network}}",
                    switches=f"{full} between {{end}} and {{other}} on network {{network}}",
                    router=f"{full} to the router {{end}} of network {{network}}",
                ),
            )  # fmt: skip

    def _ends(
        self, kind: str, blamed: Iterable[tuple[tuple[str, ...], bool]], network: str, words: _Words
    ) -> Iterator[Finding]:
        """A finding for each end, for what is between two, or for the switch that they share."""
        found = list(blamed)
        alone = [ends[0] for ends, _ in found if len(ends) == 1]
        together = self._whole_switches(alone, network)
        said: set[tuple[str, ...]] = set()
        for ends, every in found:
            shared = self._shared(ends, network)
            if every or (shared in together and len(ends) == 1):
                text = words.all.format(network=network, on=f" at switch {shared}" if shared else "")
                if (text,) not in said:
                    said.add((text,))
                    yield Finding(kind=kind, network=network, switch=shared, said=f"{text.rstrip('.?')}.")
                continue
            if len(ends) == 2 and not shared and all(at := [self._shared([end], network) for end in ends]):
                pair = tuple(sorted(f"switch {one}" for one in at))
                if pair not in said:
                    said.add(pair)
                    text = words.switches.format(end=pair[0], other=pair[1], network=network)
                    example = f"{ends[0]} and {ends[1]} are two such nodes"
                    yield Finding(kind=kind, network=network, switch=", ".join(sorted(at)), said=f"{text}: {example}.")
                continue
            yield self._at_ends(kind, ends, network, words)

    def _whole_switches(self, ends: Sequence[str], network: str) -> set[str]:
        """Switches all of whose nodes on this network are among the ends, if they are several."""
        at: dict[str, list[str]] = {}
        for one in self.meant:
            if one.network == network and (switch := self._shared([one.node], network)):
                at.setdefault(switch, []).append(one.node)
        return {switch for switch, nodes in at.items() if len(nodes) > 1 and set(nodes) <= set(ends)}

    def _at_ends(self, kind: str, ends: Sequence[str], network: str, words: _Words) -> Finding:
        named = [self._end(end, network) for end in ends]
        if len(ends) == 1 and named[0] is None:
            return Finding(kind=kind, network=network, said=f"{words.router.format(end=ends[0], network=network)}.")
        template = words.one if len(ends) == 1 else words.two
        text = template.format(end=ends[0], other=ends[-1], network=network)
        ports = [
            f"{end} is at {', '.join(port)}" for end, port in zip(ends, map(self._ports, named), strict=True) if port
        ]
        wire = next((wire for wire in self._wires(named[0]) if wire.neighbour), None) if named[0] else None
        alone = named[0] if len(ends) == 1 else None
        return Finding(
            kind=kind, network=network, said=f"{text}{': ' if ports else ''}{'; '.join(ports)}.",
            node=alone.node if alone else "", nic=", ".join(alone.nics) if alone else "",
            switch=self._shared(ends, network),
            port=wire.neighbour.port if alone and wire and wire.neighbour else "",
        )  # fmt: skip

    def _end(self, node: str, network: str) -> Meant | None:
        return next((one for one in self.meant if (one.node, one.network) == (node, network)), None)

    def _ports(self, meant: Meant | None) -> list[str]:
        if meant is None:
            return []
        return [f"{wire.neighbour.at} ({wire.nic})" for wire in self._wires(meant) if wire.neighbour is not None]

    def _shared(self, ends: Iterable[str], network: str) -> str:
        """The one switch at which all of these are; '' where there are more, or nobody tells."""
        found = {
            wire.neighbour.switch if wire.neighbour is not None else ""
            for end in ends
            if (meant := self._end(end, network)) is not None
            for wire in self._wires(meant)
        }
        return found.pop() if len(found) == 1 else ""


def _unanswered(pings: Iterable[Ping]) -> set[tuple[str, str]]:
    """(node, network) where nobody answers."""
    heard: dict[tuple[str, str], bool] = {}
    for one in pings:
        for end in (one.node, one.to):
            heard[end, one.network] = heard.get((end, one.network), False) or one.small
    return {key for key, answered in heard.items() if not answered}


def _vlan_of(meant: Meant, wire: Wire, usual: int | None, *, unheard: bool) -> str:
    """What is wrong with the VLANs of the card's port; '' for nothing, or what nobody tells."""
    there = wire.neighbour
    assert there is not None
    card = f"The port of {wire.nic} of {meant.node}"
    if meant.tagged:
        if meant.vlan in there.tagged or not (there.tagged or unheard):
            return ""
        if meant.vlan == there.vlan:
            return f"{card} has VLAN {meant.vlan} untagged{_at(wire)}; network {meant.network} has it with a tag."
        if not there.tagged and there.vlan is None:
            return ""
        has = ", ".join(map(str, there.tagged)) or "none"
        return (
            f"{card} has not VLAN {meant.vlan} of network {meant.network}{_at(wire)}: its tagged VLANs are {has}, and "
            f"the untagged one is {there.vlan or 'none'}."
        )
    wanted = meant.vlan if meant.vlan is not None else usual
    if wanted is None or there.vlan is None or there.vlan == wanted:
        return ""
    others = "" if meant.vlan is not None else "the other ports of "
    whose = f"{others}network {meant.network} {'are' if others else 'is'}"
    return f"{card} is in VLAN {there.vlan}{_at(wire)}; {whose} in VLAN {wanted}."


def _finding(kind: str, meant: Meant, wire: Wire, said: str) -> Finding:
    there = wire.neighbour
    return Finding(
        kind=kind, node=meant.node, nic=wire.nic, network=meant.network, said=said,
        switch=there.switch if there else "", port=there.port if there else "",
    )  # fmt: skip


def _at(wire: Wire) -> str:
    return f" ({wire.neighbour.at})" if wire.neighbour is not None else ""
