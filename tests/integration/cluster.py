"""A small cluster for tests: the real services on a real database, driven step by step; the clock stands still."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Attribute, Barclamp, Role, hookimpl
from crowbar_core.domain import annealing
from crowbar_core.domain.states import NEEDS_PARENTS_ACTIVE, PROPOSED, TODO, TRANSITION, RunState, State
from crowbar_core.services.annealing.claiming import claim
from crowbar_core.services.annealing.outcomes import Kind, Outcome, finish
from crowbar_core.services.build import build_parts
from crowbar_core.services.cluster import binding, deployments, nodes, steering
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor
from crowbar_core.settings import load_settings
from crowbar_core.store import models
from crowbar_core.store import runs as store_runs
from crowbar_core.store.models import table
from tests.outside import installed_barclamps
from tests.services import PostgresServer, database_name

OPERATOR = Actor("operator")

node_rows, node_role_rows, role_rows, edge_rows, run_rows, deployment_rows = (
    table(one) for one in (models.Node, models.NodeRole, models.RoleRow, models.Edge, models.Run, models.Deployment)
)
event_rows, audit_rows = table(models.Event), table(models.Audit)


@dataclass
class Clock:
    """Stands still until it is moved on."""

    moment: datetime = field(default_factory=lambda: datetime(2030, 1, 1, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class Plugin:
    """A barclamp made on the spot. ``hooks`` are further implementations by name."""

    def __init__(
        self, roles: Iterable[Role], attributes: Iterable[Attribute] = (), *, name: str = "tests",
        hooks: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:  # fmt: skip
        self._definition = Barclamp(name=name, roles=tuple(roles), attributes=tuple(attributes))
        for hook, function in (hooks or {}).items():
            setattr(self, hook, hookimpl(function))

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return self._definition


def open_parts(
    directory: Path, url: str, plugins: Sequence[tuple[str, Any]] = (), *, clock: Clock | None = None,
    migrate: bool = True, **settings: Any,
) -> Parts:  # fmt: skip
    chosen = load_settings(
        environ={}, data_dir=str(directory), database_url=url, disabled_barclamps=installed_barclamps(), **settings
    )
    parts = build_parts(chosen, extra_plugins=plugins, clock=clock, migrate=migrate)
    broken = [one for one in parts.registry.barclamps if one.state == "failed"]
    if broken:
        parts.close()
        raise AssertionError(broken[0].error)
    return parts


class Cluster:
    """The services with the names of things instead of their ids. Noderoles are named by (node, role)."""

    def __init__(
        self, directory: Path, url: str, roles: Iterable[Role] = (), attributes: Iterable[Attribute] = (), *,
        hooks: Mapping[str, Callable[..., Any]] | None = None, migrate: bool = True, **settings: Any,
    ) -> None:  # fmt: skip
        self.clock = Clock()
        plugins = [("tests", Plugin(roles, attributes, hooks=hooks))]
        self.parts = open_parts(directory, url, plugins, clock=self.clock, migrate=migrate, **settings)
        with self.parts.store.read() as session:
            self.role_ids = {row.name: row.id for row in session.execute(select(role_rows.c.name, role_rows.c.id))}
            self.system = session.scalars(select(deployment_rows.c.id).where(deployment_rows.c.system)).one()
        self.nodes: dict[str, int] = {}

    def close(self) -> None:
        self.parts.close()

    # ------------------------------------------------------------ things

    def node(self, name: str, *, alive: bool = True, available: bool = True, **values: Any) -> int:
        full = f"{name}.test.example"
        made = nodes.create_node(self.parts, OPERATOR, name=full, alive=alive, available=available, **values)
        self.nodes[name] = made
        return made

    def deployment(self, name: str, parent: int | None = None, *, committed: bool = True) -> int:
        made = deployments.create_deployment(self.parts, OPERATOR, name=name, parent_id=parent)
        if committed:
            deployments.commit(self.parts, OPERATOR, made)
        return made

    def bind(self, node: str, role: str, deployment: int | None = None) -> int:
        return self.bind_to(self.nodes[node], role, deployment)

    def bind_to(self, node_id: int, role: str, deployment: int | None = None) -> int:
        result = binding.bind(
            self.parts, OPERATOR, node_id=node_id, role_id=self.role_ids[role], deployment_id=deployment
        )
        return result.node_role_id

    def commit_all(self, deployment: int | None = None) -> None:
        deployments.commit(self.parts, OPERATOR, deployment or self.system)

    def change_node(self, node: str, **changes: Any) -> None:
        nodes.change_node(self.parts, OPERATOR, self.nodes[node], changes)

    def system_node(self, deployment: int) -> int:
        with self.parts.store.read() as session:
            found: int = session.scalars(
                select(node_rows.c.id).where(node_rows.c.system, node_rows.c.deployment_id == deployment)
            ).one()
        return found

    # ------------------------------------------------------------ looking

    def rows(self, statement: Any) -> list[Any]:
        with self.parts.store.read() as session:
            return list(session.execute(statement).all())

    def row(self, node_role_id: int) -> Any:
        return self.rows(select(node_role_rows).where(node_role_rows.c.id == node_role_id))[0]

    def state(self, node_role_id: int) -> State:
        return State(self.row(node_role_id).state)

    def states(self, *node_role_ids: int) -> list[str]:
        return [self.state(ref).name for ref in node_role_ids]

    def edges(self) -> set[tuple[str, str, str]]:
        """(parent, child, kind), each end as ``role@node``."""
        named = self.named()
        return {(named[row.parent_id], named[row.child_id], row.kind) for row in self.rows(select(edge_rows))}

    def named(self) -> dict[int, str]:
        """Noderole id -> ``role@node``, with the node's first label."""
        rows = self.rows(
            select(node_role_rows.c.id, role_rows.c.name, node_rows.c.name.label("node"))
            .join(role_rows, role_rows.c.id == node_role_rows.c.role_id)
            .join(node_rows, node_rows.c.id == node_role_rows.c.node_id)
        )
        return {row.id: f"{row.name}@{row.node.partition('.')[0]}" for row in rows}

    def open_run(self, node_role_id: int) -> Any | None:
        found = self.rows(
            select(run_rows).where(run_rows.c.node_role_id == node_role_id, run_rows.c.finished_at.is_(None))
        )
        return found[0] if found else None

    def open_runs(self) -> list[Any]:
        return self.rows(select(run_rows).where(run_rows.c.finished_at.is_(None)).order_by(run_rows.c.id))

    def run(self, run_id: int) -> Any:
        return self.rows(select(run_rows).where(run_rows.c.id == run_id))[0]

    def told(self, hook: str) -> list[dict[str, Any]]:
        """What the events of this hook say, oldest first, whether they have been delivered or not."""
        return [row.payload for row in self.rows(select(event_rows).where(event_rows.c.hook == hook).order_by("id"))]

    def audited(self) -> list[tuple[str, str, str]]:
        """(action, subject, actor) of each row of the audit trail, oldest first."""
        return [(row.action, row.subject, row.actor) for row in self.rows(select(audit_rows).order_by("id"))]

    # ------------------------------------------------------------ what workers do

    def claim(self, node_role_id: int, worker: str = "w") -> int:
        """A worker takes the noderole's queued run. Returns the run's id."""
        run = self.open_run(node_role_id)
        assert run is not None, "it has no run"
        assert claim(self.parts, [run.id], worker) == [run.id]
        return int(run.id)

    def end(self, node_role_id: int, kind: Kind = "succeeded", **said: Any) -> int:
        """Claim the noderole's run (unless that is done), and end it so. Returns the run's id."""
        run = self.open_run(node_role_id)
        assert run is not None, "it has no run"
        if run.state == RunState.QUEUED:
            assert claim(self.parts, [run.id], "w") == [run.id]
        worker = None if run.pending else run.worker or "w"
        assert finish(self.parts, [Outcome(run_id=run.id, kind=kind, worker=worker, **said)]) == {run.id}
        return int(run.id)

    def anneal(self, *, fail: Collection[int] = (), limit: int = 1000) -> list[int]:
        """Let every run succeed, one by one, until there are none. Returns the noderoles in the order of their ends."""
        ended: list[int] = []
        for _ in range(limit):
            runs = self.open_runs()
            if not runs:
                return ended
            self.end(runs[0].node_role_id, "failed" if runs[0].node_role_id in fail else "succeeded")
            ended.append(runs[0].node_role_id)
        raise AssertionError(f"the cluster does not come to rest: {len(ended)} runs")


