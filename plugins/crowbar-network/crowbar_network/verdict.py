"""What was last found of a change that is being tried, for how long that has been so, and what it is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from crowbar_core import NodeUnreachable
from crowbar_network.layers import Link
from crowbar_network.state import State
from crowbar_network.wanted import Config

NO_WAY_IN = "no new connection to an admin address"
SETTLING = "duplicate address detection has not ended"
NO_TIME = "it took too long to be looked at; a longer keep_within gives a slow machine the time"
TIMES = 3
CHECKS = 1.0
"""Seconds that who answers, and who does not, are waited for."""
PACE = 3
"""What asking others and saying that the change stays take, in times of looking."""
AS_BEFORE = "as before the change: "


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What was wrong with a node's other networks before one of them was changed, for which the change is not led back.
    ``faults``: the sentences of those of their interfaces; ``said``: what others answered.
    """

    network: str = ""
    """The one that is changed: of it, nothing is excused."""
    faults: frozenset[str] = frozenset()
    said: Mapping[tuple[str, str], str] = field(default_factory=dict)
    addresses: frozenset[tuple[str, str]] = frozenset()
    """Those that were there, with their interfaces: (interface, address with prefix)."""

    def silent(self, network: str, *addresses: str) -> bool:
        """Whether none of these answered before, either."""
        return network != self.network and all(self.said.get((one, "0")) == "no" for one in addresses)

    def small(self, network: str, *addresses: str) -> bool:
        """Whether, of these that answered before, none got a packet of the full size."""
        answered = [one for one in addresses if self.said.get((one, "0")) == "yes"]
        return network != self.network and bool(answered) and all(_whole(self.said, one) != "yes" for one in answered)


@dataclass(kw_only=True)
class Verdict:
    """``first``: the first thing that is not as it should be; '' when all is well."""

    first: str = NO_WAY_IN
    seen: State | None = None
    near: list[str] = field(default_factory=list)
    alone: bool = False
    """Whether nobody else has our addresses."""
    unheard: NodeUnreachable | None = None
    """Why it is not known whether the change has begun."""
    times: int = 0
    """How often in a row ``first`` has been found on the node."""
    since: float = 0.0
    passing: bool = False
    late: float
    """When to stop looking: the node is about to take it back."""
    longer: float = 0.0
    """Seconds more that a slow node was given, for as long as nothing is wrong."""
    looking: float = 0.0
    """Seconds that the node took to tell its interfaces."""
    earlier: Earlier = field(default_factory=Earlier)

    def saw(self, state: State) -> None:
        self.seen, self.near = state, []
        self.too_slow()

    def not_excused(self, faults: Iterable[str]) -> str:
        """The first that was not there before the change, or ''; the others are odd."""
        first = ""
        for one in faults:
            if one in self.earlier.faults:
                self.near.append(AS_BEFORE + one)
            else:
                first = first or one
        return first

    def too_slow(self) -> None:
        """Somebody could log in; unless more is found, that is all there was time for."""
        if not self.times:
            self.first = NO_TIME

    def found(self, problem: str, *, now: float, passing: bool = False) -> None:
        """``passing``: it may be over at the next look, as when a link has just come up; see ``has_passed``."""
        self.passing = passing
        if not self.times or problem != self.first:
            self.times, self.since = 0, now
        self.first = problem
        self.times += 1

    def has_passed(self) -> None:
        """What was found last is over, if it was of that kind."""
        if self.passing:
            self.first, self.times, self.passing = NO_TIME, 0, False

    @property
    def end(self) -> float:
        return self.late + self.longer

    def lacks(self, *, now: float) -> float:
        """How many seconds are missing to ask what is still to be asked, at the pace of this node; 0 when something is
        wrong.
        """
        return 0.0 if self.times else max(0.0, now + CHECKS + PACE * self.looking - self.end)

    def is_over(self, patience: int, *, now: float) -> bool:
        """Whether there is nothing more to wait for: with something wrong, no longer than the limit; nor, with
        ``patience``, when the same was found ``TIMES`` times in a row, for so many seconds.
        """
        if now >= (self.late if self.times and not self.passing else self.end):
            return True
        return bool(patience) and self.times >= TIMES and now - self.since >= patience


def unanswered(
    one: Config, said: Mapping[tuple[str, str], str], link: Link, near: list[str], earlier: Earlier | None = None
) -> str:
    """The first that is wrong with what routers and other nodes answered, or ''; ``near`` is given what is odd.
    ``said``: (address, size of the packet) -> yes, near or no.
    """
    earlier = earlier or Earlier()
    families = {":" in mine for mine in one.addresses}
    for v6 in sorted(families):
        asked_routers = [where for where, _ in one.routers if (":" in where) == v6]
        peers = [peer for peer in one.peers if (":" in peer) == v6]
        for where in asked_routers:
            if said.get((where, "0")) == "no":
                dead = f"router {where} of network {one.name} does not answer on {link.name}"
                if not earlier.silent(one.name, where):
                    return dead
                near.append(AS_BEFORE + dead)
        answering = [where for where in (*asked_routers, *peers) if said.get((where, "0")) == "yes"]
        if peers and all(said.get((peer, "0")) == "no" for peer in peers):
            silent = f"none of the nodes {', '.join(peers)} of network {one.name} answers on {link.name}"
            if not asked_routers and not earlier.silent(one.name, *peers):
                return silent
            near.append(silent)  # they may be off
        found = [where for where in answering if _whole(said, where) == "yes"]
        if answering and not found:
            small = f"packets of the full size do not get through {link.name} to {', '.join(answering)}"
            if not earlier.small(one.name, *answering):
                return small
            near.append(AS_BEFORE + small)
        if not asked_routers and not peers:
            near.append(f"network {one.name} has no router and no other node with IPv{6 if v6 else 4} to ask")
        elif any(said.get((where, "0")) == "near" for where in (*asked_routers, *peers)) and not answering:
            near.append(
                f"{', '.join((*asked_routers, *peers))} of network {one.name} is found on the wire, and answers no ping"
            )
    return ""


def _whole(said: Mapping[tuple[str, str], str], where: str) -> str:
    return next(
        (word for (address, size), word in said.items() if address == where and size not in ("0", "doubled")), ""
    )
