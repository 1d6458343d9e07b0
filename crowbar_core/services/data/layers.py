"""The layers of data behind a noderole's or a node's attributes, read in constant numbers of statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from crowbar_core.barclamp import Attribute, Json, Want
from crowbar_core.domain.attributes import DIFFERING, Layer, place, resolve, resolve_tree
from crowbar_core.domain.states import PROPOSED
from crowbar_core.plugins import LoadedAttribute, Registry
from crowbar_core.store import node_fields, trees, values
from crowbar_core.store.db import Store

Writes = Mapping[tuple[str, str], Mapping[str, Json]]
"""What layers say from now on: (source, ``node_role 3`` or ``deployment_role 3``) -> its whole data."""


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
    deployment_role: int = 0
    """What is said of the role in its very deployment, the last of those."""

    def after(self, writes: Writes) -> NodeRoleLayers:
        """The same once this has been written, without reading it again."""
        return replace(self, layers=_written(self.layers, writes), given=_written(self.given, writes))

    @property
    def wall(self) -> Layer:
        """What the noderole's own runs reported, or was generated for it."""
        return next(one for one in self.layers if one.source == "wall")

    @property
    def home_wall(self) -> Layer:
        """What was generated for the role in its very deployment."""
        return self.given[-2]


def _written(layers: Sequence[Layer], writes: Writes) -> tuple[Layer, ...]:
    return tuple(
        replace(one, data=writes.get((one.source, one.subject.partition(" (")[0]), one.data)) for one in layers
    )