def everything_at_rest(c: Cluster, directory: Path) -> str:
    """All that the database holds: the file's bytes on SQLite, every column of every table on PostgreSQL."""
    if c.parts.store.postgresql:
        with c.parts.store.read() as session:
            names = session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
            return "".join(str(row) for name in names for row in session.execute(text(f'SELECT * FROM "{name}"')))
    return "".join(path.read_bytes().decode("latin-1") for path in directory.glob("crowbar.db*"))


# ---------------------------------------------------------------- a fresh database for each of many clusters

OpenDatabase = Callable[[], AbstractContextManager[tuple[Path, str]]]
"""Makes a database with the core's tables: (the data directory, the URL). It is gone afterwards."""


def fresh_on_sqlite(directory: Path) -> OpenDatabase:
    """Copies of one file, each in a folder of its own below ``directory``."""
    template = directory / "template.db"
    open_parts(directory, f"sqlite:///{template}").close()

    @contextmanager
    def fresh() -> Iterator[tuple[Path, str]]:
        with tempfile.TemporaryDirectory(dir=directory) as made:
            shutil.copy(template, Path(made) / "crowbar.db")
            shutil.copy(directory / "secret.key", Path(made) / "secret.key")
            yield Path(made), f"sqlite:///{made}/crowbar.db"

    return fresh


