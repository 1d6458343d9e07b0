"""What one transaction moves: ``Moves`` collects it, for the events and for those who must be woken afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowbar_core.domain.states import State
from crowbar_core.store.db import Store
from crowbar_core.store.models import NodeRole, table

node_roles = table(NodeRole)

PORTION = 5000
"""How many rows a change of very many is held in memory for at a time."""


def batched(ids: Iterable[int], most: int) -> Iterator[list[int]]:
    """The ids in lists of at most so many."""
    left = iter(ids)
    while portion := list(islice(left, most)):
        yield portion


@dataclass(frozen=True, slots=True)
class Moved:
    """A noderole that changed its state. ``silent``: nobody is told (a destructive role passed over)."""

    node_role_id: int
    node_id: int
    role_id: int
    to: State
    silent: bool = False


@dataclass
class Moves:
    """What one transaction did to states and runs."""

    store: Store
    session: Session
    now: datetime
    heard: frozenset[State] = frozenset(State)
    """The states whose being reached anybody wants to hear of: only these moves are remembered one by one."""
    moved: list[Moved] = field(default_factory=list)
    count: int = 0
    """How many moves there were."""
    woken: set[int] = field(default_factory=set)
    """Nodes on which something may have become runnable."""
    cancelling: list[int] = field(default_factory=list)
    """Runs that a worker must be told to stop."""
    ended_runs: list[int] = field(default_factory=list)

    def note(self, to: State, group: Iterable[tuple[int, int, int]], *, silent: bool = False) -> None:
        """Remember that these (noderole id, node id, role id) have come to ``to``."""
        before = len(self.moved)
        if to in self.heard:
            self.moved.extend(Moved(*one, to, silent) for one in group)
            self.count += len(self.moved) - before
        else:
            self.count += sum(1 for _ in group)


@dataclass(frozen=True, slots=True)
class Standing:
    """A noderole as it stands inside this transaction."""

    id: int
    node_id: int
    role_id: int
    state: State


def standing(moves: Moves, ids: Collection[int]) -> dict[int, Standing]:
    """The noderoles with these ids, as they stand."""
    columns = (node_roles.c.id, node_roles.c.node_id, node_roles.c.role_id, node_roles.c.state)
    found = moves.session.execute(select(*columns).where(moves.store.ids(node_roles.c.id, ids)))
    return {row.id: Standing(row.id, row.node_id, row.role_id, State(row.state)) for row in found}
