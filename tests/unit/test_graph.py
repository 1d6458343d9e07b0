"""Which noderoles and edges a binding needs, and every reason for which it is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from crowbar_core.barclamp import Attribute, Require, Role
from crowbar_core.domain.graph import (
    Bound,
    PeerChild,
    Plan,
    Situation,
    Target,
    Wanted,
    closure,
    plan_bindings,
)
from crowbar_core.errors import NotFound, Refused

NODE, OTHER, SYSTEM, ROOT_SYSTEM = 1, 2, 90, 91
DEPLOYMENT, ROOT = 5, 4


def situation(
    roles: Sequence[Role], bound: Sequence[Bound] = (), *, node_id: int = NODE, node_is_system: bool = False,
    peer_children: Mapping[str, Sequence[tuple[int, str, int, str]]] | None = None, **values: Any,
) -> Situation:  # fmt: skip
    given: dict[str, Any] = {
        "jigs": frozenset({"noop"}), "nodes": {node_id: Target("n1.test.example", node_is_system)},
        "chains": {DEPLOYMENT: [DEPLOYMENT, ROOT]}, "deployment_names": {DEPLOYMENT: "web"},
        "system_nodes": {DEPLOYMENT: SYSTEM, ROOT: ROOT_SYSTEM},
        "owners": {a.name: role.name for role in roles for a in role.attributes},
        "peer_children": {
            (DEPLOYMENT, role): [PeerChild(*one) for one in those] for role, those in (peer_children or {}).items()
        },
    }  # fmt: skip
    return Situation(
        roles={role.name: role for role in roles}, bound=sorted(bound, key=lambda one: one.id), **(given | values)
    )


def plan_binding(given: Situation, role: str) -> Plan:
    """The plan of binding one role to the situation's one node."""
    return plan_bindings(given, [Wanted(next(iter(given.nodes)), role, DEPLOYMENT)])


def here(ref: int, role: str) -> Bound:
    return Bound(ref, role, NODE, DEPLOYMENT)


def new(plan: Plan) -> list[tuple[str, int]]:
    return [(one.role, one.node_id) for one in plan.new]


def links(plan: Plan) -> set[tuple[Any, Any, str]]:
    def named(ref: Any) -> Any:
        return ref if isinstance(ref, int) else ref[1]

    return {(named(link.parent), named(link.child), link.kind) for link in plan.links}


# ---------------------------------------------------------------- what is found, and what is made


def test_what_is_required_is_made_first_and_becomes_the_parent() -> None:
    roles = [Role(name="app", requires=("net",)), Role(name="net", requires=("os",)), Role(name="os")]
    plan = plan_binding(situation(roles), "app")
    assert new(plan) == [("os", NODE), ("net", NODE), ("app", NODE)]
    assert links(plan) == {("os", "net", "data"), ("net", "app", "data")}
    assert plan.targets == [(NODE, "app")]
    assert {one.deployment_id for one in plan.new} == {DEPLOYMENT}


def test_on_the_node_the_name_goes_before_who_provides_it() -> None:
    roles = [Role(name="app", requires=("db",)), Role(name="db"), Role(name="mysql", provides=("db",))]
    assert links(plan_binding(situation(roles, [here(7, "mysql")]), "app")) == {(7, "app", "data")}
    assert links(plan_binding(situation(roles[:2], [here(8, "db")]), "app")) == {(8, "app", "data")}


def test_the_node_goes_before_the_deployment_and_that_before_its_ancestors() -> None:
    roles = [Role(name="app", requires=("net",)), Role(name="net")]
    far, near = Bound(3, "net", OTHER, ROOT), Bound(4, "net", OTHER, DEPLOYMENT)
    assert links(plan_binding(situation(roles, [far]), "app")) == {(3, "app", "data")}
    assert links(plan_binding(situation(roles, [far, near]), "app")) == {(4, "app", "data")}
    assert links(plan_binding(situation(roles, [far, near, here(5, "net")]), "app")) == {(5, "app", "data")}


def test_in_the_deployment_too_a_provider_will_do() -> None:
    roles = [Role(name="app", requires=("db",)), Role(name="db", abstract=True), Role(name="pg", provides=("db",))]
    bound = [Bound(3, "pg", OTHER, DEPLOYMENT)]
    assert links(plan_binding(situation(roles, bound), "app")) == {(3, "app", "data")}


def test_an_implicit_role_is_bound_to_the_node_itself_whoever_else_has_it() -> None:
    roles = [Role(name="app", requires=("agent",)), Role(name="agent", implicit=True)]
    plan = plan_binding(situation(roles, [Bound(3, "agent", OTHER, DEPLOYMENT)]), "app")
    assert new(plan) == [("agent", NODE), ("app", NODE)]


def test_the_role_that_owns_a_wanted_attribute_is_required_too() -> None:
    roles = [Role(name="app", wants=("domain",)), Role(name="dns", attributes=(Attribute(name="domain"),))]
    assert links(plan_binding(situation(roles), "app")) == {("dns", "app", "data")}