def node_role_layers(
    registry: Registry, session: Session, store: Store, ids: Collection[int]
) -> dict[int, NodeRoleLayers]:
    """The layers of these noderoles. What is only proposed counts for noderoles that are themselves PROPOSED."""
    if not ids:
        return {}
    rows = values.rows_of(session, store, ids)
    said = trees.said_of_roles(session, store, {row.deployment_id for row in rows}, {row.role_id for row in rows})
    found: dict[int, NodeRoleLayers] = {}
    for row in rows:
        given: list[Layer] = []
        home = 0
        # Values nearer to the noderole win over those of the deployments above.
        for there in said.get((row.deployment_id, row.role_id), ()):
            home = there.id
            subject = f"deployment_role {there.id} ({there.deployment})"
            given.append(Layer("deployment wall", subject, there.wall))
            given.append(Layer("deployment", subject, there.committed_data))
        layers = [Layer("template", f"role {row.role}", row.template), *given]
        subject = f"node_role {row.id}"
        layers.append(Layer("wall", subject, row.wall))
        layers.append(Layer("sysdata", subject, row.sysdata))
        user = row.proposed_data if row.state == int(PROPOSED) else row.committed_data
        layers.append(Layer("user", subject, user))
        found[row.id] = NodeRoleLayers(
            row.id,
            row.node_id,
            row.role,
            row.deployment_id,
            tuple(layers),
            tuple(given),
            row.state == int(PROPOSED),
            home,
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
    return {
        row.id: (Layer("discovery", f"node {row.id}", row.discovery), Layer("hint", f"node {row.id}", row.hint))
        for row in node_fields.said(session, store, node_ids)
    }


def run_inputs(
    registry: Registry, session: Session, store: Store, wanted: Sequence[tuple[int, int, str]]
) -> dict[int, dict[str, Json]]:
    """The declared input of runs: for each (noderole id, node id, role) its own attributes, those it wants, and hints,
    as one tree.

    Secrets stay encrypted. Costs a constant number of statements, and none for roles that declare nothing.
    """
    return read_sources(registry, session, store, wanted).inputs()


@dataclass(frozen=True, slots=True)
class Sources:
    """All that the input of runs is made of: each is for (noderole id, node id, role)."""

    wanted: Sequence[tuple[int, int, str]]
    declared: Mapping[str, Declared]
    layers: Mapping[int, NodeRoleLayers]
    parents: Mapping[int, Mapping[str, Sequence[Parent]]]
    of_nodes: Mapping[int, tuple[Layer, ...]]
    hints: Mapping[int, Json]

    def after(self, writes: Writes) -> Sources:
        """The same once this has been written, without reading it again."""
        return replace(self, layers={ref: one.after(writes) for ref, one in self.layers.items()})

    def inputs(self) -> dict[int, dict[str, Json]]:
        """Noderole -> the input of its run; those that have none are left out."""
        found = {ref: self._input(ref, node, role) for ref, node, role in self.wanted}
        return {ref: tree for ref, tree in found.items() if tree}

    def _input(self, ref: int, node: int, role: str) -> dict[str, Json]:
        layers, says = self.layers, self.declared[role]
        tree: dict[str, Json] = {"hints": self.hints[node]} if node in self.hints else {}
        parents = self.parents.get(ref, {})
        differing: dict[str, Json] = {}
        for attribute, owner in says.of_parents:
            said = _said(attribute, parents.get(owner, ()), layers, layers[ref])
            for one in said[:1]:
                tree = place(tree, attribute.path, one.value)
            if len(said) > 1:
                differing[attribute.name] = [{"node": one.parent.node, "value": one.value} for one in said]
        for attribute, owner in says.gathered:
            each = [
                (parent.node, *resolve(attribute, (*layers[parent.id].layers, *layers[ref].given)))
                for parent in sorted(parents.get(owner, ()), key=lambda one: one.node)
            ]
            found: Json = [{"node": name, "value": value} for name, is_set, value in each if is_set]
            tree = place(tree, attribute.path, found)
        for attribute in says.of_node:
            tree = _put(tree, attribute, _on_node(self.of_nodes[node], layers[ref]))
        for attribute in says.own:
            tree = _put(tree, attribute, layers[ref].layers)
        return {**tree, DIFFERING: differing} if differing else tree


def read_sources(
    registry: Registry, session: Session, store: Store, wanted: Sequence[tuple[int, int, str]], *,
    also: Collection[int] = (),
) -> Sources:  # fmt: skip
    """What the input of these runs is made of; with the layers of these other noderoles (``also``)."""
    declared = {role: Declared.of(registry, role) for role in {role for _, _, role in wanted}}
    own = {ref for ref, _, role in wanted if not declared[role].nothing}
    parents = _wanted_parents(session, store, wanted, declared)
    given_by = {one.id for found in parents.values() for those in found.values() for one in those}
    layers = node_role_layers(registry, session, store, own | given_by | set(also))
    node_wanted = {node for _, node, role in wanted if declared[role].of_node}
    of_nodes = node_layers(session, store, node_wanted) if node_wanted else {}
    hints = node_fields.hints(session, store, {node for _, node, _ in wanted}) if wanted else {}
    return Sources(wanted, declared, layers, parents, of_nodes, hints)


def has_or_wants(registry: Registry, role: str, attribute: str) -> bool:
    """Whether a role is given this attribute: its own, or one that it wants of another role or of its node."""
    loaded = registry.attributes.get(attribute)
    if loaded is None or role not in registry.roles:
        return False
    return loaded.role == role or attribute in registry.roles[role].role.wants


def wanted_layers(
    registry: Registry, session: Session, store: Store, asker: NodeRoleLayers, wanted: LoadedAttribute
) -> list[tuple[Layer, ...]]:
    """The layers behind an attribute that a noderole's role wants: its owner's, and what its own deployments say. Of
    one that is gathered, those of each parent, by node; of one that is not, of each that says something else.
    """
    if wanted.role is None:
        return [_on_node(node_layers(session, store, [asker.node_id])[asker.node_id], asker)]
    declared = Declared.of(registry, asker.role)
    parents = _wanted_parents(session, store, [(asker.id, asker.node_id, asker.role)], {asker.role: declared})
    those: Sequence[Parent] = parents.get(asker.id, {}).get(wanted.role, ())
    layers = node_role_layers(registry, session, store, [one.id for one in those])
    if any(attribute.name == wanted.attribute.name for attribute, _ in declared.gathered):
        those = sorted(those, key=lambda one: one.node)
    else:
        those = [one.parent for one in _said(wanted.attribute, those, layers, asker)] or those[:1]
    return [(*layers[one.id].layers, *asker.given) for one in those] or [asker.given]


def _on_node(of_node: tuple[Layer, ...], asker: NodeRoleLayers) -> tuple[Layer, ...]:
    """What a noderole sees of its node: reported < said for its role in the deployments < hinted for just this node."""
    discovery, hint = of_node
    return (discovery, *asker.given, hint)


@dataclass(frozen=True, slots=True)
class Declared:
    """The input that a role declares: its own attributes, those of its parents (with their role; of one parent, or
    gathered from all), those of its node.
    """

    own: tuple[Attribute, ...] = ()
    of_parents: tuple[tuple[Attribute, str], ...] = ()
    gathered: tuple[tuple[Attribute, str], ...] = ()
    of_node: tuple[Attribute, ...] = ()

    @classmethod
    def of(cls, registry: Registry, role: str) -> Declared:
        if role not in registry.roles:
            return cls()
        wanted = [
            (registry.attributes[name], isinstance(name, Want) and name.gather)
            for name in registry.roles[role].role.wants
            if name in registry.attributes
        ]
        of_parents = [(one, gather) for one, gather in wanted if one.role is not None and one.role != role]
        return cls(
            own=registry.attributes_of(role),
            of_parents=tuple((one.attribute, str(one.role)) for one, gather in of_parents if not gather),
            gathered=tuple((one.attribute, str(one.role)) for one, gather in of_parents if gather),
            of_node=tuple(one.attribute for one, _ in wanted if one.role is None),
        )

    @property
    def wanted(self) -> list[tuple[Attribute, bool]]:
        """What it wants of others, with whether it is gathered."""
        return [
            *((one, False) for one, _ in self.of_parents),
            *((one, True) for one, _ in self.gathered),
            *((one, False) for one in self.of_node),
        ]

    @property
    def owners(self) -> set[str]:
        """The roles that it wants something of."""
        return {owner for _, owner in (*self.of_parents, *self.gathered)}

    @property
    def nothing(self) -> bool:
        return not (self.own or self.of_parents or self.gathered or self.of_node)


def _put(tree: dict[str, Json], attribute: Attribute, layers: Sequence[Layer]) -> dict[str, Json]:
    is_set, value = resolve(attribute, layers)
    return place(tree, attribute.path, value) if is_set else tree


@dataclass(frozen=True, slots=True)
class Parent:
    """A noderole that wanted attributes may come from, and its node's name."""

    id: int
    node: str


def _wanted_parents(
    session: Session, store: Store, wanted: Sequence[tuple[int, int, str]], declared: Mapping[str, Declared], *,
    proposed: bool = False,
) -> dict[int, dict[str, list[Parent]]]:  # fmt: skip
    """Noderole -> owner role -> the parents that its wanted attributes may come from: one on its own node first, then
    the oldest. Parents that were never committed are passed over, unless ``proposed``.
    """
    askers = {ref: (node, declared[role].owners) for ref, node, role in wanted if declared[role].owners}
    if not askers:
        return {}
    found: dict[int, dict[str, list[Parent]]] = defaultdict(lambda: defaultdict(list))
    for row in values.parents(session, store, askers, proposed=proposed):
        node, owners = askers[row.child_id]
        if row.role in owners:
            those = found[row.child_id][row.role]
            those.insert(0 if row.node_id == node else len(those), Parent(row.id, row.node))
    return found


@dataclass(frozen=True, slots=True)
class Said:
    """What a parent says of a wanted attribute."""

    parent: Parent
    value: Json


def _said(
    attribute: Attribute, parents: Sequence[Parent], layers: Mapping[int, NodeRoleLayers], asker: NodeRoleLayers
) -> list[Said]:
    """What parents say of an attribute: the one on the asker's node alone, if there is one; else those that have a
    value, and of those that have the same one the first. More than one: they differ.
    """
    if parents and layers[parents[0].id].node_id == asker.node_id:
        parents = parents[:1]
    said: list[Said] = []
    for one in parents:
        is_set, value = resolve(attribute, (*layers[one.id].layers, *asker.given))
        if is_set and all(value != other.value for other in said):
            said.append(Said(one, value))
    return said


def differing_wants(
    registry: Registry, session: Session, store: Store, wanted: Sequence[tuple[int, int, str]]
) -> dict[int, list[tuple[Attribute, str, list[Said]]]]:
    """Of these (noderole id, node id, role): what they want of several parents, none of them on their own node, whose
    values differ, as (attribute, owner role, what they say; secrets encrypted). Proposed parents and values count.
    """
    declared = {role: Declared.of(registry, role) for role in {role for _, _, role in wanted}}
    asking = [one for one in wanted if declared[one[2]].of_parents]
    several: dict[int, dict[str, list[Parent]]] = {
        ref: {owner: those for owner, those in by_owner.items() if len(those) > 1}
        for ref, by_owner in _wanted_parents(session, store, asking, declared, proposed=True).items()
    }
    giving = {one.id for by_owner in several.values() for those in by_owner.values() for one in those}
    layers = node_role_layers(registry, session, store, giving | {ref for ref, those in several.items() if those})
    differing: dict[int, list[tuple[Attribute, str, list[Said]]]] = {}
    for ref, _, role in asking:
        for attribute, owner in declared[role].of_parents:
            if those := several.get(ref, {}).get(owner):
                said = _said(attribute, those, layers, layers[ref])
                if len(said) > 1:
                    differing.setdefault(ref, []).append((attribute, owner, said))
    return differing