def fresh_on_postgresql(directory: Path, server: PostgresServer) -> OpenDatabase:
    """Copies of one database of this server."""
    template = server.create_database()
    open_parts(directory, template).close()

    @contextmanager
    def fresh() -> Iterator[tuple[Path, str]]:
        url = server.create_database(template=database_name(template))
        yield directory, url
        server.drop_database(url)

    return fresh


# ---------------------------------------------------------------- the picture, and what must be true of it


# Written once: building a statement costs more than SQLite needs to answer it.
_ALL_NODE_ROLES = select(node_role_rows.c.id, node_role_rows.c.node_id, node_role_rows.c.deployment_id,
                         node_role_rows.c.role_id, node_role_rows.c.state, node_role_rows.c.cohort,
                         node_role_rows.c.available, node_role_rows.c.rerun, node_role_rows.c.done,
                         node_role_rows.c.not_before, node_role_rows.c.status, node_role_rows.c.blockers,
                         node_role_rows.c.committed, node_role_rows.c.goes_back)  # fmt: skip
_ALL_ROLES = select(role_rows.c.id, role_rows.c.name, role_rows.c.destructive, role_rows.c.ready, role_rows.c.jig_name)
_ALL_EDGES = select(edge_rows.c.parent_id, edge_rows.c.child_id, edge_rows.c.counts)
_ALL_NODES = select(node_rows.c.id, node_rows.c.name, node_rows.c.alive, node_rows.c.available, node_rows.c.status)
_ALL_DEPLOYMENTS = select(deployment_rows.c.id, deployment_rows.c.name, deployment_rows.c.committed)
_OPEN_RUNS = select(run_rows.c.id, run_rows.c.node_id, run_rows.c.node_role_id, run_rows.c.state, run_rows.c.refresh,
                    run_rows.c.pending, run_rows.c.exit_reason).where(run_rows.c.finished_at.is_(None))  # fmt: skip


