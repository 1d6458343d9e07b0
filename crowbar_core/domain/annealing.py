"""What the annealer does next with a graph, and why each noderole waits: decided on a picture, without a database.

The database decides the same thing with indexes and counters, a few rows at a time. This module says it once more, in
the plainest way and over everything, so that the two can be compared: the SQL is tested against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from crowbar_core.domain.states import ACTIVE, BLOCKED, ERROR, PROPOSED, TODO, RunState, State, ready_state


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something waits. ``code`` is stable, ``detail`` a sentence, ``subject`` what has to change (``node 3``)."""

    code: str
    detail: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    id: int
    name: str
    alive: bool
    available: bool
    status: str = ""
    """Why it is not alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    id: int
    name: str
    committed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """``missing`` says what its noderoles lack in order to run at all (a jig, its barclamp); empty: nothing."""

    name: str
    destructive: bool = False
    missing: str = ""
    on_change: str = "rerun"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRole:
    id: int
    node_id: int
    deployment_id: int
    role: str
    state: State
    cohort: int
    available: bool = True
    rerun: bool = False
    done: bool = False
    halfway: bool = False
    """Destructive work that began and was not seen to end well: it is not begun again."""
    goes_back: bool = False
    """Its run is under way, and when that has ended it goes back to work; what is above it waits for that."""
    not_before: datetime | None = None
    status: str = ""
    run_count: int = 0
    held_by: str = ""
    held_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An open run."""

    id: int
    node_id: int
    node_role_id: int
    state: RunState
    refresh: bool = False
    pending: bool = False
    in_steps: bool = False
    exit_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A picture of the cluster at one moment. ``edges`` are (parent, child); ``uncounted`` those of them by which the
    child does not wait (yet). ``runs`` are the open ones.
    """

    node_roles: Mapping[int, NodeRole]
    edges: tuple[tuple[int, int], ...]
    nodes: Mapping[int, Node]
    deployments: Mapping[int, Deployment]
    roles: Mapping[str, Role]
    runs: tuple[Run, ...] = ()
    uncounted: frozenset[tuple[int, int]] = frozenset()

    @cached_property
    def parents(self) -> Mapping[int, tuple[int, ...]]:
        """Child -> the parents that it waits for."""
        return _grouped((child, parent) for parent, child in self.edges if (parent, child) not in self.uncounted)

    @cached_property
    def children(self) -> Mapping[int, tuple[int, ...]]:
        """Parent -> the children that wait for it."""
        return _grouped(edge for edge in self.edges if edge not in self.uncounted)

    @cached_property
    def below(self) -> Mapping[int, int]:
        """Noderole -> one below it whose run has to end before it may run itself."""
        above = _grouped((child, parent) for parent, child in self.edges)
        found: dict[int, int] = {}
        for start in sorted(ref for ref, one in self.node_roles.items() if one.goes_back):
            frontier = {start}
            while frontier:
                frontier = {parent for ref in frontier for parent in above.get(ref, ())} - found.keys()
                found.update(dict.fromkeys(frontier, start))
        return found

    @cached_property
    def run_on(self) -> Mapping[int, Run]:
        """Node id -> its open run."""
        return {run.node_id: run for run in self.runs}

    def blockers(self, node_role_id: int) -> int:
        """How many parents are not ACTIVE."""
        return sum(self.node_roles[parent].state is not ACTIVE for parent in self.parents.get(node_role_id, ()))

    def name(self, node_role_id: int) -> str:
        one = self.node_roles[node_role_id]
        return f"{one.role} on {self.nodes[one.node_id].name}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a pass of the annealer does. ``start`` is in the order of the starts; ``waiting`` has all that is committed,
    not ACTIVE, and neither runs nor starts."""

    start: tuple[int, ...] = ()
    pass_over: tuple[int, ...] = ()
    waiting: Mapping[int, tuple[Reason, ...]] = field(default_factory=dict)


