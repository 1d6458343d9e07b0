"""What a role wants of several parents, what it requires elsewhere, and what ``check_binding`` sees of a node."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from crowbar_core.barclamp import Attribute, NodeView, Problem, Require, Role, Want
from crowbar_core.errors import Refused
from crowbar_core.services.cluster import nodes
from crowbar_core.services.values import attributes
from tests.integration.cluster import OPERATOR, Cluster, check_invariants, run_rows
from tests.integration.conftest import NewCluster

ADDRESS = Attribute(name="ntp-address", map="ntp/address", schema={"type": "string"})
SERVER = Role(name="ntp-server", cluster=True, attributes=(ADDRESS,))
ALL = Role(name="all", requires=("ntp-server",), wants=(Want("ntp-address", gather=True),))
ONE = Role(name="one", requires=("ntp-server",), wants=("ntp-address",))
CLIENT = Role(name="client", requires=(Require("ntp-server", where="elsewhere"),), wants=("ntp-address",))


def servers(c: Cluster, **addresses: str) -> None:
    for name, address in addresses.items():
        c.node(name)
        ref = c.bind(name, "ntp-server")
        attributes.set_value(c.parts, OPERATOR, attribute="ntp-address", value=address, node_role_id=ref)


def last_input(c: Cluster, ref: int) -> Any:
    runs = c.rows(select(run_rows.c.input).where(run_rows.c.node_role_id == ref).order_by(run_rows.c.id))
    return runs[-1].input


def bound(c: Cluster, name: str) -> int | None:
    """The noderole called ``role@node``."""
    return next((ref for ref, known in c.named().items() if known == name), None)


def test_what_is_gathered_is_a_list_of_all_parents_that_have_it(new_cluster: NewCluster) -> None:
    c = new_cluster(SERVER, ALL)
    servers(c, b="10.0.0.2", a="10.0.0.1")
    c.node("c")
    c.bind("c", "ntp-server")
    ref = c.bind("c", "all")
    c.commit_all()
    c.anneal()
    listed = [{"node": f"{name}.test.example", "value": f"10.0.0.{n}"} for name, n in (("a", 1), ("b", 2))]
    assert last_input(c, ref) == {"ntp": {"address": listed}}, "c has none, and is no part of it"
    said = attributes.explain(c.parts, attribute="ntp-address", node_role_id=ref)
    assert [one.value for one in said if one.wins] == ["10.0.0.1", "10.0.0.2"]


def test_a_gathered_value_that_changes_sends_back_to_work_whoever_gathers_it(new_cluster: NewCluster) -> None:
    c = new_cluster(SERVER, ALL)
    servers(c, a="10.0.0.1")
    c.node("c")
    ref = c.bind("c", "all")
    c.commit_all()
    c.anneal()
    servers(c, b="10.0.0.2")
    c.commit_all()
    c.anneal()
    assert [one["value"] for one in last_input(c, ref)["ntp"]["address"]] == ["10.0.0.1", "10.0.0.2"]
    nodes.delete_node(c.parts, OPERATOR, c.nodes["b"], wait=0)
    c.anneal()
    assert [one["value"] for one in last_input(c, ref)["ntp"]["address"]] == ["10.0.0.1"]
    check_invariants(c.parts)


def test_one_value_of_parents_that_differ_is_refused_at_binding(new_cluster: NewCluster) -> None:
    c = new_cluster(SERVER, ONE)
    servers(c, a="10.0.0.1", b="10.0.0.2")
    c.node("c")
    with pytest.raises(Refused) as refused:
        c.bind("c", "one")
    assert refused.value.detail == (
        "Role one on c.test.example wants ntp-address of role ntp-server, for which a.test.example, b.test.example "
        "have different values. Give them one value, or let the role want all of them: "
        'Want("ntp-address", gather=True).'
    )
    assert bound(c, "one@c") is None
    attributes.set_value(
        c.parts, OPERATOR, attribute="ntp-address", value="10.0.0.1", node_role_id=bound(c, "ntp-server@b")
    )
    c.bind("c", "one")


def test_a_parent_on_the_own_node_is_no_chance(new_cluster: NewCluster) -> None:
    c = new_cluster(SERVER, ONE)
    servers(c, a="10.0.0.1", b="10.0.0.2")
    ref = c.bind("b", "one")
    c.commit_all()
    c.anneal()
    assert last_input(c, ref) == {"ntp": {"address": "10.0.0.2"}}


def test_what_is_required_elsewhere_is_found_on_another_node_alone(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="ntp-server", attributes=(ADDRESS,)), CLIENT)
    servers(c, a="10.0.0.1")
    with pytest.raises(Refused, match="Bind ntp-server to another node first"):
        c.bind("a", "client")
    servers(c, b="10.0.0.2")
    c.bind("a", "client")
    c.node("c")
    c.bind("c", "client")
    assert c.edges() == {("ntp-server@b", "client@a", "data"), ("ntp-server@a", "client@c", "data")}
    assert bound(c, "ntp-server@c") is None


def test_a_check_of_a_binding_sees_the_nodes_roles_and_what_is_proposed(new_cluster: NewCluster) -> None:
    seen: list[tuple[str, tuple[str, ...]]] = []

    def check_binding(node: NodeView, role: Role) -> list[Problem]:
        seen.append((role.name, node.roles))
        crowded = role.name == "app" and "db" in node.roles
        return [Problem(detail="Not beside db.")] if crowded else []

    c = new_cluster(
        Role(name="os"), Role(name="db", requires=("os",)), Role(name="app", requires=("os",)),
        hooks={"check_binding": check_binding},
    )  # fmt: skip
    c.node("a")
    c.bind("a", "db")
    assert seen == [("os", ("db", "os")), ("db", ("db", "os"))]
    with pytest.raises(Refused, match="Not beside db"):
        c.bind("a", "app")
    assert seen[-1] == ("app", ("app", "db", "os"))
