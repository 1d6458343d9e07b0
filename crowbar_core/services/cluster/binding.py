"""Binding roles to nodes, and taking them off again: one transaction, all of it or nothing.

Many are bound as one: what is needed is read for all of them together, planned in memory as if they were bound one
after the other, and written together.
"""

from __future__ import annotations

import graphlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from crowbar_core.barclamp import Json, Role
from crowbar_core.domain import attributes as rules
from crowbar_core.domain import graph
from crowbar_core.domain.graph import Bound, Ref, Situation, Target, Wanted
from crowbar_core.errors import NotFound, Refused
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.cluster.commits import commit_hooks, commit_in_turn
from crowbar_core.services.cluster.leaving import stay, take_off
from crowbar_core.services.data.layers import differing_wants
from crowbar_core.services.data.views import node_role_views, node_views
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.secrets import open_secrets
from crowbar_core.services.turns.turn import Actor, Turn, rehearsing
from crowbar_core.services.values.whole import set_data_in_turn
from crowbar_core.store import bindings, moves, transitions, trees


@dataclass(frozen=True, kw_only=True)
class BindResult:
    """``node_role_id`` is the noderole asked for; ``created`` are all that were made, parents first (none: it was
    there).
    """

    node_role_id: int
    created: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class BindManyResult:
    """``node_role_ids`` are the noderoles asked for, node by node; ``created`` are all that were made."""

    node_role_ids: tuple[int, ...]
    created: tuple[int, ...]


def bind(
    parts: Parts, actor: Actor, *, node_id: int, role_id: int, deployment_id: int | None = None,
    data: Mapping[str, Json] | None = None,
) -> BindResult:  # fmt: skip
    """Bind a role to a node in a deployment (the node's own when None), with everything it requires, and set ``data``
    on its noderole.

    Binding what is bound already in that deployment changes nothing. Raises ``Refused`` with the reason, ``NotFound``.
    """
    bound = bind_many(parts, actor, node_ids=[node_id], role_ids=[role_id], deployment_id=deployment_id, data=data)
    return BindResult(node_role_id=bound.node_role_ids[0], created=bound.created)


def bind_many(
    parts: Parts, actor: Actor, *, node_ids: Sequence[int], role_ids: Sequence[int], deployment_id: int | None = None,
    data: Mapping[str, Json] | None = None,
) -> BindManyResult:  # fmt: skip
    """Bind each of the roles, in this order, to each of the nodes, all of them or none; ``data`` are set on each."""
    with change(parts, actor) as turn:
        named = bindings.role_names(turn.session, role_ids)
        if missing := [ref for ref in role_ids if ref not in named]:
            raise NotFound(f"There is no role {missing[0]}.")
        bound = bind_wanted(turn, [(node, named[role], deployment_id) for node in node_ids for role in role_ids])
        for ref in bound.node_role_ids if data else ():
            set_data_in_turn(turn, ref, data or {})
        if rehearsing.get() is not None:  # what is only proposed does nothing: its plan is that of its commit
            committed = commit_in_turn(turn, bound.created)
            commit_hooks(turn, committed)
        return bound


def bind_in_turn(turn: Turn, *, node_id: int, role: str, deployment_id: int | None = None) -> BindResult:
    """Bind one role inside a running turn."""
    bound = bind_wanted(turn, [(node_id, role, deployment_id)])
    return BindResult(node_role_id=bound.node_role_ids[0], created=bound.created)


