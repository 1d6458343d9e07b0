"""What will happen until all is at rest: the annealer's passes over a picture, every run succeeding.

The picture need not hold the whole cluster: what is ACTIVE and neither wants a refresh nor goes back takes no part,
unless something sends it back (``extend`` adds it then, with what is below it). No clock: a delayed retry is tried when
its time has come, so here it is simply tried.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from crowbar_core.domain.annealing import Graph, NodeRole, Reason, Run, why
from crowbar_core.domain.states import (
    ACTIVE,
    BLOCKED,
    ERROR,
    NEEDS_PARENTS_ACTIVE,
    PROPOSED,
    TODO,
    TRANSITION,
    RunState,
    State,
    ready_state,
)

Kind = Literal["run", "run again", "refresh", "pass over"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that will happen. What has the same ``wave`` (from 1) may happen at the same time."""

    wave: int
    node_role_id: int
    kind: Kind


class Rehearsal:
    """Anneals a picture in memory: ``next_wave`` and ``finish`` in turn, or ``to_rest``. Then ``steps``, ``waits``."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps: list[Step] = []
        self.wave = 0
        self._one: dict[int, NodeRole] = {}
        self._state: dict[int, State] = {}
        self._blockers: dict[int, int] = {}
        self._rerun: set[int] = set()
        self._done: set[int] = set()
        self._ran: set[int] = set()
        self._children: dict[int, list[int]] = defaultdict(list)
        self._due: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._woken: set[int] = set()
        self._take_in(graph.node_roles.values(), graph.edges, graph.uncounted)
        self._end_what_is_under_way(graph.runs)

    # ------------------------------------------------------------ the picture

    def extend(self, node_roles: Iterable[NodeRole], edges: Collection[tuple[int, int]]) -> None:
        """Add noderoles that took no part so far (ACTIVE ones), and edges that count."""
        new = [one for one in node_roles if one.id not in self._one]
        fresh = {one.id for one in new}
        known = fresh | self._one.keys()
        self._take_in(new, [edge for edge in edges if edge[0] in known and edge[1] in known and set(edge) & fresh], ())

    def role(self, node_role_id: int) -> str:
        return self._one[node_role_id].role

    def ids(self) -> Collection[int]:
        return self._one.keys()

    def knows(self, node_role_id: int) -> bool:
        return node_role_id in self._one

    def _take_in(
        self, node_roles: Iterable[NodeRole], edges: Iterable[tuple[int, int]], uncounted: Collection[tuple[int, int]]
    ) -> None:
        for one in node_roles:
            self._one[one.id] = one
            self._state[one.id] = one.state
            self._blockers[one.id] = 0
            if one.rerun:
                self._rerun.add(one.id)
            if one.done:
                self._done.add(one.id)
            if one.run_count:
                self._ran.add(one.id)
            self._offer(one.id)
        for parent, child in edges:
            if (parent, child) not in uncounted:
                self._children[parent].append(child)
                self._blockers[child] += self._state[parent] is not ACTIVE

    # ------------------------------------------------------------ what is under way

    def _end_what_is_under_way(self, runs: Iterable[Run]) -> None:
        """Runs that were made before: they succeed, or end as they are being cancelled."""
        for run in runs:
            if run.node_role_id not in self._one:
                continue
            ref = run.node_role_id
            if run.state is RunState.CANCELLING:
                if run.refresh and self._state[ref] is ACTIVE:
                    self._rerun.add(ref)
            else:
                if run.state is RunState.QUEUED:  # whoever takes it on takes its input afresh
                    self._rerun.discard(ref)
                self._succeed(ref, refresh=run.refresh)
        self._let_go_back()
        for ref in self._one:
            self._offer(ref)

    def _let_go_back(self) -> None:
        flagged = {ref for ref, one in self._one.items() if one.goes_back}
        for parent, child in sorted(self.graph.uncounted):
            if child in flagged and parent in self._one:
                self._children[parent].append(child)
                if self._state[parent] is not ACTIVE:
                    self._block(child)
        for ref in sorted(flagged):
            if self._state[ref] is ACTIVE and not self._is_over(ref):
                self._send_back(ref)

    # ------------------------------------------------------------ passes

    def next_wave(self) -> list[int]:
        """What starts now: at most one noderole of each node, the lowest (cohort, id). Empty: all is at rest."""
        self.wave += 1
        chosen: dict[int, int] = {}
        while free := self._woken - chosen.keys():  # what is passed over may free others, on other nodes too
            for node in sorted(free):
                self._woken.discard(node)
                if (ref := self._first(node)) is not None:
                    chosen[node] = ref
        return sorted(chosen.values(), key=lambda ref: (self._one[ref].cohort, ref))

    def _first(self, node: int) -> int | None:
        due = self._due[node]
        while due:
            _, ref = heapq.heappop(due)
            if not self._wants_to_run(ref):
                continue
            if self._state[ref] is TODO and self._is_over(ref):
                self.steps.append(Step(self.wave, ref, "pass over"))
                self._state[ref] = ACTIVE
                self._release(ref)
                continue
            if self._state[ref] is TODO and self._one[ref].halfway and self._is_destructive(ref):
                self._state[ref] = ERROR
                continue
            return ref
        return None

    def stale(self, ids: Iterable[int], starting: Collection[int] = ()) -> list[int]:
        """A value that these want has changed. Returns those of ``starting`` that still start."""
        before = {ref: self._state[ref] for ref in starting}
        for ref in ids:
            if ref not in self._one or self._is_over(ref):
                continue
            if self._state[ref] is ERROR and not (self._is_destructive(ref) or self._one[ref].halfway):
                self._send_back(ref)  # it is tried again
            if self._state[ref] is not ACTIVE:
                continue
            if self.graph.roles[self._one[ref].role].on_change == "refresh":
                self._rerun.add(ref)
                self._offer(ref)
            else:
                self._send_back(ref)
        left = [ref for ref in starting if self._state[ref] is before[ref]]
        for ref in set(starting) - set(left):
            self._offer(ref)
            self._woken.add(self._one[ref].node_id)
        return left

    def finish(self, started: Iterable[int]) -> None:
        """These start, and succeed."""
        for ref in started:
            refresh = self._state[ref] is ACTIVE
            kind: Kind = "refresh" if refresh else "run again" if ref in self._ran else "run"
            self.steps.append(Step(self.wave, ref, kind))
            self._rerun.discard(ref)
            if not refresh:
                self._state[ref] = TRANSITION
            self._succeed(ref, refresh=refresh)
            self._woken.add(self._one[ref].node_id)

    def to_rest(self) -> None:
        while started := self.next_wave():
            self.finish(started)

    def waits(self, now: datetime) -> Mapping[int, tuple[Reason, ...]]:
        """What is committed and not ACTIVE at the end, and why."""
        at_rest = replace(
            self.graph,
            node_roles={
                ref: replace(one, state=self._state[ref], rerun=ref in self._rerun, done=ref in self._done,
                             goes_back=False, not_before=None)
                for ref, one in self._one.items()
            },
            edges=tuple((parent, child) for parent, children in self._children.items() for child in children),
            uncounted=frozenset(), runs=(),
        )  # fmt: skip
        return {
            ref: why(at_rest, ref, now)
            for ref, state in self._state.items()
            if state not in (ACTIVE, PROPOSED) or (state is ACTIVE and ref in self._rerun)
        }

    # ------------------------------------------------------------ states

    def _is_destructive(self, ref: int) -> bool:
        return self.graph.roles[self._one[ref].role].destructive

    def _is_over(self, ref: int) -> bool:
        return ref in self._done and self._is_destructive(ref)

    def _wants_to_run(self, ref: int) -> bool:
        return self._state[ref] is TODO or (self._state[ref] is ACTIVE and ref in self._rerun)

    def _offer(self, ref: int) -> None:
        """If it has work to do and nothing but its turn keeps it from that, it gets its turn."""
        one = self._one[ref]
        node = self.graph.nodes[one.node_id]
        if (
            self._wants_to_run(ref)
            and one.available
            and node.alive
            and node.available
            and self.graph.deployments[one.deployment_id].committed
            and not self.graph.roles[one.role].missing
        ):
            heapq.heappush(self._due[one.node_id], (one.cohort, ref))
            self._woken.add(one.node_id)

    def _succeed(self, ref: int, *, refresh: bool) -> None:
        self._ran.add(ref)
        if not refresh and self._state[ref] is TRANSITION:
            if self._is_destructive(ref):
                self._done.add(ref)
            self._state[ref] = ACTIVE
            self._release(ref)
            if ref in self._rerun:  # its input has changed since the run was made
                self._rerun.discard(ref)
                self.stale([ref])
        elif ref in self._rerun:
            self._offer(ref)

    def _release(self, parent: int) -> None:
        for child in self._children.get(parent, ()):
            self._blockers[child] -= 1
            if self._state[child] is BLOCKED and not self._blockers[child]:
                self._state[child] = TODO
                self._offer(child)

    def _send_back(self, ref: int) -> None:
        self._rerun.discard(ref)
        self._state[ref] = ready_state(self._blockers[ref])
        self._offer(ref)
        for child in self._children.get(ref, ()):
            self._block(child)

    def _block(self, child: int) -> None:
        self._blockers[child] += 1
        before = self._state[child]
        if before in NEEDS_PARENTS_ACTIVE:
            self._state[child] = BLOCKED
            self._rerun.discard(child)
        if before is ACTIVE:
            for further in self._children.get(child, ()):
                self._block(further)