def plan(graph: Graph, now: datetime) -> Plan:
    """One pass: at most one start per node, lowest (cohort, id); destructive roles that are done are passed over."""
    start: dict[int, NodeRole] = {}
    passed: list[int] = []
    while True:
        past: list[NodeRole] = []
        for one in _first_of_each_node(graph, now):
            if one.node_id in start:
                continue
            if one.state is TODO and one.done and graph.roles[one.role].destructive:
                past.append(one)
            else:
                start[one.node_id] = one
        if not past:
            break
        passed.extend(one.id for one in past)
        graph = _with_active(graph, [one.id for one in past])
    begun = {one.id for one in start.values()}
    own_run = {run.node_role_id for run in graph.runs if run.state is not RunState.CANCELLING}
    waiting = {
        one.id: why(graph, one.id, now)
        for one in graph.node_roles.values()
        if one.state not in (ACTIVE, PROPOSED) and one.id not in begun and one.id not in own_run
    }
    ordered = sorted(start.values(), key=_order)
    return Plan(start=tuple(one.id for one in ordered), pass_over=tuple(passed), waiting=waiting)


def why(graph: Graph, node_role_id: int, now: datetime) -> tuple[Reason, ...]:
    """Why this noderole is not running now: every reason that has to go before it can. Never empty.

    For a BLOCKED one these are its nearest ancestors that are neither ACTIVE nor BLOCKED themselves; what an ancestor
    in TODO waits for is said too.
    """
    one = graph.node_roles[node_role_id]
    me = f"node_role {one.id}"
    run = graph.run_on.get(one.node_id)
    if run is not None and run.node_role_id == one.id and run.state is not RunState.CANCELLING:
        if run.state is RunState.QUEUED:
            return (Reason("queued", f"Run {run.id} is queued: it waits for a worker.", f"run {run.id}"),)
        waits = "waits in" if run.in_steps else "waits to be reported:"
        how = f"{waits} {run.exit_reason.rstrip('.')}" if run.pending else f"is {run.state}"
        return (Reason("running", f"It is not waiting: run {run.id} {how}.", f"run {run.id}"),)
    if one.state is PROPOSED:
        return (Reason("proposed", "It is only proposed. Commit it, or its deployment.", me),)
    if one.state is ERROR:
        status = one.status.rstrip(".") or "no reason was given"
        return (Reason("error", f"It failed: {status}. Retry it when that is mended.", me),)
    if one.state is ACTIVE and not one.rerun:
        return (Reason("active", "It is ACTIVE: there is nothing to do.", me),)
    if one.state is BLOCKED:
        return tuple(_blame(graph, one, now))
    return tuple(_obstacles(graph, one, now)) or (_next(graph, one, now),)


def is_runnable(graph: Graph, one: NodeRole, now: datetime) -> bool:
    """Whether nothing but its turn keeps this noderole from a run."""
    return (one.state is TODO or (one.state is ACTIVE and one.rerun)) and not _obstacles(graph, one, now)


def _obstacles(graph: Graph, one: NodeRole, now: datetime) -> list[Reason]:
    """What keeps a noderole that has work to do, and whose parents are ACTIVE, from a run."""
    me = f"node_role {one.id}"
    node, deployment, role = graph.nodes[one.node_id], graph.deployments[one.deployment_id], graph.roles[one.role]
    said: list[Reason] = []
    if not deployment.committed:
        text = f"Deployment {deployment.name} is not committed."
        said.append(Reason("deployment proposed", text, f"deployment {deployment.id}"))
    said += node_reasons(node)
    if not one.available:
        by = f" by {one.held_by}" if one.held_by else ""
        reason = f": {one.held_reason.rstrip('.')}" if one.held_reason else ""
        said.append(Reason("held", f"It is held{by}{reason}. Release it to let it run.", me))
    if role.missing:
        said.append(Reason("missing", f"Role {role.name} cannot run here: {role.missing}.", f"role {role.name}"))
    if one.not_before is not None and one.not_before > now:
        seconds = (one.not_before - now).total_seconds()
        text = f"It waits {seconds:.0f} s to be tried again: {one.status.rstrip('.') or 'it failed for now'}."
        if one.state is ACTIVE and not one.status:
            text = f"It waits {seconds:.0f} s for what else changes, to be refreshed once."
        said.append(Reason("delayed", text, me))
    if one.state is TODO and one.id in graph.below:
        below = graph.below[one.id]
        run = graph.run_on.get(graph.node_roles[below].node_id)
        which = f"run {run.id} of {graph.name(below)}" if run is not None else f"the run of {graph.name(below)}"
        text = f"It waits for the end of {which}, which is below it and goes back to work then."
        said.append(Reason("run below", text, f"node_role {below}"))
    if (run := graph.run_on.get(one.node_id)) is not None:
        text = f"Node {node.name} is busy with run {run.id}, which is {run.state}."
        said.append(Reason("node busy", text, f"run {run.id}"))
    return said