def bind_wanted(turn: Turn, asked: Sequence[tuple[int, str, int | None]]) -> BindManyResult:
    """Bind roles to nodes inside a running turn, each (node id, role, deployment id; None: the node's own), as if one
    after the other. Costs a constant number of statements for some thousand noderoles.
    """
    if not asked:
        return BindManyResult(node_role_ids=(), created=())
    wanted, situation = _situation(turn, asked)
    plan = graph.plan_bindings(situation, wanted)
    stay(turn, [ref for ref in plan.targets if isinstance(ref, int)])
    if not plan.new:
        return BindManyResult(node_role_ids=tuple(_id({}, ref) for ref in plan.targets), created=())
    _refuse_objections(turn, plan, situation.bound)
    made = _make(turn, plan, situation.bound)
    links = [(_id(made, link.parent), _id(made, link.child), link.kind) for link in plan.links]
    _refuse_cycles(turn, links, set(made.values()))
    transitions.connect(turn.moves, links)
    _refuse_differing(turn, situation, [(made[one.key], one.node_id, one.role) for one in plan.new])
    created = tuple(made[one.key] for one in plan.new)
    _let_take_part(turn, [(made[one.key], one.role) for one in plan.new])
    # A committed child that got a new data parent may see other values.
    _audit(turn, situation, wanted, plan, made)
    return BindManyResult(node_role_ids=tuple(_id(made, ref) for ref in plan.targets), created=created)


def _let_take_part(turn: Turn, made: Sequence[tuple[int, str]]) -> None:
    """Let barclamps take part in the binding of these (noderole id, role)."""
    hooks = ("on_node_bind", "on_nodes_bind")
    heard = {
        role
        for role in {role for _, role in made}
        if any(turn.registry.implementations(hook, role=role) for hook in hooks)
    }
    for portion in moves.batched([ref for ref, role in made if role in heard], moves.PORTION):
        views = tuple(node_role_views(turn.registry, turn.session, turn.store, portion).values())
        for view in views:
            turn.veto("on_node_bind", of=view.role, node_role=view)
        for implementation in turn.registry.implementations("on_nodes_bind"):
            if mine := tuple(view for view in views if implementation.wants(view.role)):
                turn.veto_one(implementation, "on_nodes_bind", node_roles=mine)


def _id(made: Mapping[Ref, int], ref: Ref) -> int:
    return ref if isinstance(ref, int) else made[ref]


def _make(turn: Turn, plan: graph.Plan, bound: Sequence[Bound]) -> dict[Ref, int]:
    """Write the new noderoles, with the deployment roles that they need."""
    role_ids = bindings.role_ids(turn.session, {one.role for one in plan.new})
    pairs = dict.fromkeys((one.deployment_id, role_ids[one.role]) for one in plan.new)
    for made in bindings.ensure_deployment_roles(turn.session, turn.store, turn.now, pairs):
        turn.tell("on_deployment_create", f"deployment_role {made}", id=made)
    cohorts = graph.cohorts(plan, bound)
    ids = transitions.propose_new(
        turn.moves,
        [transitions.New(one.node_id, role_ids[one.role], one.deployment_id, cohorts[one.key]) for one in plan.new],
    )
    return {one.key: ref for one, ref in zip(plan.new, ids, strict=True)}


def _audit(
    turn: Turn, situation: Situation, wanted: Sequence[Wanted], plan: graph.Plan, made: Mapping[Ref, int]
) -> None:
    """One line for each node that something was bound to because it was asked for."""
    asked: dict[int, dict[str, int]] = defaultdict(dict)
    for one in wanted:
        asked[one.node_id].setdefault(one.role, one.deployment_id)
    created: dict[int, list[int]] = defaultdict(list)
    for new in plan.new:
        # What went to a system node because something else required it is told of with the first that did.
        node_id = new.node_id if new.node_id in asked else wanted[0].node_id
        created[node_id].append(made[new.key])
    turn.audit_many(
        "bind",
        [
            (
                f"node {situation.nodes[node_id].name}",
                {
                    "role": ", ".join(asked[node_id]),
                    "deployment": ", ".join(
                        dict.fromkeys(situation.deployment_names[home] for home in asked[node_id].values())
                    ),
                    "created": ids,
                },
            )
            for node_id, ids in created.items()
        ],
    )


