"""Binding many at once is binding them one after the other: the same noderoles, the same edges, the same refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from crowbar_core.barclamp import Attribute, Require, Role
from crowbar_core.domain.graph import (
    Bound,
    Key,
    PeerChild,
    Plan,
    Ref,
    Situation,
    Target,
    Wanted,
    cohorts,
    plan_bindings,
)
from crowbar_core.errors import Refused

ROOT, WEB = 1, 2
SYSTEMS = {ROOT: 90, WEB: 91}
NODES = (1, 2, 3, 4)
CATALOGUE = (
    Role(name="os"),
    Role(name="net", requires=("os",)),
    Role(name="agent", implicit=True, requires=("os",)),
    Role(name="dns", service=True),
    Role(name="etcd", cluster=True, requires=("net",), attributes=(Attribute(name="etcd-url"),)),
    Role(name="app", requires=("net", "agent"), wants=("etcd-url",)),
    Role(name="mon", attaches=("app",), requires=("dns",)),
    Role(name="firewall", precedes=("web",)),
    Role(name="web", abstract=True),
    Role(name="nginx", provides=("web",), requires=("net",)),
    Role(name="apache", provides=("web",), requires=("agent",)),
    Role(name="page", requires=("web",)),
    Role(name="client", requires=(Require("ntp", where="elsewhere"),)),
    Role(name="ntp", conflicts=("client",)),
    Role(name="agents", cluster=True, attaches=("nginx", "app")),
)
ASKED = [role.name for role in CATALOGUE if not (role.abstract or role.service)]


@dataclass
class Database:
    """What is bound, as a database would have it."""

    bound: list[Bound] = field(default_factory=list)
    edges: dict[tuple[int, int], str] = field(default_factory=dict)

    def situation(self) -> Situation:
        children: dict[tuple[int, str], list[PeerChild]] = {}
        by_id = {one.id: one for one in self.bound}
        roles = {role.name: role for role in CATALOGUE}
        for (parent, child), kind in sorted(self.edges.items()):
            peer, below = by_id[parent], by_id[child]
            if roles[peer.role].cluster:
                key = (peer.deployment_id, peer.role)
                children.setdefault(key, []).append(PeerChild(child, kind, below.node_id, below.role))
        return Situation(
            roles=roles, jigs=frozenset({"noop"}), bound=self.bound, peer_children=children,
            owners={one.name: role.name for role in CATALOGUE for one in role.attributes},
            nodes={ref: Target(f"n{ref}.test.example") for ref in NODES},
            chains={ROOT: [ROOT], WEB: [WEB, ROOT]}, deployment_names={ROOT: "system", WEB: "web"},
            system_nodes=SYSTEMS,
        )  # fmt: skip

    def take(self, plan: Plan) -> None:
        levels = cohorts(plan, self.bound)
        ids: dict[Ref, int] = {}
        for one in plan.new:
            ids[one.key] = len(self.bound) + 1
            self.bound.append(Bound(ids[one.key], one.role, one.node_id, one.deployment_id, levels[one.key]))
        for link in plan.links:
            pair = (ids.get(link.parent, link.parent), ids.get(link.child, link.child))
            assert isinstance(pair[0], int)
            assert isinstance(pair[1], int)
            if self.edges.get((pair[0], pair[1])) != "data":
                self.edges[pair[0], pair[1]] = link.kind

    def named(self) -> tuple[set[tuple[Key, int]], set[tuple[Key, Key, str]]]:
        """The noderoles with their deployments, and the edges, by nodes and roles."""
        what = {one.id: (one.node_id, one.role) for one in self.bound}
        noderoles = {(what[one.id], one.deployment_id) for one in self.bound}
        return noderoles, {(what[p], what[c], kind) for (p, c), kind in self.edges.items()}


def one_by_one(before: Sequence[Wanted], wanted: Sequence[Wanted]) -> Database | None:
    """What comes of binding them one after the other. None: one of ``wanted`` is refused."""
    made = Database()
    for one in before:
        try:
            made.take(plan_bindings(made.situation(), [one]))
        except Refused:
            continue
    for one in wanted:
        try:
            made.take(plan_bindings(made.situation(), [one]))
        except Refused:
            return None
    return made


bindings: Any = st.lists(
    st.builds(Wanted, st.sampled_from(NODES), st.sampled_from(ASKED), st.sampled_from((ROOT, WEB))), max_size=8
)


@given(before=bindings, wanted=bindings)
@settings(max_examples=400, deadline=None)
def test_binding_many_is_binding_one_after_the_other(before: list[Wanted], wanted: list[Wanted]) -> None:
    expected = one_by_one(before, wanted)
    together = one_by_one(before, [])
    assert together is not None
    try:
        together.take(plan_bindings(together.situation(), wanted))
    except Refused:
        assert expected is None, "it is refused together, and not one by one"
        return
    assert expected is not None, "it is refused one by one, and not together"
    assert together.named() == expected.named()


@given(before=bindings, wanted=bindings)
@settings(max_examples=100, deadline=None)
def test_a_new_noderoles_cohort_is_above_those_of_its_parents(before: list[Wanted], wanted: list[Wanted]) -> None:
    made = one_by_one(before, [])
    assert made is not None
    try:
        plan = plan_bindings(made.situation(), wanted)
    except Refused:
        return
    made.take(plan)
    new = {one.id: one for one in made.bound[-len(plan.new) :]} if plan.new else {}
    known = {one.id: one.cohort for one in made.bound}
    for parent, child in made.edges:
        if child in new:
            assert known[parent] < known[child]