def node_reasons(node: Node) -> list[Reason]:
    """What keeps everything on a node from a run."""
    said: list[Reason] = []
    if not node.alive:
        status = f": {node.status.rstrip('.')}" if node.status else "; it has not been seen yet"
        said.append(Reason("node not alive", f"Node {node.name} is not alive{status}.", f"node {node.id}"))
    if not node.available:
        text = f"Node {node.name} is not available. Commit it, or set it available."
        said.append(Reason("node not available", text, f"node {node.id}"))
    return said


def _next(graph: Graph, one: NodeRole, now: datetime) -> Reason:
    ahead = [other for other in _first_of_each_node(graph, now) if other.node_id == one.node_id and other.id != one.id]
    if ahead:
        return Reason("next", f"{ahead[0].role} on the same node comes first.", f"node_role {ahead[0].id}")
    return Reason("next", "It is about to be scheduled.", f"node_role {one.id}")


def _blame(graph: Graph, blocked: NodeRole, now: datetime) -> list[Reason]:
    """The nearest ancestors that have to move first."""
    found: list[Reason] = []
    seen = {blocked.id}
    frontier = [blocked.id]
    while frontier:
        parents = sorted({parent for child in frontier for parent in graph.parents.get(child, ())} - seen)
        seen.update(parents)
        frontier = []
        for parent in (graph.node_roles[ref] for ref in parents):
            if parent.state is BLOCKED:
                frontier.append(parent.id)
            elif parent.state is not ACTIVE:
                more = f" ({parent.status.rstrip('.')})" if parent.state is ERROR and parent.status else ""
                if parent.state is TODO:
                    more = "".join(f" {reason.detail}" for reason in _obstacles(graph, parent, now))
                stop = "" if more.endswith(".") else "."
                text = f"It waits for {graph.name(parent.id)}, which is {parent.state.name}"
                text += f":{more}" if parent.state is TODO and more else f"{more}{stop}"
                found.append(Reason(f"parent {parent.state.name}", text, f"node_role {parent.id}"))
    return found


def _first_of_each_node(graph: Graph, now: datetime) -> list[NodeRole]:
    first: dict[int, NodeRole] = {}
    for one in sorted(graph.node_roles.values(), key=_order):
        if one.node_id not in first and is_runnable(graph, one, now):
            first[one.node_id] = one
    return list(first.values())


def _order(one: NodeRole) -> tuple[int, int]:
    return (one.cohort, one.id)


def _with_active(graph: Graph, ids: Iterable[int]) -> Graph:
    """The graph after these became ACTIVE: children that waited for nothing else are TODO."""
    new = dict(graph.node_roles)
    for ref in ids:
        new[ref] = replace(new[ref], state=ACTIVE)
    after = replace(graph, node_roles=new)
    for ref in ids:
        for child in graph.children.get(ref, ()):
            if new[child].state is BLOCKED:
                new[child] = replace(new[child], state=ready_state(after.blockers(child)))
    return replace(graph, node_roles=new)


def _grouped(pairs: Iterable[tuple[int, int]]) -> Mapping[int, tuple[int, ...]]:
    found: dict[int, list[int]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in found.items()}
