"""Binding: which noderoles and edges "put this role on that node" needs, or why it cannot be. Pure.

A noderole that exists is named by its id, one to be made by its key (node id, role name).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from crowbar_core.barclamp import Role
from crowbar_core.errors import NotFound, Refused

Key = tuple[int, str]
Ref = int | Key


@dataclass(frozen=True, slots=True)
class Bound:
    """A noderole that exists."""

    id: int
    role: str
    node_id: int
    deployment_id: int


@dataclass(frozen=True, slots=True)
class NewNodeRole:
    node_id: int
    role: str
    deployment_id: int

    @property
    def key(self) -> Key:
        return (self.node_id, self.role)


@dataclass(frozen=True, slots=True)
class Link:
    parent: Ref
    child: Ref
    kind: str


@dataclass
class Situation:
    """What binding must know of the cluster.

    ``deployments``: the deployment's id, then its ancestors' up to the root. ``bound``: the noderoles on the node and
    on the deployments' system nodes, and those in these deployments whose role may be needed (of roles that are no
    cluster, the first is enough). ``peer_children``: role -> noderoles that are children of that cluster role's peers
    in the deployment.
    """

    roles: Mapping[str, Role]
    jigs: frozenset[str]
    owners: Mapping[str, str | None]
    """Attribute name -> role that owns it (None: lives on nodes)."""
    node_id: int
    node_name: str
    node_is_system: bool
    deployments: Sequence[int]
    deployment_name: str
    system_nodes: Mapping[int, int]
    """Deployment id -> its system node's id."""
    bound: Sequence[Bound]
    peer_children: Mapping[str, Sequence[tuple[int, str]]] = field(default_factory=dict)


@dataclass
class Plan:
    """New noderoles, parents first, and the edges to draw."""

    target: Ref
    new: list[NewNodeRole] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)


def names_of(role: Role) -> frozenset[str]:
    """What a role answers to: its name and what it provides."""
    return frozenset((role.name, *role.provides))


def closure(roles: Mapping[str, Role], owners: Mapping[str, str | None], role: str) -> frozenset[str]:
    """Every role that binding ``role`` may look for, with those that provide them: what a ``Situation`` must be loaded
    with.
    """
    found: set[str] = set()
    todo = [role]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        todo.extend(other.name for other in roles.values() if name in other.provides)
        if (known := roles.get(name)) is not None:
            todo.extend(known.requires)
            todo.extend(owner for wanted in known.wants if (owner := owners.get(wanted)))
    return frozenset(found)


def plan_binding(situation: Situation, role_name: str) -> Plan:
    """The noderoles and edges for binding a role to the situation's node. Raises ``NotFound`` or ``Refused`` with the
    reason.
    """
    if role_name not in situation.roles:
        raise NotFound(f"No installed barclamp brings a role {role_name!r}. See: crowbar roles list.")
    planner = _Planner(situation)
    planner.plan.target = planner.bind(role_name, situation.node_id, ())
    return planner.plan