def load_graph(session: Session, parts: Parts) -> annealing.Graph:
    """The whole cluster as the pure functions see it."""
    names = {row.id: row for row in session.execute(_ALL_ROLES)}
    edges = session.execute(_ALL_EDGES).all()
    return annealing.Graph(
        node_roles={
            row.id: annealing.NodeRole(
                id=row.id, node_id=row.node_id, deployment_id=row.deployment_id, role=names[row.role_id].name,
                state=State(row.state), cohort=row.cohort, available=row.available, rerun=row.rerun, done=row.done,
                goes_back=row.goes_back, not_before=row.not_before, status=row.status,
            )
            for row in session.execute(_ALL_NODE_ROLES)
        },
        edges=tuple((row.parent_id, row.child_id) for row in edges),
        uncounted=frozenset((row.parent_id, row.child_id) for row in edges if not row.counts),
        nodes={
            row.id: annealing.Node(
                id=row.id, name=row.name, alive=row.alive, available=row.available, status=row.status
            )
            for row in session.execute(_ALL_NODES)
        },
        deployments={
            row.id: annealing.Deployment(id=row.id, name=row.name, committed=row.committed)
            for row in session.execute(_ALL_DEPLOYMENTS)
        },
        roles={
            row.name: annealing.Role(
                name=row.name, destructive=row.destructive, missing="" if row.ready else _missing(parts, row)
            )
            for row in names.values()
        },
        runs=tuple(
            annealing.Run(
                id=row.id, node_id=row.node_id, node_role_id=row.node_role_id, state=RunState(row.state),
                refresh=row.refresh, pending=row.pending, exit_reason=row.exit_reason,
            )
            for row in session.execute(_OPEN_RUNS)
        ),
    )  # fmt: skip


def _missing(parts: Parts, row: Any) -> str:
    if row.name in parts.registry.roles:
        return f"the jig {row.jig_name!r} is not installed"
    return "the barclamp that brings it is not loaded"