def _situation(turn: Turn, asked: Sequence[tuple[int, str, int | None]]) -> tuple[list[Wanted], Situation]:
    """What is wanted, each with its deployment, and what must be known for that."""
    session, store, registry = turn.session, turn.store, turn.registry
    rows = bindings.targets(session, store, {node_id for node_id, _, _ in asked})
    known: dict[str, Role] = {name: one.role for name, one in registry.roles.items()}
    chains = trees.chains(
        session,
        store,
        {row.deployment_id for row in rows.values()} | {home for _, _, home in asked if home is not None},
    )
    wanted: list[Wanted] = []
    for node_id, role, deployment_id in asked:
        if node_id not in rows:
            raise NotFound(f"There is no node {node_id}.")
        if role not in known:
            raise Refused(
                f"Role {role} cannot be bound: the barclamp that brings it is not loaded. See: crowbar barclamps list."
            )
        home = deployment_id if deployment_id is not None else rows[node_id].deployment_id
        if home not in chains:
            raise NotFound(f"There is no deployment {home}.")
        wanted.append(Wanted(node_id, role, home))
    owners = {name: one.role for name, one in registry.attributes.items()}
    homes = {one.deployment_id for one in wanted}
    above = {ref for home in homes for ref, _ in chains[home]}
    system_nodes = bindings.system_nodes(session, store, above)
    needed: set[str] = set()
    for name in {one.role for one in wanted}:
        needed |= graph.closure(known, owners, name)
    clusters = {name for name in needed if name in known and known[name].cluster}
    sole = {name for name in needed if name in known and known[name].sole}
    elsewhere = any(
        graph.is_elsewhere(known[name], other) for name in needed if name in known for other in known[name].requires
    )
    situation = Situation(
        roles=known, jigs=frozenset(registry.jigs), owners=owners,
        nodes={ref: Target(row.name, row.system) for ref, row in rows.items()},
        chains={home: [ref for ref, _ in chains[home]] for home in homes},
        deployment_names={home: chains[home][0][1] for home in homes}, system_nodes=system_nodes,
        bound=bindings.bound(
            session, store, node_ids={*rows, *system_nodes.values()}, deployment_ids=above,
            singles=needed - clusters, clusters=clusters, elsewhere=elsewhere,
        ),
        peer_children=bindings.peer_children(session, store, homes, clusters),
        sole=bindings.sole(session, sole) if sole else {},
    )  # fmt: skip
    return wanted, situation


def _refuse_objections(turn: Turn, plan: graph.Plan, bound: Collection[Bound]) -> None:
    if not turn.registry.listens("check_binding"):
        return
    views = node_views(turn.registry, turn.session, turn.store, {one.node_id for one in plan.new})
    there: dict[int, set[str]] = defaultdict(set)
    for node_id, role in [(one.node_id, one.role) for one in bound] + [(one.node_id, one.role) for one in plan.new]:
        there[node_id].add(role)
    views = {ref: replace(view, roles=tuple(sorted(there[ref]))) for ref, view in views.items()}
    said = [
        objection
        for one in plan.new
        for objection in turn.registry.objections(
            "check_binding",
            of=one.role,
            node=views[one.node_id],
            role=turn.registry.roles[one.role].role,
            session=turn.session,
        )
    ]
    if said:
        raise Refused(" ".join(said))


def _refuse_differing(turn: Turn, situation: Situation, new: Collection[tuple[int, int, str]]) -> None:
    """Refuse what wants one value of several parents that do not agree on it: a new noderole, or a child of new peers.
    Each is (noderole id, node id, role).
    """
    peers = {role for _, _, role in new}
    children = {
        (one.ref, one.node_id, one.role)
        for (_, role), those in situation.peer_children.items()
        for one in those
        if role in peers and isinstance(one.ref, int)
    }
    asking = [one for one in (*new, *sorted(children)) if _wants_of_clusters(turn, one[2])]
    if not asking:
        return
    whose = {ref: (node, role) for ref, node, role in asking}
    for ref, differing in differing_wants(turn.registry, turn.session, turn.store, asking).items():
        node, role = whose[ref]
        for attribute, owner, said in differing:
            values = [(one.parent.node, open_secrets(turn.parts.cipher, one.value)) for one in said]
            if wrong := rules.differing(role, attribute, owner, values):
                name = bindings.targets(turn.session, turn.store, [node])[node].name
                raise Refused(f"Role {role} cannot be bound to {name}. {wrong}")


