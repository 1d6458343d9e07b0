"""Binding: which noderoles and edges "put this role on that node" needs, or why it cannot be. Pure.

A noderole that exists is named by its id, one to be made by its key (node id, role name).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from crowbar_core.barclamp import Require, Role
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
    cohort: int = 1


@dataclass(frozen=True, slots=True)
class Target:
    """A node that something is to be bound to."""

    name: str
    system: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """A role that is to be bound to a node, in a deployment."""

    node_id: int
    role: str
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


@dataclass(frozen=True, slots=True)
class PeerChild:
    """A noderole that is a child of peers of a cluster role."""

    ref: Ref
    kind: str
    node_id: int
    role: str


@dataclass
class Situation:
    """What binding must know of the cluster.

    ``chains``: of each deployment in which something is wanted, its id, then its ancestors' up to the root. ``bound``,
    by age: the noderoles on the nodes and on the deployments' system nodes, and those in these deployments whose role
    may be needed (of roles that are no cluster, the first is enough, with the first on another node).
    ``peer_children``: (deployment, role) -> the children of that cluster role's peers there.
    """

    roles: Mapping[str, Role]
    jigs: frozenset[str]
    owners: Mapping[str, str | None]
    """Attribute name -> role that owns it (None: lives on nodes)."""
    nodes: Mapping[int, Target]
    chains: Mapping[int, Sequence[int]]
    deployment_names: Mapping[int, str]
    system_nodes: Mapping[int, int]
    """Deployment id -> its system node's id."""
    bound: Sequence[Bound]
    peer_children: Mapping[tuple[int, str], Sequence[PeerChild]] = field(default_factory=dict)
    sole: Mapping[str, str] = field(default_factory=dict)
    """Of roles that are ``sole`` and bound: the name of the deployment in which they are."""


@dataclass
class Plan:
    """The noderoles that were asked for, in that order; new noderoles, parents first; the edges to draw."""

    targets: list[Ref] = field(default_factory=list)
    new: list[NewNodeRole] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)


def names_of(role: Role) -> frozenset[str]:
    """What a role answers to: its name and what it provides."""
    return frozenset((role.name, *role.provides))


def is_elsewhere(role: Role, name: str) -> bool:
    """Whether the role requires ``name`` on another node than its own."""
    return any(isinstance(one, Require) and one == name and one.where == "elsewhere" for one in role.requires)


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


def plan_bindings(situation: Situation, wanted: Iterable[Wanted]) -> Plan:
    """The noderoles and edges for binding roles to nodes: what binding them one after the other would make. Raises
    ``NotFound`` or ``Refused`` with the reason.
    """
    planner = _Planner(situation)
    for one in wanted:
        planner.plan_one(one)
    return planner.plan


def cohorts(plan: Plan, bound: Iterable[Bound]) -> dict[Key, int]:
    """The cohort of each new noderole: above those of its parents, as far as these are known here."""
    new = [one.key for one in plan.new]
    found: dict[Ref, int] = {one.id: one.cohort for one in bound}
    found.update(dict.fromkeys(new, 1))
    by_child = [(link.parent, link.child) for link in plan.links if not isinstance(link.child, int)]
    for _ in range(len(new)):  # once as a rule, for parents come first; a circle is refused later
        raised = False
        for parent, child in by_child:
            if found[child] <= found.get(parent, 0):
                found[child], raised = found[parent] + 1, True
        if not raised:
            break
    return {key: found[key] for key in new}


@dataclass(frozen=True, slots=True)
class _Between:
    """Why two roles cannot be on one node, and the edges (is the first the parent, kind) between them if they are."""

    conflict: str
    edges: tuple[tuple[bool, str], ...]


def _conflict(role: Role, other: Role) -> str:
    for one, two in ((role, other), (other, role)):
        if both := names_of(two) & frozenset(one.conflicts):
            return f"{one.name} conflicts with {'/'.join(sorted(both))} ({two.name})."
    if both := names_of(role) & names_of(other):
        return f"{other.name}, bound there, provides {'/'.join(sorted(both))} too."
    return ""


