"""What was last found of a change that is being tried, and for how long that has been so. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from crowbar_core import NodeUnreachable
from crowbar_network.state import State

NO_WAY_IN = "no new connection to an admin address"
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

    def saw(self, state: State) -> None:
        self.seen, self.near = state, []
        self.too_slow()

    def too_slow(self) -> None:
        """Somebody could log in; unless more is found, that is all there was time for."""
        if not self.times:
            self.first = NO_TIME

    def found(self, problem: str, *, now: float) -> None:
        if not self.times or problem != self.first:
            self.times, self.since = 0, now
        self.first = problem
        self.times += 1

    def stands(self, patience: int, *, now: float) -> bool:
        """Whether the same was found ``TIMES`` times in a row, for so many seconds; never with 0."""
        return bool(patience) and self.times >= TIMES and now - self.since >= patience