def _wants_of_clusters(turn: Turn, role: str) -> bool:
    """Whether the role wants something of a role of which it may have several parents."""
    known = turn.registry
    owners = {known.attributes[name].role or "" for name in known.roles[role].role.wants if name in known.attributes}
    return any(known.roles[owner].role.cluster for owner in owners if owner in known.roles and owner != role)


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
        for parent, child in bindings.parents_of(turn.session, turn.store, asked):
            parents[child].add(parent)
            frontier.add(parent)
    try:
        graphlib.TopologicalSorter(parents).prepare()
    except graphlib.CycleError as error:
        path = [ref for ref in error.args[1] if isinstance(ref, int)]
        named = bindings.called(turn.session, turn.store, path)
        shown = " -> ".join(named[ref] for ref in path)
        raise Refused(f"This binding would close a cycle: {shown}. Nothing was bound.") from None


# ---------------------------------------------------------------- unbinding


def unbind(
    parts: Parts, actor: Actor, node_role_id: int, *, dry_run: bool = False, force: bool = False
) -> tuple[int, ...]:
    """Take a noderole off its node, with its dependants on the same node. Returns what goes (or would go), lowest
    cohort first: at once, or when runs of kind teardown have ended well there (``force``: without these).

    Refused while a noderole on another node depends on one of them and has ever run.
    """
    if dry_run:
        with parts.store.read() as session:
            return tuple(_going(session, parts, [node_role_id]))
    return unbind_many(parts, actor, [node_role_id], force=force)


def unbind_many(parts: Parts, actor: Actor, node_role_ids: Collection[int], *, force: bool = False) -> tuple[int, ...]:
    """The same for many, all of them or none. What one of them takes along need not be named."""
    with change(parts, actor) as turn:
        going = _going(turn.session, parts, node_role_ids)
        take_off(turn, going, force=force)
        turn.audit_many(
            "unbind",
            [(f"node_role {ref}", {"removed": list(going)} if not at else {}) for at, ref in enumerate(node_role_ids)],
        )
        return tuple(going)


def unbind_in_turn(turn: Turn, node_role_id: int, *, force: bool = False) -> tuple[int, ...]:
    """Take one off inside a running turn."""
    going = _going(turn.session, turn.parts, [node_role_id])
    take_off(turn, going, force=force)
    turn.audit("unbind", f"node_role {node_role_id}", removed=list(going))
    return tuple(going)


def _going(session: Session, parts: Parts, starts: Collection[int]) -> list[int]:
    home = bindings.homes(session, parts.store, starts)
    if missing := [ref for ref in starts if ref not in home]:
        raise NotFound(f"There is no noderole {missing[0]}.")
    going, frontier = set(starts), set(starts)
    elsewhere: dict[int, int] = {}
    while frontier:
        rows = bindings.dependants(session, parts.store, frontier)
        # What was never committed is nothing that anything committed depends on yet.
        here = {row.id for row in rows if row.node_id == home[row.parent_id] and (row.depended_on or not row.committed)}
        for row in rows:
            if row.node_id != home[row.parent_id] and row.depended_on and row.has_run:
                elsewhere.setdefault(row.id, row.parent_id)
        home |= {row.id: row.node_id for row in rows}
        frontier = here - going
        going |= here
    if left := [ref for ref in elsewhere if ref not in going]:
        named = bindings.called(session, parts.store, left, most=10)
        which = starts if len(starts) == 1 else [elsewhere[left[0]]]
        raise Refused(
            f"Noderole {next(iter(which))} cannot be unbound: {', '.join(named.values())} depend on it and have run. "
            "Unbind those first."
        )
    return bindings.by_cohort(session, parts.store, going)
