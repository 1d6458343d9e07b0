"""What was last found of a change that is being tried, for how long that has been so, and what it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crowbar_core import NodeUnreachable
from crowbar_network.layers import Link
from crowbar_network.state import State
from crowbar_network.wanted import Config

NO_WAY_IN = "no new connection to an admin address"
SETTLING = "duplicate address detection has not ended"
NO_TIME = "it took too long to be looked at; a longer keep_within gives a slow machine the time"
TIMES = 3


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

    def saw(self, state: State) -> None:
        self.seen, self.near = state, []
        self.too_slow()

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

    def is_slow(self, limit: int, *, now: float) -> bool:
        """Whether nothing is found wrong by now, but half of the time has passed."""
        return self.late - now < limit / 2 and not self.times

    def stands(self, patience: int, *, now: float) -> bool:
        """Whether the same was found ``TIMES`` times in a row, for so many seconds; never with 0."""
        return bool(patience) and self.times >= TIMES and now - self.since >= patience


def unanswered(one: Config, said: Mapping[tuple[str, str], str], link: Link, near: list[str]) -> str:
    """The first that is wrong with what routers and other nodes answered, or ''; ``near`` is given what is odd.
    ``said``: (address, size of the packet) -> yes, near or no.
    """
    families = {":" in mine for mine in one.addresses}
    for v6 in sorted(families):
        asked_routers = [where for where, _ in one.routers if (":" in where) == v6]
        peers = [peer for peer in one.peers if (":" in peer) == v6]
        for where in asked_routers:
            if said.get((where, "0")) == "no":
                return f"router {where} of network {one.name} does not answer on {link.name}"
        answering = [where for where in (*asked_routers, *peers) if said.get((where, "0")) == "yes"]
        if peers and all(said.get((peer, "0")) == "no" for peer in peers):
            silent = f"none of the nodes {', '.join(peers)} of network {one.name} answers on {link.name}"
            if not asked_routers:
                return silent
            near.append(silent)  # they may be off
        found = [where for where in answering if _whole(said, where) == "yes"]
        if answering and not found:
            return f"packets of the full size do not get through {link.name} to {', '.join(answering)}"
        if not asked_routers and not peers:
            near.append(f"network {one.name} has no router and no other node with IPv{6 if v6 else 4} to ask")
        elif not answering:
            near.append(
                f"{', '.join((*asked_routers, *peers))} of network {one.name} is found on the wire, and answers no ping"
            )
    return ""


def _whole(said: Mapping[tuple[str, str], str], where: str) -> str:
    return next(
        (word for (address, size), word in said.items() if address == where and size not in ("0", "doubled")), ""
    )