class _Planner:
    def __init__(self, situation: Situation) -> None:
        self.s = situation
        self.plan = Plan()
        self.on_node: dict[int, dict[str, Ref]] = {}
        self._in: dict[int, dict[str, list[tuple[Ref, int]]]] = {}
        """Deployment -> role -> its noderoles there, by age, each with its node."""
        self._age: dict[Ref, int] = {}
        self._home: dict[Ref, int] = {}
        self._what: dict[Ref, Key] = {}
        for one in situation.bound:
            self.on_node.setdefault(one.node_id, {})[one.role] = one.id
            self._is_there(one.id, (one.node_id, one.role), one.deployment_id)
        self._children: dict[tuple[int, str], dict[Ref, PeerChild]] = {}
        for peers, those in situation.peer_children.items():
            for child in those:
                self._is_child(peers, child)
        self._linked: dict[tuple[Ref, Ref], int] = {}
        self._answering_to: dict[str, list[str]] = {}
        for role in situation.roles.values():
            for name in role.provides:
                self._answering_to.setdefault(name, []).append(role.name)
        self._known: dict[tuple[str, str], _Between] = {}
        self._sole = dict(situation.sole)
        self.node_id = self.home = 0
        self.node = Target("")
        self.deployments: Sequence[int] = ()

    def plan_one(self, wanted: Wanted) -> None:
        """Plan one binding; those after it see what it makes."""
        name = wanted.role
        if name not in self.s.roles:
            raise NotFound(f"No installed barclamp brings a role {name!r}. See: crowbar roles list.")
        self.node_id, self.node = wanted.node_id, self.s.nodes[wanted.node_id]
        self.home, self.deployments = wanted.deployment_id, self.s.chains[wanted.deployment_id]
        made, linked = len(self.plan.new), len(self.plan.links)
        there = self.on_node.get(wanted.node_id, {}).get(name)
        if there is not None and self._home[there] != self.home:
            named = f" (noderole {there})" if isinstance(there, int) else ""
            raise Refused(
                f"Role {name} is bound to {self.node.name} already, in another deployment{named}. Unbind it there "
                "first."
            )
        self.plan.targets.append(self.bind(name, wanted.node_id, ()))
        for one in self.plan.new[made:]:
            self._is_there(one.key, one.key, one.deployment_id)
        for link in self.plan.links[linked:]:
            _, role = self._what.get(link.parent, (0, ""))
            if role in self.s.roles and self.s.roles[role].cluster and link.child in self._what:
                self._is_child(
                    (self._home[link.parent], role), PeerChild(link.child, link.kind, *self._what[link.child])
                )

    def _is_there(self, ref: Ref, key: Key, deployment_id: int) -> None:
        self._in.setdefault(deployment_id, {}).setdefault(key[1], []).append((ref, key[0]))
        self._age[ref] = len(self._age)
        self._home[ref], self._what[ref] = deployment_id, key

    def _is_child(self, peers: tuple[int, str], child: PeerChild) -> None:
        those = self._children.setdefault(peers, {})
        if child.kind == "data" or child.ref not in those:
            those[child.ref] = child

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
        if role.sole:
            self._take_sole(name, path)
        self._refuse_conflicts(role, here)
        parents: list[tuple[Ref, str]] = []
        for required in role.requires:
            if is_elsewhere(role, required):
                found = self.need_elsewhere(required, node_id, path, f"role {name} requires {required} on another node")
            else:
                found = self.need(required, node_id, path, f"role {name} requires {required}")
            parents += [(ref, "data") for ref in found]
        for wanted in role.wants:
            if wanted not in self.s.owners:
                raise Refused(
                    f"Role {name} wants the attribute {wanted}, which no installed barclamp brings. "
                    "Install the one that does."
                )
            owner = self.s.owners[wanted]
            if owner is not None and owner != name and not self._is_had_elsewhere(role, owner):
                why = f"role {name} wants {wanted} of role {owner}"
                parents += [(ref, "data") for ref in self.need(owner, node_id, path, why)]
        # What its parents brought onto the node may conflict too.
        self._refuse_conflicts(role, here)
        key: Key = (node_id, name)
        self.plan.new.append(NewNodeRole(node_id, name, self.home))
        here[name] = key
        for parent, kind in parents:
            self._link(parent, key, kind)
        self._attach(role, key, here)
        if role.cluster:
            for child in self._children.get((self.home, name), {}).values():
                known = self.s.roles.get(child.role)
                if child.node_id != node_id or known is None or not any(is_elsewhere(known, n) for n in names_of(role)):
                    self._link(key, child.ref, child.kind)
        return key

    def _is_had_elsewhere(self, role: Role, owner: str) -> bool:
        """Whether a role that it wants something of is one that it requires on another node."""
        return any(is_elsewhere(role, name) for name in (owner, *self.s.roles[owner].provides))

    def need_elsewhere(self, name: str, child_node: int, path: tuple[str, ...], why: str) -> list[Ref]:
        """The noderoles on other nodes than ``child_node`` that satisfy a requirement. Only a service is bound for it,
        to the system node.
        """
        for deployment in self.deployments:
            if (first := self._first_in(deployment, name, not_on=child_node)) is not None:
                peers = self._with_peers(self._what[first][1], first, deployment)
                return [ref for ref in peers if self._what[ref][0] != child_node]
        role = self.s.roles.get(name)
        if role is not None and role.service and not role.abstract and self._system_node() != child_node:
            return self._with_peers(name, self.bind(name, self._system_node(), path))
        known = sorted(one.name for one in self.s.roles.values() if name in names_of(one) and not one.abstract)
        what = f"Bind {' or '.join(known)} to another node first" if known else "No installed barclamp brings it"
        raise Refused(
            f"On {self.node.name}, {why}, but in deployment {self.s.deployment_names[self.home]} and above it none is "
            f"bound to one. {what}."
        )

    def need(self, name: str, child_node: int, path: tuple[str, ...], why: str) -> list[Ref]:
        """The noderoles that satisfy a requirement of something on ``child_node``."""
        here = self.on_node.setdefault(child_node, {})
        if (found := self._answering(name, here)) is not None:
            return self._with_peers(found, here[found])
        role = self.s.roles.get(name)
        if role is None or not role.implicit:
            for deployment in self.deployments:
                if (first := self._first_in(deployment, name)) is not None:
                    return self._with_peers(self._what[first][1], first, deployment)
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
            deployment = self._home.get(ref, self.home)
            if deployment not in self.deployments:
                return [ref]
        peers = [there for there, _ in self._in.get(deployment, {}).get(role_name, ())]
        return peers if ref in self._home else [*peers, ref]

    def _first_in(self, deployment: int, name: str, *, not_on: int | None = None) -> Ref | None:
        """The oldest noderole in a deployment that satisfies ``name``: by name, then by what it provides."""
        there = self._in.get(deployment, {})
        for names in ((name,), self._answering_to.get(name, ())):
            oldest = [
                next((ref for ref, node_id in there[one] if node_id != not_on), None) for one in names if one in there
            ]
            if found := [ref for ref in oldest if ref is not None]:
                return min(found, key=self._age.__getitem__)
        return None

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
            raise Refused(f"On {self.node.name}, {why}, but {name} {what}. Install a barclamp that brings it.")
        listed = ", ".join(sorted(other.name for other in providers))
        raise Refused(f"On {self.node.name}, {why}, but nothing bound provides it. Bind one of these first: {listed}.")

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
            if role.service and self.node_id not in {self.s.system_nodes.get(one) for one in self.deployments}:
                raise Refused(
                    f"Role {name} is a service: it goes to the system node of deployment "
                    f"{self.s.deployment_names[self.home]}, not to {self.node.name}. `crowbar nodes list --system` "
                    "names it."
                )
            if self.node.system and not role.service:
                raise Refused(
                    f"Node {self.node.name} is a system node: it takes service roles only, and {name} is none."
                )
        return role

    def _take_sole(self, name: str, path: tuple[str, ...]) -> None:
        chain = f" (needed through {' -> '.join(path)})" if len(path) > 1 else ""
        if (there := self._sole.get(name)) is not None:
            raise Refused(
                f"Role {name}{chain} is bound in deployment {there} already, and there is one for the whole cluster. "
                "Unbind it there first; bound in a deployment above both, it is there for both."
            )
        self._sole[name] = self.s.deployment_names[self.home]

    def _refuse_conflicts(self, role: Role, here: Mapping[str, Ref]) -> None:
        for other in here:
            if why := self._between(role.name, other).conflict:
                raise Refused(f"Role {role.name} cannot be bound to {self.node.name}: {why} Unbind {other} first.")

    def _attach(self, role: Role, key: Key, here: Mapping[str, Ref]) -> None:
        for other, ref in list(here.items()):
            for is_parent, kind in self._between(role.name, other).edges:
                self._link(key if is_parent else ref, ref if is_parent else key, kind)

    def _between(self, name: str, other_name: str) -> _Between:
        """What two roles are to each other, found out once."""
        if (found := self._known.get((name, other_name))) is not None:
            return found
        role, other = self.s.roles[name], self.s.roles.get(other_name)
        conflict, edges = "", []
        if other is not None and other is not role:
            conflict = _conflict(role, other)
            for first, second in ((role, other), (other, role)):
                if frozenset(first.attaches) & names_of(second):
                    edges.append((first is role, "data"))
                elif frozenset(first.precedes) & names_of(second):
                    edges.append((first is role, "order"))
        self._known[name, other_name] = _Between(conflict, tuple(edges))
        return self._known[name, other_name]

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
        return self.s.system_nodes[self.home]

    def _link(self, parent: Ref, child: Ref, kind: str) -> None:
        if parent == child:
            return
        if (place := self._linked.get((parent, child))) is not None:
            if kind == "data":
                self.plan.links[place] = Link(parent, child, kind)
            return
        self._linked[parent, child] = len(self.plan.links)
        self.plan.links.append(Link(parent, child, kind))
