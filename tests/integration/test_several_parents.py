"""What a role wants of several parents, what it requires elsewhere, and what ``check_binding`` sees of a node."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select

from crowbar_core.barclamp import Attribute, Barclamp, NodeView, Problem, Require, Role, Want, hookimpl
from crowbar_core.errors import Refused
from crowbar_core.services.cluster import deployments, nodes
from crowbar_core.services.values import attributes
from crowbar_core.testing import FakeJig, Testbed
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
        "Role one cannot be bound to c.test.example. Role one wants ntp-address of role ntp-server, of which "
        'a.test.example has "10.0.0.1" and b.test.example has "10.0.0.2". Give them one value, or let the role want '
        'all of them: Want("ntp-address", gather=True).'
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


# ---------------------------------------------------------------- they come to differ

TOKEN = Attribute(name="ntp-token", map="ntp/token", schema={"type": "string"}, secret=True)
KEYED = Role(name="ntp-server", cluster=True, jig="script", attributes=(ADDRESS, TOKEN))
WAY_OUT = 'Give them one value, or let the role want all of them: Want("{0}", gather=True). '
WHERE = "Where it comes from: crowbar noderoles attribs c.example.test/one"


def barclamp_of(*roles: Role) -> ModuleType:
    @hookimpl
    def register_barclamp() -> Barclamp:
        return Barclamp(name="several", roles=roles)

    module = ModuleType("barclamp_several")
    setattr(module, "register_barclamp", register_barclamp)  # noqa: B010  mypy
    return module


def user_of_servers(bed: Testbed, *names: str) -> None:
    for name in names:
        bed.add_node(name)
        bed.bind("ntp-server", name)
    bed.add_node("c")
    bed.bind("one", "c")
    bed.commit()
    bed.anneal_until_quiet()


def test_parents_that_come_to_differ_fail_the_run_before_anything_is_begun() -> None:
    jig = FakeJig()
    one = Role(name="one", jig="script", requires=("ntp-server",), wants=("ntp-address",))
    with Testbed(barclamp_of(KEYED, one), jig=jig) as bed:
        user_of_servers(bed, "a", "b")
        assert bed.state("one", "c") == "ACTIVE", "none has a value: they agree"
        bed.set("ntp-address", "10.0.0.2", node="b", role="ntp-server")
        bed.commit()
        bed.anneal_until_quiet()
        tasks = [task for task in jig.tasks if task.role.name == "one"]
        assert tasks[-1].data == {"ntp": {"address": "10.0.0.2"}}, "of those that have it, not the oldest parent's"
        bed.set("ntp-address", "10.0.0.1", node="a", role="ntp-server")
        bed.commit()
        bed.anneal_until_quiet()
        assert bed.state("one", "c") == "ERROR"
        said = (
            "Nothing was begun. Role one wants ntp-address of role ntp-server, of which a.example.test has "
            '"10.0.0.1" and b.example.test has "10.0.0.2". '
        )
        assert bed.node_role("one", "c").status == said + WAY_OUT.format("ntp-address") + WHERE
        assert [task for task in jig.tasks if task.role.name == "one"] == tasks
        bed.set("ntp-address", "10.0.0.2", node="a", role="ntp-server")
        bed.commit()
        bed.anneal_until_quiet()
        assert bed.state("one", "c") == "ACTIVE", "tried again when they agree"
        assert jig.tasks[-1].data == {"ntp": {"address": "10.0.0.2"}}


def test_secrets_of_parents_that_differ_are_not_told_and_those_that_are_the_same_are_one() -> None:
    jig = FakeJig()
    one = Role(name="one", jig="script", requires=("ntp-server",), wants=("ntp-token",))
    with Testbed(barclamp_of(KEYED, one), jig=jig) as bed:
        user_of_servers(bed, "a", "b")
        for name in ("a", "b"):
            bed.set("ntp-token", "hunter22", node=name, role="ntp-server")
        bed.commit()
        bed.anneal_until_quiet()
        assert bed.state("one", "c") == "ACTIVE", bed.node_role("one", "c").status
        assert [task.data for task in jig.tasks if task.role.name == "one"][-1] == {"ntp": {"token": "hunter22"}}
        bed.add_node("d")
        bed.bind("one", "d")
        bed.set("ntp-token", "hunter33", node="b", role="ntp-server")
        bed.commit()
        bed.anneal_until_quiet()
        said = (
            "Nothing was begun. Role one wants ntp-token of role ntp-server, of which a.example.test and "
            "b.example.test have different values. "
        )
        assert bed.node_role("one", "c").status == said + WAY_OUT.format("ntp-token") + WHERE


def test_what_parents_say_that_differ_is_kept_with_the_run_and_explained(new_cluster: NewCluster) -> None:
    c = new_cluster(SERVER, ONE)
    servers(c, a="10.0.0.1", b="10.0.0.1")
    c.node("c")
    ref = c.bind("c", "one")
    c.commit_all()
    c.anneal()
    assert last_input(c, ref) == {"ntp": {"address": "10.0.0.1"}}
    server = bound(c, "ntp-server@b")
    attributes.set_value(c.parts, OPERATOR, attribute="ntp-address", value="10.0.0.2", node_role_id=server, now=True)
    c.anneal()
    each = [{"node": f"{name}.test.example", "value": f"10.0.0.{n}"} for name, n in (("a", 1), ("b", 2))]
    assert last_input(c, ref) == {"ntp": {"address": "10.0.0.1"}, "$differing": {"ntp-address": each}}
    said = attributes.explain(c.parts, attribute="ntp-address", node_role_id=ref)
    assert [one.value for one in said if one.wins] == ["10.0.0.1", "10.0.0.2"]
    (value,) = attributes.wanted_values(c.parts, ref)
    assert value.value == ["10.0.0.1", "10.0.0.2"]


def test_what_is_said_for_the_role_itself_settles_it(new_cluster: NewCluster) -> None:
    c = new_cluster(SERVER, ONE)
    servers(c, a="10.0.0.1", b="10.0.0.2")
    c.node("c")
    deployments.add_role(
        c.parts, OPERATOR, deployment_id=c.system, role_id=c.role_ids["one"], data={"ntp": {"address": "10.0.0.9"}}
    )
    c.commit_all()
    ref = c.bind("c", "one")
    c.commit_all()
    c.anneal()
    assert last_input(c, ref) == {"ntp": {"address": "10.0.0.9"}}
    check_invariants(c.parts)
