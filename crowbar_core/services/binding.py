"""Binding a role to a node, and taking it off again: one transaction, all of it or nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Role
from crowbar_core.domain import graph
from crowbar_core.domain.graph import Bound, Ref, Situation
from crowbar_core.domain.states import OPEN_RUN_STATES, PROPOSED
from crowbar_core.errors import NotFound, Refused
from crowbar_core.services.annealer import cancel, change
from crowbar_core.services.changes import mark_stale, peers_of, refresh_sysdata
from crowbar_core.services.commits import commit_hooks, commit_in_turn
from crowbar_core.services.layers import deployment_chains
from crowbar_core.services.parts import Actor, Parts, Turn, rehearsing
from crowbar_core.services.views import node_role_views, node_views
from crowbar_core.store import transitions
from crowbar_core.store.models import Deployment, DeploymentRole, Edge, Node, NodeRole, RoleRow, Run, table

nodes, node_roles, roles, edges, runs = table(Node), table(NodeRole), table(RoleRow), table(Edge), table(Run)
deployments, deployment_roles = table(Deployment), table(DeploymentRole)


@dataclass(frozen=True, kw_only=True)
class BindResult:
    """``node_role_id`` is the noderole asked for; ``created`` are all that were made, parents first (none: it was
    there).
    """

    node_role_id: int
    created: tuple[int, ...]


def bind(parts: Parts, actor: Actor, *, node_id: int, role_id: int, deployment_id: int | None = None) -> BindResult:
    """Bind a role to a node in a deployment (the node's own when None), with everything it requires.

    Binding what is bound already in that deployment changes nothing. Raises ``Refused`` with the reason, ``NotFound``.
    """
    with change(parts, actor) as turn:
        name = turn.session.scalar(select(roles.c.name).where(roles.c.id == role_id))
        if name is None:
            raise NotFound(f"There is no role {role_id}.")
        bound = bind_in_turn(turn, node_id=node_id, role=name, deployment_id=deployment_id)
        if rehearsing.get() is not None:  # what is only proposed does nothing: its plan is that of its commit
            committed = commit_in_turn(turn, bound.created)
            commit_hooks(turn, committed)
        return bound


def bind_in_turn(turn: Turn, *, node_id: int, role: str, deployment_id: int | None = None) -> BindResult:
    """The same inside a running turn."""
    situation, node = _situation(turn, node_id, role, deployment_id)
    there = [one for one in situation.bound if one.node_id == node_id and one.role == role]
    if there:
        if there[0].deployment_id != situation.deployments[0]:
            raise Refused(
                f"Role {role} is bound to {node.name} already, in another deployment (noderole "
                f"{there[0].id}). Unbind it there first."
            )
        return BindResult(node_role_id=there[0].id, created=())
    plan = graph.plan_binding(situation, role)
    _refuse_objections(turn, plan)
    role_ids: dict[str, int] = dict(
        turn.session.execute(
            select(roles.c.name, roles.c.id).where(roles.c.name.in_([one.role for one in plan.new]))
        ).all()
    )
    made: dict[Ref, int] = {}
    for one in plan.new:
        _ensure_deployment_role(turn, one.deployment_id, role_ids[one.role])
        made[one.key] = transitions.propose_new(
            turn.moves, node_id=one.node_id, role_id=role_ids[one.role], deployment_id=one.deployment_id
        )
    links = [(_id(made, link.parent), _id(made, link.child), link.kind) for link in plan.links]
    _refuse_cycles(turn, links, set(made.values()))
    transitions.connect(turn.moves, links)
    created = tuple(made[one.key] for one in plan.new)
    if turn.registry.listens("on_node_bind"):
        for ref, view in node_role_views(turn.registry, turn.session, turn.store, created).items():
            assert ref in created
            turn.registry.veto("on_node_bind", of=view.role, node_role=view, session=turn.session)
    # A committed child that got a new data parent may see other values.
    turn.audit("bind", f"node {node.name}", role=role, deployment=situation.deployment_name, created=list(created))
    return BindResult(node_role_id=_id(made, plan.target), created=created)


def _id(made: Mapping[Ref, int], ref: Ref) -> int:
    return ref if isinstance(ref, int) else made[ref]


def _situation(turn: Turn, node_id: int, role: str, deployment_id: int | None) -> tuple[Situation, Any]:
    session, registry = turn.session, turn.registry
    node = session.execute(
        select(nodes.c.id, nodes.c.name, nodes.c.system, nodes.c.deployment_id).where(nodes.c.id == node_id)
    ).one_or_none()
    if node is None:
        raise NotFound(f"There is no node {node_id}.")
    known: dict[str, Role] = {name: one.role for name, one in registry.roles.items()}
    if role not in known:
        raise Refused(
            f"Role {role} cannot be bound: the barclamp that brings it is not loaded. See: crowbar barclamps list."
        )
    owners = {name: one.role for name, one in registry.attributes.items()}
    chains = deployment_chains(session)
    home = deployment_id if deployment_id is not None else node.deployment_id
    if home not in chains:
        raise NotFound(f"There is no deployment {home}.")
    chain = [one for one, _ in chains[home]]
    system_nodes: dict[int, int] = dict(
        session.execute(
            select(nodes.c.deployment_id, nodes.c.id).where(nodes.c.system, nodes.c.deployment_id.in_(chain))
        ).all()
    )
    needed = graph.closure(known, owners, role)
    situation = Situation(
        roles=known, jigs=frozenset(registry.jigs), owners=owners, node_id=node.id, node_name=node.name,
        node_is_system=node.system, deployments=chain, deployment_name=chains[home][0][1], system_nodes=system_nodes,
        bound=_bound(session, turn, {node_id, *system_nodes.values()}, chain, needed, known),
        peer_children=_peer_children(session, home, [n for n in needed if n in known and known[n].cluster]),
    )  # fmt: skip
    return situation, node


def _bound(
    session: Session, turn: Turn, node_ids: Collection[int], chain: Collection[int], needed: Collection[str],
    known: Mapping[str, Role],
) -> list[Bound]:  # fmt: skip
    columns = (node_roles.c.id, roles.c.name, node_roles.c.node_id, node_roles.c.deployment_id)
    base = select(*columns).join(roles, roles.c.id == node_roles.c.role_id)
    clusters = [name for name in needed if name in known and known[name].cluster]
    singles = [name for name in needed if name not in clusters]
    first = (
        select(func.min(node_roles.c.id))
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(node_roles.c.deployment_id.in_(list(chain)), roles.c.name.in_(singles))
        .group_by(node_roles.c.deployment_id, node_roles.c.role_id)
    )
    wheres = (
        node_roles.c.node_id.in_(list(node_ids)),
        node_roles.c.id.in_(first),
        node_roles.c.deployment_id.in_(list(chain)) & roles.c.name.in_(clusters),
    )
    found = {row.id: Bound(*row) for where in wheres for row in session.execute(base.where(where))}
    return [found[ref] for ref in sorted(found)]


def _peer_children(session: Session, deployment_id: int, clusters: Collection[str]) -> dict[str, list[tuple[int, str]]]:
    rows = session.execute(
        select(roles.c.name, edges.c.child_id, edges.c.kind)
        .join(node_roles, node_roles.c.id == edges.c.parent_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(roles.c.name.in_(list(clusters)), node_roles.c.deployment_id == deployment_id)
        .distinct()
        .order_by(edges.c.child_id)
    )
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row in rows:
        found[row.name].append((row.child_id, row.kind))
    return found


def _refuse_objections(turn: Turn, plan: graph.Plan) -> None:
    if not turn.registry.listens("check_binding"):
        return
    views = node_views(turn.registry, turn.session, turn.store, {one.node_id for one in plan.new})
    said = [
        objection
        for one in plan.new
        for objection in turn.registry.objections(
            "check_binding", of=one.role, node=views[one.node_id], role=turn.registry.roles[one.role].role
        )
    ]
    if said:
        raise Refused(" ".join(said))


def _ensure_deployment_role(turn: Turn, deployment_id: int, role_id: int) -> int:
    """The deployment role, made (empty) if it is not there. Returns its id."""
    found = turn.session.scalar(
        select(deployment_roles.c.id).where(
            deployment_roles.c.deployment_id == deployment_id, deployment_roles.c.role_id == role_id
        )
    )
    if found is not None:
        return int(found)
    made: int = turn.session.scalars(
        insert(deployment_roles)
        .values(deployment_id=deployment_id, role_id=role_id, created_at=turn.now, updated_at=turn.now)
        .returning(deployment_roles.c.id)
    ).one()
    turn.tell("on_deployment_create", f"deployment_role {made}", id=made)
    return made


def _refuse_cycles(turn: Turn, links: Collection[tuple[int, int, str]], new: Collection[int]) -> None:
    """Refuse edges from what is new to what is there, where what is there leads back to what is new."""
    if not any(child not in new for _, child, _ in links):
        return
    parents: dict[Ref, set[Ref]] = defaultdict(set)
    for parent, child, _ in links:
        parents[child].add(parent)
    frontier = {parent for parent, _, _ in links if parent not in new} | {
        child for _, child, _ in links if child not in new
    }
    seen: set[int] = set()
    while frontier - seen:
        asked = frontier - seen
        seen |= asked
        frontier = set()
        for row in turn.session.execute(
            select(edges.c.parent_id, edges.c.child_id).where(turn.store.ids(edges.c.child_id, asked))
        ):
            parents[row.child_id].add(row.parent_id)
            frontier.add(row.parent_id)
    for start in {child for _, child, _ in links}:
        if (path := graph.find_cycle(parents, start)) is not None:
            names = {
                row.id: f"{row.role} on {row.node}"
                for row in turn.session.execute(
                    select(node_roles.c.id, roles.c.name.label("role"), nodes.c.name.label("node"))
                    .join(roles, roles.c.id == node_roles.c.role_id)
                    .join(nodes, nodes.c.id == node_roles.c.node_id)
                    .where(node_roles.c.id.in_([ref for ref in path if isinstance(ref, int)]))
                )
            }
            shown = " -> ".join(names[ref] for ref in reversed(path) if isinstance(ref, int))
            raise Refused(f"This binding would close a cycle: {shown}. Nothing was bound.")


# ---------------------------------------------------------------- unbinding


def unbind(parts: Parts, actor: Actor, node_role_id: int, *, dry_run: bool = False) -> tuple[int, ...]:
    """Take a noderole off its node, with its dependants on the same node. Returns what goes (or would go), lowest
    cohort first.

    Refused while a noderole on another node depends on one of them and has ever run.
    """
    if dry_run:
        with parts.store.read() as session:
            return tuple(_going(session, parts, node_role_id))
    with change(parts, actor) as turn:
        return unbind_in_turn(turn, node_role_id)


def unbind_in_turn(turn: Turn, node_role_id: int) -> tuple[int, ...]:
    """The same inside a running turn."""
    going = _going(turn.session, turn.parts, node_role_id)
    remove_in_turn(turn, going)
    turn.audit("unbind", f"node_role {node_role_id}", removed=list(going))
    return tuple(going)


def _going(session: Session, parts: Parts, node_role_id: int) -> list[int]:
    start = session.execute(
        select(node_roles.c.id, node_roles.c.node_id).where(node_roles.c.id == node_role_id)
    ).one_or_none()
    if start is None:
        raise NotFound(f"There is no noderole {node_role_id}.")
    parent = node_roles.alias()
    going, frontier = {node_role_id}, {node_role_id}
    while frontier:
        rows = session.execute(
            select(
                node_roles.c.id,
                node_roles.c.node_id,
                node_roles.c.run_count,
                node_roles.c.committed,
                parent.c.committed.label("depended_on"),
            )
            .join(edges, edges.c.child_id == node_roles.c.id)
            .join(parent, parent.c.id == edges.c.parent_id)
            .where(parts.store.ids(edges.c.parent_id, frontier), edges.c.kind == "data")
        ).all()
        # What was never committed is nothing that anything committed depends on yet.
        here = {row.id for row in rows if row.node_id == start.node_id and (row.depended_on or not row.committed)}
        elsewhere = [
            row.id
            for row in rows
            if row.node_id != start.node_id and row.depended_on and (row.run_count > 0 or _has_run(session, row.id))
        ]
        if elsewhere:
            names = ", ".join(_names(session, elsewhere))
            raise Refused(
                f"Noderole {node_role_id} cannot be unbound: {names} depend on it and have run. Unbind those first."
            )
        frontier = here - going
        going |= here
    rows = session.execute(
        select(node_roles.c.id).where(node_roles.c.id.in_(going)).order_by(node_roles.c.cohort, node_roles.c.id)
    ).all()
    return [row.id for row in rows]


def _has_run(session: Session, node_role_id: int) -> bool:
    return session.scalar(select(runs.c.id).where(runs.c.node_role_id == node_role_id).limit(1)) is not None


def _names(session: Session, ids: Collection[int], *, most: int | None = 10) -> list[str]:
    rows = session.execute(
        select(roles.c.name.label("role"), nodes.c.name.label("node"))
        .select_from(node_roles)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .where(node_roles.c.id.in_(list(ids)))
        .order_by(nodes.c.name, roles.c.name)
        .limit(most)
    )
    return [f"{row.role} on {row.node}" for row in rows]


def remove_in_turn(turn: Turn, ids: Collection[int]) -> None:
    """Remove noderoles. Refused while one of them has a run that must first be stopped on its node; that run is told to
    stop.
    """
    if not ids:
        return
    busy = turn.session.execute(
        select(runs.c.id, runs.c.node_role_id, runs.c.state, runs.c.pending, roles.c.destructive)
        .join(node_roles, node_roles.c.id == runs.c.node_role_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(turn.store.ids(runs.c.node_role_id, ids), runs.c.state.in_([str(state) for state in OPEN_RUN_STATES]))
    ).all()
    # What waits to be reported is held by no worker; but what it destroys goes on all the same.
    held = [row for row in busy if row.state != "queued" and (row.destructive or not row.pending)]
    if held:
        names = ", ".join(_names(turn.session, [row.node_role_id for row in held]))
        raise Refused(
            f"{names} is running just now (run {held[0].id}). Cancel that run and wait for its end, then try again."
        )
    cancel(turn, [row.node_role_id for row in busy], "unbound")
    peers = peers_of(turn, ids) - set(ids)
    wanting = _wanting(turn, ids)
    if turn.notes is not None:
        turn.notes.gone.extend(_names(turn.session, ids, most=None))
    transitions.remove(turn.moves, ids)
    turn.moves.moved[:] = [moved for moved in turn.moves.moved if moved.node_role_id not in set(ids)]
    refresh_sysdata(turn, peers)
    mark_stale(turn, wanting - set(ids))


def _wanting(turn: Turn, ids: Collection[int]) -> set[int]:
    """Children elsewhere that want an attribute of one of these noderoles, so far as they were ever committed."""
    parent = node_roles.alias()
    rows = turn.session.execute(
        select(edges.c.child_id)
        .join(node_roles, node_roles.c.id == edges.c.child_id)
        .join(parent, parent.c.id == edges.c.parent_id)
        .where(turn.store.ids(edges.c.parent_id, ids), edges.c.kind == "data", node_roles.c.state != int(PROPOSED))
        .where(parent.c.committed)
    )
    return {row.child_id for row in rows}