def test_an_attribute_that_lives_on_nodes_or_is_its_own_needs_no_parent() -> None:
    roles = [Role(name="app", wants=("rack", "port"), attributes=(Attribute(name="port"),))]
    plan = plan_binding(situation(roles, owners={"rack": None, "port": "app"}), "app")
    assert links(plan) == set()


def test_a_service_that_is_required_goes_to_the_deployments_system_node() -> None:
    roles = [Role(name="app", requires=("dns",)), Role(name="dns", service=True)]
    plan = plan_binding(situation(roles), "app")
    assert new(plan) == [("dns", SYSTEM), ("app", NODE)]


def test_a_cluster_parent_stands_for_all_its_peers() -> None:
    roles = [Role(name="app", requires=("etcd",)), Role(name="etcd", cluster=True)]
    bound = [Bound(3, "etcd", OTHER, DEPLOYMENT), Bound(4, "etcd", 8, DEPLOYMENT), Bound(5, "etcd", 9, ROOT)]
    assert links(plan_binding(situation(roles, bound), "app")) == {(3, "app", "data"), (4, "app", "data")}


def test_a_new_peer_becomes_a_parent_of_the_clusters_children() -> None:
    roles = [Role(name="app", requires=("etcd",)), Role(name="etcd", cluster=True)]
    given = situation(roles, peer_children={"etcd": [(30, "data", OTHER, "app"), (31, "data", 8, "app")]})
    assert links(plan_binding(given, "etcd")) == {("etcd", 30, "data"), ("etcd", 31, "data")}


ELSEWHERE = Role(name="ntp-client", requires=(Require("ntp-server", where="elsewhere"),), wants=("ntp-address",))
SERVER = Role(name="ntp-server", attributes=(Attribute(name="ntp-address"),))


def test_what_is_required_elsewhere_is_another_nodes_and_is_never_bound_for_it() -> None:
    there = Bound(3, "ntp-server", OTHER, DEPLOYMENT)
    plan = plan_binding(situation([ELSEWHERE, SERVER], [here(2, "ntp-server"), there]), "ntp-client")
    assert links(plan) == {(3, "ntp-client", "data")}, "for what it wants of that role, too"
    for bound in ([], [here(2, "ntp-server")]):
        with pytest.raises(Refused, match=r"none is bound to one\. Bind ntp-server to another node first"):
            plan_binding(situation([ELSEWHERE, SERVER], bound), "ntp-client")


def test_of_a_cluster_required_elsewhere_the_peer_on_the_own_node_is_no_parent() -> None:
    cluster = Role(name="ntp-server", cluster=True, attributes=SERVER.attributes)
    bound = [here(2, "ntp-server"), Bound(3, "ntp-server", OTHER, DEPLOYMENT), Bound(4, "ntp-server", 8, DEPLOYMENT)]
    plan = plan_binding(situation([ELSEWHERE, cluster], bound), "ntp-client")
    assert links(plan) == {(3, "ntp-client", "data"), (4, "ntp-client", "data")}
    children = [(30, "data", NODE, "ntp-client"), (31, "data", OTHER, "ntp-client")]
    given = situation([ELSEWHERE, cluster], peer_children={"ntp-server": children})
    assert links(plan_binding(given, "ntp-server")) == {("ntp-server", 31, "data")}


def test_a_service_required_elsewhere_goes_to_the_system_node() -> None:
    roles = [ELSEWHERE, Role(name="ntp-server", service=True, attributes=SERVER.attributes)]
    assert new(plan_binding(situation(roles), "ntp-client")) == [("ntp-server", SYSTEM), ("ntp-client", NODE)]


def test_attaches_makes_me_a_parent_whichever_of_the_two_comes_first() -> None:
    roles = [Role(name="mon", attaches=("app",)), Role(name="app")]
    assert links(plan_binding(situation(roles, [here(3, "app")]), "mon")) == {("mon", 3, "data")}
    assert links(plan_binding(situation(roles, [here(3, "mon")]), "app")) == {(3, "app", "data")}


def test_precedes_orders_without_handing_on_data() -> None:
    roles = [Role(name="firewall", precedes=("web",)), Role(name="nginx", provides=("web",))]
    assert links(plan_binding(situation(roles, [here(3, "nginx")]), "firewall")) == {("firewall", 3, "order")}


def test_data_wins_over_order_where_both_are_meant() -> None:
    roles = [Role(name="net", precedes=("app",)), Role(name="app", requires=("net",))]
    assert links(plan_binding(situation(roles), "app")) == {("net", "app", "data")}


def test_what_is_bound_already_is_the_answer() -> None:
    plan = plan_binding(situation([Role(name="app")], [here(3, "app")]), "app")
    assert plan.targets == [3]
    assert not plan.new


def test_closure_names_all_that_must_be_loaded() -> None:
    roles = {
        role.name: role
        for role in (
            Role(name="app", requires=("db",), wants=("domain",)),
            Role(name="pg", provides=("db",), requires=("disk",)),
            Role(name="dns"), Role(name="disk"), Role(name="other"),
        )
    }  # fmt: skip
    assert closure(roles, {"domain": "dns"}, "app") == {"app", "db", "pg", "disk", "dns"}


