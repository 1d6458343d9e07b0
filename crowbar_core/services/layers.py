"""The layers of data behind a noderole's or a node's attributes, read in constant numbers of statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Attribute, Json
from crowbar_core.domain.attributes import Layer, place, resolve, resolve_tree
from crowbar_core.domain.states import PROPOSED
from crowbar_core.plugins import LoadedAttribute, Registry
from crowbar_core.store.db import Store
from crowbar_core.store.models import Deployment, DeploymentRole, Edge, Node, NodeRole, RoleRow, table

nodes, node_roles, roles, edges = table(Node), table(NodeRole), table(RoleRow), table(Edge)
deployments, deployment_roles = table(Deployment), table(DeploymentRole)


@dataclass(frozen=True, slots=True)
class NodeRoleLayers:
    """A noderole and its layers, low to high (the attributes' own defaults are below all of them)."""

    id: int
    node_id: int
    role: str
    deployment_id: int
    layers: tuple[Layer, ...]
    given: tuple[Layer, ...] = ()
    """Those of the layers that hold for the role in a deployment: there is also said what it wants of others."""
    proposed: bool = False


def node_role_layers(
    registry: Registry, session: Session, store: Store, ids: Collection[int]
) -> dict[int, NodeRoleLayers]:
    """The layers of these noderoles. What is only proposed counts for noderoles that are themselves PROPOSED."""
    if not ids:
        return {}
    rows = session.execute(
        select(
            node_roles.c.id, node_roles.c.node_id, node_roles.c.role_id, node_roles.c.deployment_id, node_roles.c.state,
            node_roles.c.wall, node_roles.c.sysdata, node_roles.c.committed_data, node_roles.c.proposed_data,
            roles.c.name.label("role"), roles.c.template,
        )
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(store.ids(node_roles.c.id, ids))
    ).all()  # fmt: skip
    chains = deployment_chains(session)
    shared = _deployment_roles(session, store, {row.role_id for row in rows})
    found: dict[int, NodeRoleLayers] = {}
    for row in rows:
        given: list[Layer] = []
        # The chain runs from the deployment up to the root; values nearer to the noderole win.
        for deployment_id, deployment in reversed(chains[row.deployment_id]):
            if (there := shared.get((row.role_id, deployment_id))) is not None:
                subject = f"deployment_role {there.id} ({deployment})"
                given.append(Layer("deployment wall", subject, there.wall))
                given.append(Layer("deployment", subject, there.committed_data))
        layers = [Layer("template", f"role {row.role}", row.template), *given]
        subject = f"node_role {row.id}"
        layers.append(Layer("wall", subject, row.wall))
        layers.append(Layer("sysdata", subject, row.sysdata))
        user = row.proposed_data if row.state == int(PROPOSED) else row.committed_data
        layers.append(Layer("user", subject, user))
        found[row.id] = NodeRoleLayers(
            row.id, row.node_id, row.role, row.deployment_id, tuple(layers), tuple(given), row.state == int(PROPOSED)
        )
    return found


def own_trees(registry: Registry, session: Session, store: Store, ids: Collection[int]) -> dict[int, dict[str, Json]]:
    """The values of these noderoles' own attributes, each as one tree (secrets encrypted)."""
    return {
        one.id: resolve_tree(registry.attributes_of(one.role), one.layers)
        for one in node_role_layers(registry, session, store, ids).values()
    }


def node_layers(session: Session, store: Store, node_ids: Collection[int]) -> dict[int, tuple[Layer, ...]]:
    """What nodes reported and what the operator hinted, low to high."""
    rows = session.execute(select(nodes.c.id, nodes.c.discovery, nodes.c.hint).where(store.ids(nodes.c.id, node_ids)))
    return {
        row.id: (Layer("discovery", f"node {row.id}", row.discovery), Layer("hint", f"node {row.id}", row.hint))
        for row in rows
    }


def deployment_chains(session: Session) -> dict[int, list[tuple[int, str]]]:
    """Deployment id -> [(id, name)] from itself up to the root."""
    rows = {r.id: r for r in session.execute(select(deployments.c.id, deployments.c.name, deployments.c.parent_id))}
    chains: dict[int, list[tuple[int, str]]] = {}
    for start in rows:
        chain, here = [], start
        while here is not None:
            chain.append((here, rows[here].name))
            here = rows[here].parent_id
        chains[start] = chain
    return chains


def subtree(session: Session, deployment_id: int) -> set[int]:
    """The deployment and all below it."""
    parents: dict[int, int | None] = dict(session.execute(select(deployments.c.id, deployments.c.parent_id)).all())
    found = {deployment_id}
    while more := {ref for ref, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _deployment_roles(session: Session, store: Store, role_ids: Collection[int]) -> dict[tuple[int, int], Any]:
    rows = session.execute(
        select(
            deployment_roles.c.id, deployment_roles.c.role_id, deployment_roles.c.deployment_id,
            deployment_roles.c.wall, deployment_roles.c.committed_data,
        ).where(store.ids(deployment_roles.c.role_id, role_ids))
    )  # fmt: skip
    return {(row.role_id, row.deployment_id): row for row in rows}


def run_inputs(
    registry: Registry, session: Session, store: Store, wanted: Sequence[tuple[int, int, str]]
) -> dict[int, dict[str, Json]]:
    """The declared input of runs: for each (noderole id, node id, role) its own attributes, those it wants, and hints,
    as one tree.

    Secrets stay encrypted. Costs a constant number of statements, and none for roles that declare nothing.
    """
    inputs: dict[int, dict[str, Json]] = {}
    declared = {role: _Declared.of(registry, role) for role in {role for _, _, role in wanted}}
    own = {ref for ref, _, role in wanted if not declared[role].nothing}
    parents = _wanted_parents(session, store, wanted, declared)
    layers = node_role_layers(registry, session, store, own | {p for found in parents.values() for p in found.values()})
    node_wanted = {node for _, node, role in wanted if declared[role].of_node}
    of_nodes = node_layers(session, store, node_wanted) if node_wanted else {}
    hints = _hints(session, store, {node for _, node, _ in wanted})
    for ref, node, role in wanted:
        says = declared[role]
        if says.nothing and node not in hints:
            continue
        tree: dict[str, Json] = {"hints": hints[node]} if node in hints else {}
        for attribute, owner in says.of_parents:
            if (parent := parents.get(ref, {}).get(owner)) is not None:
                tree = _put(tree, attribute, (*layers[parent].layers, *layers[ref].given))
        for attribute in says.of_node:
            tree = _put(tree, attribute, _on_node(of_nodes[node], layers[ref]))
        for attribute in says.own:
            tree = _put(tree, attribute, layers[ref].layers)
        if tree:
            inputs[ref] = tree
    return inputs


def has_or_wants(registry: Registry, role: str, attribute: str) -> bool:
    """Whether a role is given this attribute: its own, or one that it wants of another role or of its node."""
    loaded = registry.attributes.get(attribute)
    if loaded is None or role not in registry.roles:
        return False
    return loaded.role == role or attribute in registry.roles[role].role.wants


def wanted_layers(
    registry: Registry, session: Session, store: Store, asker: NodeRoleLayers, wanted: LoadedAttribute
) -> tuple[Layer, ...]:
    """The layers behind an attribute that a noderole's role wants: its owner's, and what its own deployments say."""
    if wanted.role is None:
        return _on_node(node_layers(session, store, [asker.node_id])[asker.node_id], asker)
    declared = {asker.role: _Declared.of(registry, asker.role)}
    parents = _wanted_parents(session, store, [(asker.id, asker.node_id, asker.role)], declared)
    parent = parents.get(asker.id, {}).get(wanted.role)
    of_parent = node_role_layers(registry, session, store, [parent])[parent].layers if parent is not None else ()
    return (*of_parent, *asker.given)


def _on_node(of_node: tuple[Layer, ...], asker: NodeRoleLayers) -> tuple[Layer, ...]:
    """What a noderole sees of its node: reported < said for its role in the deployments < hinted for just this node."""
    discovery, hint = of_node
    return (discovery, *asker.given, hint)


@dataclass(frozen=True, slots=True)
class _Declared:
    """The input that a role declares: its own attributes, those of its parents (with their role), those of its node."""

    own: tuple[Attribute, ...]
    of_parents: tuple[tuple[Attribute, str], ...]
    of_node: tuple[Attribute, ...]

    @classmethod
    def of(cls, registry: Registry, role: str) -> _Declared:
        if role not in registry.roles:
            return cls((), (), ())
        wants = [registry.attributes[name] for name in registry.roles[role].role.wants if name in registry.attributes]
        return cls(
            registry.attributes_of(role),
            tuple((one.attribute, one.role) for one in wants if one.role is not None and one.role != role),
            tuple(one.attribute for one in wants if one.role is None),
        )

    @property
    def nothing(self) -> bool:
        return not (self.own or self.of_parents or self.of_node)


def _put(tree: dict[str, Json], attribute: Attribute, layers: Sequence[Layer]) -> dict[str, Json]:
    is_set, value = resolve(attribute, layers)
    return place(tree, attribute.path, value) if is_set else tree


def _wanted_parents(
    session: Session, store: Store, wanted: Sequence[tuple[int, int, str]], declared: Mapping[str, _Declared]
) -> dict[int, dict[str, int]]:
    """Noderole -> owner role -> the parent that its wanted attributes come from: on its own node first, else the
    oldest. Parents that were never committed are passed over.
    """
    askers = {
        ref: (node, {owner for _, owner in declared[role].of_parents})
        for ref, node, role in wanted
        if declared[role].of_parents
    }
    if not askers:
        return {}
    rows = session.execute(
        select(edges.c.child_id, node_roles.c.id, node_roles.c.node_id, roles.c.name.label("role"))
        .join(node_roles, node_roles.c.id == edges.c.parent_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(store.ids(edges.c.child_id, askers), edges.c.kind == "data", node_roles.c.committed)
        .order_by(node_roles.c.id)
    )
    best: dict[int, dict[str, tuple[bool, int]]] = defaultdict(dict)
    for row in rows:
        node, owners = askers[row.child_id]
        if row.role in owners:
            rank = (row.node_id != node, row.id)
            best[row.child_id][row.role] = min(best[row.child_id].get(row.role, rank), rank)
    return {child: {role: rank[1] for role, rank in found.items()} for child, found in best.items()}


def _hints(session: Session, store: Store, node_ids: Collection[int]) -> Mapping[int, Json]:
    rows = session.execute(
        select(nodes.c.id, nodes.c.hint).where(
            store.ids(nodes.c.id, node_ids), func.length(cast(nodes.c.hint, Text)) > 2
        )
    )
    return {row.id: row.hint for row in rows}