def check_invariants(parts: Parts) -> annealing.Graph:
    """Invariants 1, 2, 3 and 5, the counters, and that the SQL chooses what the oracle chooses. Returns the picture."""
    with parts.store.read() as session:
        now = parts.store.now(session)
        graph = load_graph(session, parts)
        rows = {row.id: row for row in session.execute(_ALL_NODE_ROLES)}
        counters = {ref: row.blockers for ref, row in rows.items()}
        chosen = store_runs.first_runnable(session, parts.store, now, list(graph.nodes))
        idle = set(store_runs.idle_nodes_with_work(session, now, 1000))
    for ref, one in graph.node_roles.items():
        states = {parent: graph.node_roles[parent].state for parent in graph.parents.get(ref, ())}
        if one.state in NEEDS_PARENTS_ACTIVE:
            assert set(states.values()) <= {State.ACTIVE}, f"1: {graph.name(ref)} is {one.state.name}: parents {states}"
        assert counters[ref] == graph.blockers(ref), f"blockers of {graph.name(ref)}: {counters[ref]}, parents {states}"
    for parent, child in graph.edges:
        assert graph.node_roles[parent].cohort < graph.node_roles[child].cohort, (
            f"5: cohorts of {graph.name(parent)}, {graph.name(child)}"
        )
        # What was never committed does not count; of the committed, only what a run that is under way waits out.
        counts = (parent, child) not in graph.uncounted
        assert counts or not rows[parent].committed or graph.node_roles[child].goes_back, (
            f"1: {graph.name(parent)} does not count for {graph.name(child)}"
        )
        assert not counts or rows[parent].committed, f"1: {graph.name(parent)} counts, and was never committed"
    for run_ref in (ref for ref, one in graph.node_roles.items() if one.goes_back):
        assert any(run.node_role_id == run_ref and run.state is RunState.RUNNING for run in graph.runs), (
            f"{graph.name(run_ref)} is to go back at the end of a run that it does not have"
        )
    assert len({run.node_id for run in graph.runs}) == len(graph.runs), f"2: two open runs on a node: {graph.runs}"
    running = {run.node_role_id for run in graph.runs if run.state is not RunState.CANCELLING and not run.refresh}
    in_transition = {ref for ref, one in graph.node_roles.items() if one.state is TRANSITION}
    assert running == in_transition, f"3: runs of {running}, in TRANSITION {in_transition}"
    refreshing = {run.node_role_id for run in graph.runs if run.state is not RunState.CANCELLING and run.refresh}
    for ref in refreshing:
        assert graph.node_roles[ref].state is State.ACTIVE, (
            f"{graph.name(ref)} refreshes, {graph.node_roles[ref].state}"
        )
    plan = annealing.plan(graph, now)
    said_by_sql = {one.id for one in chosen}
    said_by_oracle = set(plan.pass_over) | set(plan.start)
    # One step of the SQL's is a part of the oracle's whole pass: they agree on whether there is anything to do, and on
    # the first of each node.
    assert said_by_sql <= said_by_oracle, f"the SQL would start {said_by_sql}, the oracle {said_by_oracle}"
    assert bool(said_by_sql) == bool(said_by_oracle), f"the SQL would start {said_by_sql}, the oracle {said_by_oracle}"
    assert idle == {one.node_id for one in chosen}, f"idle with work {idle}, but the first are {chosen}"
    asked = sorted(plan.waiting)[now.minute % 3 :: 5][:1]  # one of some of them: each costs ten statements
    for ref, reasons in plan.waiting.items():
        assert reasons, f"{graph.name(ref)} waits and nobody can say why"
        if ref not in asked:
            continue
        said = steering.why_node_role(parts, ref)
        assert {(one.code, one.subject) for one in said.reasons} <= {(one.code, one.subject) for one in reasons} or (
            {one.code for one in said.reasons} == {one.code for one in reasons}
        ), f"why {graph.name(ref)} waits: {said.reasons}, but the oracle says {reasons}"
    return graph


def check_nothing_startable(parts: Parts, graph: annealing.Graph) -> None:
    """Runs are made in the transaction that makes them possible: after it there is nothing left to start."""
    with parts.store.read() as session:
        now = parts.store.now(session)
    plan = annealing.plan(graph, now)
    assert not plan.start, f"left lying: {[graph.name(ref) for ref in plan.start]}"
    assert not plan.pass_over, f"not passed over: {[graph.name(ref) for ref in plan.pass_over]}"


NAMED = frozenset(
    ("parent ERROR", "parent PROPOSED", "node not alive", "node not available", "held", "missing",
     "deployment proposed", "delayed")
)  # fmt: skip


def check_rest(parts: Parts) -> annealing.Graph:
    """Invariant 4: with no open run, whatever is committed is ACTIVE, or in ERROR, or waits for a named reason."""
    graph = check_invariants(parts)
    check_nothing_startable(parts, graph)
    assert not graph.runs, f"it is not at rest: {graph.runs}"
    with parts.store.read() as session:
        now = parts.store.now(session)
    for ref, one in graph.node_roles.items():
        if one.state in (State.ACTIVE, State.ERROR, PROPOSED):
            continue
        reasons = annealing.why(graph, ref, now)
        # An ancestor in TODO must have a named reason itself.
        for reason in reasons:
            if reason.code == "parent TODO":
                ancestor = int(reason.subject.split()[1])
                assert graph.node_roles[ancestor].state is TODO
                reasons += annealing.why(graph, ancestor, now)
        codes = {reason.code for reason in reasons}
        assert codes & NAMED, f"4: {graph.name(ref)} is {one.state.name} at rest, for {sorted(codes)}"
    return graph