# ---------------------------------------------------------------- refusals


def refused(given: Situation, role: str) -> str:
    with pytest.raises(Refused) as caught:
        plan_binding(given, role)
    return caught.value.detail


def test_a_role_that_nobody_brings_is_not_found() -> None:
    with pytest.raises(NotFound, match="ghost"):
        plan_binding(situation([]), "ghost")


def test_an_abstract_role_is_refused_and_its_providers_are_named() -> None:
    text = refused(situation([Role(name="db", abstract=True), Role(name="pg", provides=("db",))]), "db")
    assert "abstract" in text
    assert "pg" in text


def test_a_missing_jig_is_refused_also_where_only_a_requirement_needs_it() -> None:
    roles = [Role(name="app", requires=("os",)), Role(name="os", jig="script")]
    text = refused(situation(roles), "app")
    assert "'script'" in text
    assert "app -> os" in text


@pytest.mark.parametrize("mine,theirs", [(("ntp",), ()), ((), ("chrony",))])
def test_a_conflict_is_refused_whichever_side_declares_it(mine: tuple[str, ...], theirs: tuple[str, ...]) -> None:
    roles = [Role(name="chrony", conflicts=mine), Role(name="ntp", conflicts=theirs)]
    text = refused(situation(roles, [here(3, "ntp")]), "chrony")
    assert "conflicts" in text
    assert "ntp" in text


def test_a_conflict_with_what_another_provides_is_refused() -> None:
    roles = [Role(name="chrony", conflicts=("time",)), Role(name="ntp", provides=("time",))]
    assert "conflicts" in refused(situation(roles, [here(3, "ntp")]), "chrony")


def test_two_roles_on_a_node_cannot_provide_the_same() -> None:
    roles = [Role(name="chrony", provides=("time",)), Role(name="ntp", provides=("time",))]
    assert "provides time too" in refused(situation(roles, [here(3, "ntp")]), "chrony")


def test_a_conflict_that_a_requirement_brings_along_is_refused() -> None:
    roles = [Role(name="app", requires=("ntp",), conflicts=("ntp",)), Role(name="ntp", implicit=True)]
    assert "conflicts" in refused(situation(roles), "app")


def test_a_requirement_that_nobody_brings_is_refused() -> None:
    assert "brought by no installed barclamp" in refused(situation([Role(name="app", requires=("ghost",))]), "app")
    roles = [Role(name="app", requires=("db",)), Role(name="db", abstract=True)]
    assert "nothing provides it" in refused(situation(roles), "app")


def test_one_provider_is_taken_and_several_are_offered() -> None:
    roles = [Role(name="app", requires=("db",)), Role(name="db", abstract=True), Role(name="pg", provides=("db",))]
    assert new(plan_binding(situation(roles), "app")) == [("pg", NODE), ("app", NODE)]
    text = refused(situation([*roles, Role(name="mysql", provides=("db",))]), "app")
    assert "mysql, pg" in text


def test_a_wanted_attribute_that_nobody_brings_is_refused() -> None:
    assert "'" not in (text := refused(situation([Role(name="app", wants=("ghost-name",))]), "app"))
    assert "ghost-name" in text


def test_a_circle_of_requirements_is_refused_with_its_path() -> None:
    roles = [Role(name="a", requires=("b",)), Role(name="b", requires=("c",)), Role(name="c", requires=("a",))]
    assert "a -> b -> c -> a" in refused(situation(roles), "a")


def test_a_sole_role_is_bound_once_in_the_whole_cluster() -> None:
    roles = [Role(name="dns", service=True, sole=True), Role(name="client", requires=("dns",))]
    there = {"dns": "storage"}
    assert refused(situation(roles, sole=there), "client") == (
        "Role dns (needed through client -> dns) is bound in deployment storage already, and there is one for the "
        "whole cluster. Unbind it there first; bound in a deployment above both, it is there for both."
    )
    above = [Bound(3, "dns", ROOT_SYSTEM, ROOT)]
    assert links(plan_binding(situation(roles, above, sole={"dns": "root"}), "client")) == {(3, "client", "data")}
    both = situation(
        roles, nodes={NODE: Target("n1"), OTHER: Target("n2")}, chains={DEPLOYMENT: [DEPLOYMENT], ROOT: [ROOT]},
        deployment_names={DEPLOYMENT: "web", ROOT: "root"},
    )  # fmt: skip
    with pytest.raises(Refused, match="is bound in deployment web already"):
        plan_bindings(both, [Wanted(NODE, "client", DEPLOYMENT), Wanted(OTHER, "client", ROOT)])


def test_a_service_does_not_go_on_a_machine_nor_anything_else_on_a_system_node() -> None:
    roles = [Role(name="dns", service=True), Role(name="app")]
    assert "system node" in refused(situation(roles), "dns")
    on_system = situation(roles, node_id=SYSTEM, node_is_system=True)
    assert "service roles only" in refused(on_system, "app")
    assert new(plan_binding(on_system, "dns")) == [("dns", SYSTEM)]
