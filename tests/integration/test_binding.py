"""Putting roles on nodes and taking them off, in the database: all of it or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from crowbar_core.barclamp import Attribute, NodeRoleView, NodeView, Problem, Role
from crowbar_core.errors import BarclampError, NotFound, Refused, Veto
from crowbar_core.services.cluster import binding, nodes, steering
from crowbar_core.store import catalogue
from crowbar_core.store.models import Audit, DeploymentRole, table
from tests.integration.cluster import (
    OPERATOR,
    check_invariants,
    check_nothing_startable,
    check_rest,
    edge_rows,
    node_role_rows,
)
from tests.integration.conftest import NewCluster

deployment_roles, audits = table(DeploymentRole), table(Audit)


def count(c: Any, what: Any) -> int:
    return int(c.rows(select(func.count()).select_from(what))[0][0])


# ---------------------------------------------------------------- what a binding makes


def test_binding_brings_all_that_is_required_with_its_deployment_roles(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="os"), Role(name="net", requires=("os",)), Role(name="app", requires=("net",)))
    c.node("a")
    result = binding.bind(c.parts, OPERATOR, node_id=c.nodes["a"], role_id=c.role_ids["app"])
    assert [c.named()[ref] for ref in result.created] == ["os@a", "net@a", "app@a"]
    assert result.node_role_id == result.created[-1]
    assert c.edges() == {("os@a", "net@a", "data"), ("net@a", "app@a", "data")}
    assert count(c, deployment_roles) == 3
    check_invariants(c.parts)


def test_binding_what_is_bound_changes_nothing(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="app"))
    c.node("a")
    ref = c.bind("a", "app")
    result = binding.bind(c.parts, OPERATOR, node_id=c.nodes["a"], role_id=c.role_ids["app"])
    assert (result.node_role_id, result.created) == (ref, ())
    web = c.deployment("web")
    with pytest.raises(Refused, match="another deployment"):
        c.bind("a", "app", web)


def test_a_sole_role_is_looked_for_in_all_deployments(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="app", sole=True), Role(name="net"))
    for node in ("a", "b"):
        c.node(node)
    one, two = c.deployment("one"), c.deployment("two")
    ref = c.bind("a", "app", one)
    with pytest.raises(Refused, match="Role app is bound in deployment one already, and there is one for the whole"):
        c.bind("b", "app", two)
    binding.unbind(c.parts, OPERATOR, ref)
    assert c.bind("b", "app", two)


def test_a_requirement_is_looked_for_on_the_node_then_up_the_deployments(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="net"), Role(name="app", requires=("net",)))
    one = c.deployment("one")
    two = c.deployment("two", one)
    for name in "abcd":
        c.node(name)
    c.bind("a", "net")
    c.bind("b", "app", two)
    assert c.edges() == {("net@a", "app@b", "data")}
    c.bind("c", "net", one)
    c.bind("d", "app", two)
    assert ("net@c", "app@d", "data") in c.edges()
    assert ("net@a", "app@d", "data") not in c.edges()


def test_an_implicit_requirement_is_on_every_node_itself(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="agent", implicit=True), Role(name="app", requires=("agent",)))
    for name in "ab":
        c.node(name)
        c.bind(name, "app")
    assert c.edges() == {("agent@a", "app@a", "data"), ("agent@b", "app@b", "data")}


def test_a_requirement_is_met_by_who_provides_it(new_cluster: NewCluster) -> None:
    c = new_cluster(
        Role(name="db", abstract=True), Role(name="pg", provides=("db",)), Role(name="my", provides=("db",)),
        Role(name="app", requires=("db",)),
    )  # fmt: skip
    c.node("a")
    with pytest.raises(Refused, match="my, pg"):
        c.bind("a", "app")
    c.bind("a", "my")
    c.bind("a", "app")
    assert c.edges() == {("my@a", "app@a", "data")}


def test_a_required_service_goes_to_the_deployments_system_node_once(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="dns", service=True), Role(name="app", requires=("dns",)))
    web = c.deployment("web")
    for name in "ab":
        c.node(name)
        c.bind(name, "app", web)
    assert c.edges() == {("dns@web-phantom", "app@a", "data"), ("dns@web-phantom", "app@b", "data")}
    with pytest.raises(Refused, match=r"system node of deployment system, not to a.*`crowbar nodes list --system`"):
        c.bind("a", "dns")
    assert c.bind_to(c.system_node(c.system), "dns", c.system) > 0
    c.commit_all(web)
    c.anneal()
    check_rest(c.parts)


def test_a_cluster_parent_stands_for_all_its_peers_and_a_new_peer_becomes_a_parent(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="etcd", cluster=True), Role(name="app", requires=("etcd",)))
    for name in "abcx":
        c.node(name)
    c.bind("a", "etcd")
    c.bind("b", "etcd")
    app = c.bind("x", "app")
    assert c.edges() == {("etcd@a", "app@x", "data"), ("etcd@b", "app@x", "data")}
    c.commit_all()
    c.anneal()
    assert c.states(app) == ["ACTIVE"]
    peer = c.bind("c", "etcd")
    assert ("etcd@c", "app@x", "data") in c.edges()
    assert c.states(app) == ["ACTIVE"], "what is only proposed changes nothing that is committed"
    check_invariants(c.parts)
    c.commit_all()
    assert c.states(app) == ["BLOCKED"]
    assert steering.why_node_role(c.parts, app).reasons[0].subject == f"node_role {peer}"
    check_invariants(c.parts)
    assert c.anneal() == [peer, app]


def test_attaches_and_precedes_draw_edges_on_the_same_node(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="mon", attaches=("app",)), Role(name="fw", precedes=("app",)), Role(name="app"))
    c.node("a")
    c.node("b")
    c.bind("a", "app")
    c.bind("a", "mon")
    c.bind("a", "fw")
    c.bind("b", "mon")
    assert c.edges() == {("mon@a", "app@a", "data"), ("fw@a", "app@a", "order")}
    c.bind("b", "app")
    assert ("mon@b", "app@b", "data") in c.edges()


def test_a_wanted_attribute_makes_its_owner_a_parent(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="dns", attributes=(Attribute(name="domain"),)), Role(name="app", wants=("domain",)))
    c.node("a")
    c.bind("a", "app")
    assert c.edges() == {("dns@a", "app@a", "data")}


def test_bootstrap_roles_are_on_the_admin_node_and_discovery_roles_on_every_other(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="boot", bootstrap=True), Role(name="found", discovery=True))
    c.node("admin", admin=True)
    c.node("a")
    assert set(c.named().values()) == {"boot@admin", "crowbar-admin-node@admin", "found@a"}


# ---------------------------------------------------------------- what is refused, with nothing done


@pytest.mark.parametrize(
    "roles,there,asked,says",
    [
        ([Role(name="db", abstract=True)], None, "db", "abstract"),
        ([Role(name="a1", conflicts=("b1",)), Role(name="b1")], "b1", "a1", "conflicts"),
        ([Role(name="a1", provides=("x",)), Role(name="b1", provides=("x",))], "b1", "a1", "provides x too"),
        ([Role(name="app", requires=("ghost",))], None, "app", "no installed barclamp"),
        ([Role(name="app", wants=("ghost-name",))], None, "app", "ghost-name"),
        ([Role(name="os", jig="no-such-jig"), Role(name="app", requires=("os",))], None, "app", "'no-such-jig'"),
    ],
)
def test_a_refused_binding_leaves_nothing_behind(
    new_cluster: NewCluster, roles: list[Role], there: str | None, asked: str, says: str
) -> None:
    c = new_cluster(*roles)
    c.node("a")
    if there:
        c.bind("a", there)
    before = [count(c, rows) for rows in (node_role_rows, edge_rows, deployment_roles, audits)]
    with pytest.raises(Refused, match=says) as caught:
        c.bind("a", asked)
    assert caught.value.status == 409
    assert [count(c, rows) for rows in (node_role_rows, edge_rows, deployment_roles, audits)] == before


def test_what_is_not_there_is_not_found(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="app"))
    c.node("a")
    for wrong in ({"node_id": 999}, {"role_id": 999}, {"deployment_id": 999}):
        with pytest.raises(NotFound):
            binding.bind(
                c.parts, OPERATOR, **({"node_id": c.nodes["a"], "role_id": c.role_ids["app"]} | wrong)
            )  # fmt: skip
    with pytest.raises(NotFound):
        binding.unbind(c.parts, OPERATOR, 999)


def test_a_binding_that_would_close_a_cycle_is_refused_with_its_path(new_cluster: NewCluster) -> None:
    """Each role alone is fine; what is bound already leads round through another node."""
    c = new_cluster(
        Role(name="net", provides=("wire",)), Role(name="app", requires=("net",)),
        Role(name="late", precedes=("wire",), requires=("app",)),
    )  # fmt: skip
    c.node("a")
    c.node("b")
    c.bind("a", "net")
    c.bind("b", "app")
    before = c.edges()
    with pytest.raises(Refused) as caught:
        c.bind("a", "late")
    assert "net on a.test.example -> app on b.test.example -> late on a.test.example" in caught.value.detail
    assert c.edges() == before


def test_a_cycle_that_an_attached_role_would_close_is_refused(new_cluster: NewCluster) -> None:
    c = new_cluster(
        Role(name="net", provides=("wire",)), Role(name="app", requires=("net",)),
        Role(name="late", attaches=("wire",), requires=("app",)),
    )  # fmt: skip
    c.node("a")
    c.node("b")
    c.bind("a", "net")
    c.bind("b", "app")
    before = c.edges()
    with pytest.raises(Refused, match="would close a cycle"):
        c.bind("a", "late")
    assert c.edges() == before


def test_a_cycle_that_a_new_peer_of_a_cluster_would_close_is_refused(new_cluster: NewCluster) -> None:
    """The new peer would be a parent of app, on which its own disk depends through the meter."""
    c = new_cluster(
        Role(name="disk", implicit=True, provides=("store",)), Role(name="etcd", cluster=True, requires=("disk",)),
        Role(name="app", requires=("etcd",)), Role(name="meter", requires=("app",), attaches=("store",)),
    )  # fmt: skip
    for name in "abx":
        c.node(name)
    c.bind("a", "etcd")
    c.bind("x", "app")
    c.bind("b", "meter")
    before = c.edges()
    with pytest.raises(Refused, match="would close a cycle"):
        c.bind("b", "etcd")
    assert c.edges() == before
    check_invariants(c.parts)


def test_check_binding_is_asked_for_whatever_is_drawn_in(new_cluster: NewCluster) -> None:
    asked: list[tuple[str, str]] = []

    def check_binding(node: NodeView, role: Role) -> list[Problem]:
        asked.append((role.name, node.name))
        return [Problem(detail="There is no disk.")] if role.name == "os" else []

    c = new_cluster(
        Role(name="os"), Role(name="net", requires=("os",)), Role(name="app", requires=("net",)),
        hooks={"check_binding": check_binding},
    )  # fmt: skip
    c.node("a")
    with pytest.raises(Refused, match="There is no disk"):
        c.bind("a", "app")
    assert asked == [(role, "a.test.example") for role in ("os", "net", "app")]
    assert count(c, node_role_rows) == 0


def test_all_objections_of_barclamps_are_shown_together(new_cluster: NewCluster) -> None:
    def check_binding(node: NodeView, role: Role) -> list[Problem]:
        return [
            Problem(detail=f"{role.name} needs more disk on {node.name}."),
            Problem(detail="And more memory."),
            Problem(detail="It is a bit slow.", severity="warning"),
        ]

    c = new_cluster(Role(name="app"), hooks={"check_binding": check_binding})
    c.node("a")
    with pytest.raises(Refused) as caught:
        c.bind("a", "app")
    assert "more disk on a.test.example" in caught.value.detail
    assert "more memory" in caught.value.detail
    assert "slow" not in caught.value.detail
    assert count(c, node_role_rows) == 0


@pytest.mark.parametrize("error,raised", [(Veto("no address is left"), Veto), (KeyError("x"), BarclampError)])
def test_a_barclamp_may_veto_and_then_nothing_happened(
    new_cluster: NewCluster, error: Exception, raised: type[Exception]
) -> None:
    def on_node_bind(node_role: NodeRoleView, session: Any) -> None:
        if node_role.role == "app":
            raise error

    c = new_cluster(Role(name="net"), Role(name="app", requires=("net",)), hooks={"on_node_bind": on_node_bind})
    c.node("a")
    with pytest.raises(raised):
        c.bind("a", "app")
    assert count(c, node_role_rows) == 0
    c.bind("a", "net")


def test_a_role_whose_barclamp_is_gone_cannot_be_bound_and_what_is_bound_waits(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="app"), Role(name="other"))
    c.node("a")
    nodes_before = c.nodes
    app = c.bind("a", "app")
    c.commit_all()
    c.end(app)
    again = new_cluster(Role(name="other"))
    again.nodes = nodes_before
    with pytest.raises(Refused, match="not loaded"):
        binding.bind(again.parts, OPERATOR, node_id=nodes_before["a"], role_id=again.role_ids["app"])
    steering.rerun(again.parts, OPERATOR, app)
    assert again.states(app) == ["TODO"]
    assert [one.code for one in steering.why_node_role(again.parts, app).reasons] == ["missing"]
    check_rest(again.parts)
    back = new_cluster(Role(name="app"), Role(name="other"))
    back.change_node("a", available=True) if "a" in back.nodes else None
    with back.parts.store.read() as session:
        assert session.scalar(select(func.count()).select_from(node_role_rows)) == 1


# ---------------------------------------------------------------- unbinding


def test_unbinding_takes_the_dependants_on_the_same_node_along_after_showing_them(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="os"), Role(name="net", requires=("os",)), Role(name="app", requires=("net",)))
    c.node("a")
    app = c.bind("a", "app")
    c.commit_all()
    c.anneal()
    (net,) = [ref for ref, name in c.named().items() if name == "net@a"]
    assert binding.unbind(c.parts, OPERATOR, net, dry_run=True) == (net, app)
    assert len(c.named()) == 3
    assert binding.unbind(c.parts, OPERATOR, net) == (net, app)
    assert set(c.named().values()) == {"os@a"}
    check_rest(c.parts)


def test_unbinding_is_refused_while_another_node_depends_on_it_and_has_run(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="net"), Role(name="app", requires=("net",)))
    c.node("a")
    c.node("b")
    net, app = c.bind("a", "net"), c.bind("b", "app")
    c.commit_all()
    c.end(net)
    c.end(app, "failed")
    with pytest.raises(Refused, match=r"app on b\.test\.example"):
        binding.unbind(c.parts, OPERATOR, net)
    with pytest.raises(Refused):
        binding.unbind(c.parts, OPERATOR, net, dry_run=True)


def test_a_dependant_on_another_node_that_never_ran_is_freed(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="net"), Role(name="app", requires=("net",)))
    c.node("a")
    c.node("b")
    net, app = c.bind("a", "net"), c.bind("b", "app")
    c.commit_all()
    assert binding.unbind(c.parts, OPERATOR, net) == (net,)
    assert c.states(app) == ["TRANSITION"]
    check_nothing_startable(c.parts, check_invariants(c.parts))


def test_unbinding_what_runs_is_refused_until_its_run_has_ended(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="app"))
    c.node("a")
    app = c.bind("a", "app")
    c.commit_all()
    c.claim(app)
    with pytest.raises(Refused, match="Cancel that run"):
        binding.unbind(c.parts, OPERATOR, app)
    c.end(app, "pending", deadline=60)
    assert binding.unbind(c.parts, OPERATOR, app) == (app,)
    assert c.open_runs() == []


def test_an_id_is_never_used_again(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="app"))
    c.node("a")
    first = c.bind("a", "app")
    binding.unbind(c.parts, OPERATOR, first)
    assert c.bind("a", "app") > first
    nodes.delete_node(c.parts, OPERATOR, c.nodes["a"], wait=0)
    gone = c.nodes["a"]
    assert c.node("a") > gone


def test_a_library_role_is_not_offered_and_can_be_bound_by_whoever_names_it(new_cluster: NewCluster) -> None:
    shelf, book = Role(name="shelf", library=True), Role(name="book", requires=("shelf",))
    c = new_cluster(shelf, book, Role(name="idea", abstract=True))
    with c.parts.store.read() as session:
        offered = {one.name for one in catalogue.bindable_roles(session)}
    assert {"shelf", "book", "idea"} & offered == {"book"}
    c.node("a")
    c.node("b")
    c.bind("a", "book")
    c.bind("b", "shelf")
    assert sorted(c.named().values()) == ["book@a", "shelf@a", "shelf@b"]