class _Planner:
    def __init__(self, situation: Situation) -> None:
        self.s = situation
        self.plan = Plan(target=(situation.node_id, ""))
        self.on_node: dict[int, dict[str, Ref]] = {}
        for one in situation.bound:
            self.on_node.setdefault(one.node_id, {})[one.role] = one.id
        self._linked: dict[tuple[Ref, Ref], int] = {}

    def bind(self, name: str, node_id: int, path: tuple[str, ...]) -> Ref:
        """The noderole of role ``name`` on the node, planned if it is not there."""
        here = self.on_node.setdefault(node_id, {})
        if name in here:
            return here[name]
        if name in path:
            raise Refused(
                f"Role {path[0]} cannot be bound: its requirements form a cycle: {' -> '.join((*path, name))}."
            )
        role = self._bindable(name, path)
        path = (*path, name)
        self._refuse_conflicts(role, here)
        parents: list[tuple[Ref, str]] = []
        for required in role.requires:
            parents += [(ref, "data") for ref in self.need(required, node_id, path, f"role {name} requires {required}")]
        for wanted in role.wants:
            if wanted not in self.s.owners:
                raise Refused(
                    f"Role {name} wants the attribute {wanted}, which no installed barclamp brings. "
                    "Install the one that does."
                )
            owner = self.s.owners[wanted]
            if owner is not None and owner != name:
                why = f"role {name} wants {wanted} of role {owner}"
                parents += [(ref, "data") for ref in self.need(owner, node_id, path, why)]
        # What its parents brought onto the node may conflict too.
        self._refuse_conflicts(role, here)
        key: Key = (node_id, name)
        self.plan.new.append(NewNodeRole(node_id, name, self.s.deployments[0]))
        here[name] = key
        for parent, kind in parents:
            self._link(parent, key, kind)
        self._attach(role, key, here)
        if role.cluster:
            for child, kind in self.s.peer_children.get(name, ()):
                self._link(key, child, kind)
        return key

    def need(self, name: str, child_node: int, path: tuple[str, ...], why: str) -> list[Ref]:
        """The noderoles that satisfy a requirement of something on ``child_node``."""
        here = self.on_node.setdefault(child_node, {})
        if (found := self._answering(name, here)) is not None:
            return self._with_peers(found, here[found])
        role = self.s.roles.get(name)
        if role is None or not role.implicit:
            for deployment in self.s.deployments:
                in_deployment = [one for one in self.s.bound if one.deployment_id == deployment]
                exact = [one for one in in_deployment if one.role == name]
                matches = exact or [one for one in in_deployment if self._answers(one.role, name)]
                if matches:
                    first = min(matches, key=lambda one: one.id)
                    return self._with_peers(first.role, first.id, deployment)
        chosen = self._to_bind(name, why)
        if name in path:
            raise Refused(
                f"Role {path[0]} cannot be bound: its requirements form a cycle: {' -> '.join((*path, name))}."
            )
        target = self._system_node() if chosen.service else child_node
        ref = self.bind(chosen.name, target, path)
        return self._with_peers(chosen.name, ref)

    def _with_peers(self, role_name: str, ref: Ref, deployment: int | None = None) -> list[Ref]:
        """A cluster noderole stands for all its peers in its deployment; any other for itself."""
        role = self.s.roles.get(role_name)
        if role is None or not role.cluster:
            return [ref]
        if deployment is None:
            homes = [one.deployment_id for one in self.s.bound if one.id == ref]
            deployment = homes[0] if homes else self.s.deployments[0]
        peers: list[Ref] = [o.id for o in self.s.bound if o.role == role_name and o.deployment_id == deployment]
        return sorted({*peers, ref}, key=str)

    def _to_bind(self, name: str, why: str) -> Role:
        """The role to bind for a requirement that nothing satisfies yet."""
        role = self.s.roles.get(name)
        if role is not None and not role.abstract:
            return role
        providers = [other for other in self.s.roles.values() if name in other.provides and not other.abstract]
        if len(providers) == 1:
            return providers[0]
        if not providers:
            what = "is abstract and nothing provides it" if role is not None else "is brought by no installed barclamp"
            raise Refused(f"On {self.s.node_name}, {why}, but {name} {what}. Install a barclamp that brings it.")
        listed = ", ".join(sorted(other.name for other in providers))
        raise Refused(
            f"On {self.s.node_name}, {why}, but nothing bound provides it. Bind one of these first: {listed}."
        )

    def _bindable(self, name: str, path: tuple[str, ...]) -> Role:
        role = self.s.roles[name]
        if role.abstract:
            providers = sorted(other.name for other in self.s.roles.values() if name in other.provides)
            hint = f" Bind one that provides it: {', '.join(providers)}." if providers else ""
            raise Refused(f"Role {name} is abstract and cannot be bound itself.{hint}")
        if role.jig not in self.s.jigs:
            chain = f" (needed through {' -> '.join((*path, name))})" if path else ""
            raise Refused(
                f"Role {name}{chain} needs the jig {role.jig!r}, which is not installed. Install "
                "the package that brings it."
            )
        if not path:
            if role.service and self.s.node_id not in self.s.system_nodes.values():
                raise Refused(
                    f"Role {name} is a service: it goes to the system node of deployment "
                    f"{self.s.deployment_name}, not to {self.s.node_name}."
                )
            if self.s.node_is_system and not role.service:
                raise Refused(
                    f"Node {self.s.node_name} is a system node: it takes service roles only, and {name} is none."
                )
        return role

    def _refuse_conflicts(self, role: Role, here: Mapping[str, Ref]) -> None:
        for other_name in here:
            other = self.s.roles.get(other_name)
            if other is None or other.name == role.name:
                continue
            for one, two in ((role, other), (other, role)):
                if both := names_of(two) & frozenset(one.conflicts):
                    raise Refused(
                        f"Role {role.name} cannot be bound to {self.s.node_name}: {one.name} conflicts with "
                        f"{'/'.join(sorted(both))} ({two.name}). Unbind {other.name} first."
                    )
            if both := names_of(role) & names_of(other):
                raise Refused(
                    f"Role {role.name} cannot be bound to {self.s.node_name}: {other.name}, bound there, provides "
                    f"{'/'.join(sorted(both))} too. Unbind {other.name} first."
                )

    def _attach(self, role: Role, key: Key, here: Mapping[str, Ref]) -> None:
        for other_name, ref in list(here.items()):
            other = self.s.roles.get(other_name)
            if other is None or other_name == role.name:
                continue
            for first, second, parent, child in ((role, other, key, ref), (other, role, ref, key)):
                if frozenset(first.attaches) & names_of(second):
                    self._link(parent, child, "data")
                elif frozenset(first.precedes) & names_of(second):
                    self._link(parent, child, "order")

    def _answers(self, role_name: str, name: str) -> bool:
        role = self.s.roles.get(role_name)
        return role is not None and name in role.provides

    def _answering(self, name: str, here: Mapping[str, Ref]) -> str | None:
        """The role on the node that satisfies ``name``: by name, then by what it provides."""
        if name in here:
            return name
        providers = sorted(other for other in here if self._answers(other, name))
        return providers[0] if providers else None

    def _system_node(self) -> int:
        return self.s.system_nodes[self.s.deployments[0]]

    def _link(self, parent: Ref, child: Ref, kind: str) -> None:
        if parent == child:
            return
        if (place := self._linked.get((parent, child))) is not None:
            if kind == "data":
                self.plan.links[place] = Link(parent, child, kind)
            return
        self._linked[parent, child] = len(self.plan.links)
        self.plan.links.append(Link(parent, child, kind))


def find_cycle(parents: Mapping[Ref, Iterable[Ref]], start: Ref) -> list[Ref] | None:
    """A path from ``start`` up through its parents back to ``start``, or None."""
    came_from: dict[Ref, Ref] = {}
    todo: list[Ref] = [start]
    seen: set[Ref] = set()
    while todo:
        here = todo.pop()
        for parent in parents.get(here, ()):
            if parent == start:
                path = [here]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return [*reversed(path), start]
            if parent not in seen:
                seen.add(parent)
                came_from[parent] = here
                todo.append(parent)
    return None
