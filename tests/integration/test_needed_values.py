"""Values that must be there, values that are generated, and values that do not fit (any more)."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select

from crowbar_core import Attribute, Barclamp, DefineRole, Refused, Role, Want, hookimpl
from crowbar_core.services.cluster import deployments, nodes, steering
from crowbar_core.services.values import attributes
from crowbar_core.store.models import DeploymentRole, table
from crowbar_core.testing import FakeJig, Testbed
from tests.integration.cluster import OPERATOR, Cluster, check_invariants, everything_at_rest
from tests.integration.conftest import NewCluster
from tests.integration.test_many import statements

deployment_roles = table(DeploymentRole)

DOMAIN = Attribute(name="domain", map="dns/domain", schema={"type": "string", "minLength": 1}, required=True)
SERIAL = Attribute(name="serial", map="dns/serial", schema={"type": "integer"}, writable=False, required=True)
DNS = Role(name="dns", attributes=(DOMAIN,))
CLIENT = Role(name="client", requires=("dns",), wants=("domain",))
KEY = Attribute(name="key", map="peer/key", schema={"type": "string"}, secret=True, generate="token", required=True)
NODE_KEY = Attribute(name="node-key", map="peer/own", secret=True, generate="token", per="node")
PEER = Role(name="peer", cluster=True, attributes=(KEY, NODE_KEY))
GUEST = Role(name="guest", requires=("peer",), wants=("key",))


def set_domain(c: Cluster, ref: int, value: Any = "example.com", **more: Any) -> None:
    attributes.set_value(c.parts, OPERATOR, attribute="domain", value=value, node_role_id=ref, **more)


def secret(c: Cluster, ref: int, name: str) -> Any:
    (found,) = [v for v in attributes.node_role_values(c.parts, ref, reveal=True) if v.attribute.name == name]
    return found.value


# ---------------------------------------------------------------- required


def test_what_lacks_a_required_value_is_not_committed_in_any_way(new_cluster: NewCluster) -> None:
    c = new_cluster(DNS, CLIENT)
    c.node("a")
    dns, client = c.bind("a", "dns"), c.bind("a", "client")
    for commit in (
        lambda: c.commit_all(),
        lambda: steering.commit(c.parts, OPERATOR, dns),
        lambda: nodes.commit_node(c.parts, OPERATOR, c.nodes["a"]),
        lambda: deployments.plan(c.parts, c.system),
    ):
        with pytest.raises(Refused) as refused:
            commit()
        assert "dns on a.test.example lacks domain" in refused.value.detail
        assert "crowbar attribs set domain VALUE --node a.test.example --role dns" in refused.value.detail
        assert c.states(dns, client) == ["PROPOSED", "PROPOSED"]
    set_domain(c, dns)
    c.commit_all()
    assert c.states(dns, client) == ["TRANSITION", "BLOCKED"]
    check_invariants(c.parts)


def test_a_required_value_may_come_from_any_source(new_cluster: NewCluster) -> None:
    c = new_cluster(DNS)
    c.node("a")
    below = c.deployment("below")
    dns = c.bind("a", "dns", below)
    deployments.add_role(
        c.parts, OPERATOR, deployment_id=c.system, role_id=c.role_ids["dns"], data={"dns": {"domain": "example.org"}}
    )
    with pytest.raises(Refused, match="lacks domain"):
        c.commit_all(below)
    c.commit_all()
    c.commit_all(below)
    assert c.open_run(dns).input == {"dns": {"domain": "example.org"}}


def test_a_required_value_that_is_committed_cannot_be_unset(new_cluster: NewCluster) -> None:
    c = new_cluster(DNS)
    c.node("a")
    dns = c.bind("a", "dns")
    set_domain(c, dns)
    c.commit_all()
    c.anneal()
    with pytest.raises(Refused, match="Attribute domain must have a value"):
        attributes.unset_value(c.parts, OPERATOR, attribute="domain", node_role_id=dns, now=True)
    attributes.unset_value(c.parts, OPERATOR, attribute="domain", node_role_id=dns)
    with pytest.raises(Refused, match="Attribute domain must have a value"):
        c.commit_all()
    here = c.rows(select(deployment_roles.c.id))[0].id
    attributes.set_value(c.parts, OPERATOR, attribute="domain", value="x.y", deployment_role_id=here, now=True)
    c.commit_all()
    assert c.open_run(dns).input == {"dns": {"domain": "x.y"}}, "unset where something shows through"
    c.anneal()
    with pytest.raises(Refused, match="Attribute domain must have a value"):
        attributes.unset_value(c.parts, OPERATOR, attribute="domain", deployment_role_id=here, now=True)
    assert c.states(dns) == ["ACTIVE"]


def test_a_run_that_has_not_reported_what_it_must_has_failed(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="zone", attributes=(SERIAL,)))
    c.node("a")
    zone = c.bind("a", "zone")
    c.commit_all()
    c.end(zone)
    assert c.states(zone) == ["ERROR"]
    assert c.row(zone).status == "it ended well, but has not reported what it must: serial"
    steering.retry(c.parts, OPERATOR, zone)
    c.end(zone, wall={"dns": {"serial": 7}})
    assert c.states(zone) == ["ACTIVE"]
    steering.rerun(c.parts, OPERATOR, zone)
    c.end(zone)
    assert c.states(zone) == ["ACTIVE"], "it has reported it before"


def barclamp(*roles: Role, attributes: tuple[Attribute, ...] = ()) -> ModuleType:
    @hookimpl
    def register_barclamp() -> Barclamp:
        return Barclamp(name="needy", roles=roles, attributes=attributes, defines=("role-*",))

    module = ModuleType("barclamp_needy")
    setattr(module, "register_barclamp", register_barclamp)  # noqa: B010  mypy
    return module


def test_a_run_that_would_be_given_no_required_value_fails_before_anything_is_begun_and_is_tried_again() -> None:
    rack = Attribute(name="rack", schema={"type": "string"}, required=True)
    jig = FakeJig()
    with Testbed(barclamp(Role(name="cabling", jig="script", wants=("rack",)), attributes=(rack,)), jig=jig) as bed:
        bed.add_node("n1")
        bed.bind("cabling", "n1")
        bed.commit()
        bed.anneal_until_quiet()
        assert bed.state("cabling", "n1") == "ERROR"
        assert bed.node_role("cabling", "n1").status == (
            "Nothing was begun. Role cabling is given no value of rack, which must have one. Where it comes from: "
            "crowbar noderoles attribs n1.example.test/cabling"
        )
        assert not jig.tasks
        bed.set("rack", "r7", node="n1")
        bed.commit()
        bed.anneal_until_quiet()
        assert bed.state("cabling", "n1") == "ACTIVE"
        assert [task.data["rack"] for task in jig.tasks] == ["r7"]


# ---------------------------------------------------------------- generated


def test_a_value_is_generated_once_for_each_deployment_or_node_and_kept(
    new_cluster: NewCluster, tmp_path: Path
) -> None:
    c = new_cluster(PEER, GUEST)
    below = c.deployment("below")
    there = []
    for name, deployment in (("a", c.system), ("b", c.system), ("c", below), ("d", below)):
        c.node(name)
        there.append(c.bind(name, "peer", deployment))
    c.bind("b", "guest")
    assert {secret(c, ref, "key") for ref in there} == {None}, "nothing is made for what is only proposed"
    c.commit_all()
    c.commit_all(below)  # what was made for the deployment above is there by now
    c.anneal()
    keys, own = ([secret(c, ref, name) for ref in there] for name in ("key", "node-key"))
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert len(set(own)) == 4
    assert all(isinstance(one, str) and len(one) == 43 for one in (*keys, *own))
    (guest,) = attributes.wanted_values(c.parts, _named(c, "guest@b"), reveal=True)
    assert guest.value == keys[0]
    assert not any(one in everything_at_rest(c, tmp_path) for one in (*keys, *own))

    for ref in there:
        steering.rerun(c.parts, OPERATOR, ref)
    c.anneal()
    assert [secret(c, ref, "key") for ref in there] == keys
    c.node("e")
    late = c.bind("e", "peer")
    c.commit_all()
    c.anneal()
    assert secret(c, late, "key") == keys[0]
    assert secret(c, late, "node-key") not in own
    check_invariants(c.parts)


def test_what_is_generated_says_where_it_comes_from(new_cluster: NewCluster) -> None:
    c = new_cluster(PEER)
    c.node("a")
    peer = c.bind("a", "peer")
    c.commit_all()
    for name, source in (("key", "deployment wall"), ("node-key", "wall")):
        (said,) = [v for v in attributes.explain(c.parts, attribute=name, node_role_id=peer) if v.is_set]
        assert (said.source, said.value, said.actor, said.at) == (source, "***", "operator", c.clock())
    assert [one for one in c.audited() if one[0] == "attribute.generate"] == [
        ("attribute.generate", f"deployment_role {c.rows(select(deployment_roles.c.id))[0].id}", "operator"),
        ("attribute.generate", f"node_role {peer}", "operator"),
    ]


def test_what_somebody_has_set_is_not_generated(new_cluster: NewCluster) -> None:
    c = new_cluster(PEER)
    below = c.deployment("below")
    c.node("a")
    peer = c.bind("a", "peer", below)
    deployments.add_role(
        c.parts, OPERATOR, deployment_id=c.system, role_id=c.role_ids["peer"], data={"peer": {"key": "from above"}}
    )
    attributes.set_value(c.parts, OPERATOR, attribute="node-key", value="by hand", node_role_id=peer)
    c.commit_all()
    c.commit_all(below)
    c.anneal()
    assert (secret(c, peer, "key"), secret(c, peer, "node-key")) == ("from above", "by hand")
    attributes.unset_value(c.parts, OPERATOR, attribute="node-key", node_role_id=peer, now=True)
    c.anneal()
    assert len(secret(c, peer, "node-key")) == 43, "unset, it is generated"


def test_a_role_that_comes_to_have_a_generated_value_has_it_with_its_next_run_and_so_have_its_peers(
    new_cluster: NewCluster,
) -> None:
    c = new_cluster(Role(name="peer", cluster=True, attributes=()), Role(name="guest", requires=("peer",)))
    names = {}
    for name in ("a", "b"):
        c.node(name)
        names[name] = c.bind(name, "peer")
    guest = c.bind("b", "guest")
    c.commit_all()
    c.anneal()
    c = new_cluster(PEER, GUEST)
    assert c.states(*names.values(), guest) == ["ACTIVE"] * 3
    steering.rerun(c.parts, OPERATOR, names["a"])
    assert set(c.anneal()) == {*names.values(), guest}
    assert secret(c, names["a"], "key") == secret(c, names["b"], "key") is not None
    assert c.states(*names.values(), guest) == ["ACTIVE"] * 3
    check_invariants(c.parts)


def test_generating_costs_nothing_where_nothing_is_generated_and_little_once_it_is_there(
    new_cluster: NewCluster,
) -> None:
    c = new_cluster(PEER, Role(name="plain", attributes=(Attribute(name="p", default=1),)))
    refs = {}
    for name in ("plain", "peer"):
        c.node(name)
        refs[name] = c.bind(name, name)
    c.commit_all()
    c.anneal()
    counts = {}
    for name, ref in refs.items():
        with statements(c) as asked:
            steering.rerun(c.parts, OPERATOR, ref)
        counts[name] = len(asked)
        c.anneal()
    assert counts["peer"] - counts["plain"] == 2


@pytest.mark.parametrize(
    "wrong, says",
    [
        (Attribute(name="k", secret=True, generate="password"), "generate='password'; there is 'token'"),  # type: ignore[arg-type]
        (Attribute(name="k", generate="token"), "must be secret"),
        (Attribute(name="k", secret=True, generate="token", default="x"), "have no default"),
        (Attribute(name="k", secret=True, generate="token", per="rack"), "per='rack'"),  # type: ignore[arg-type]
        (Attribute(name="k", secret=True, generate="token", schema={"maxLength": 8}), "maxLength"),
    ],
)
def test_what_cannot_be_generated_is_refused_when_it_is_declared(wrong: Attribute, says: str) -> None:
    with pytest.raises(Exception, match="cannot be loaded") as refused:
        Testbed(barclamp(Role(name="r", attributes=(wrong,))))
    assert says in str(refused.value)
    with Testbed(barclamp(Role(name="role"))) as bed, pytest.raises(Exception, match=says):
        bed.apply(DefineRole(role=Role(name="role-k", like="role", attributes=(wrong,))))


def test_what_lives_on_nodes_is_not_generated() -> None:
    with pytest.raises(Exception, match="only what a role has is generated"):
        Testbed(barclamp(attributes=(Attribute(name="k", secret=True, generate="token"),)))


# ---------------------------------------------------------------- what setting a value costs


@pytest.mark.parametrize("of", ["noderole", "deployment"])
def test_setting_a_value_reads_the_layers_that_it_changes_once_and_a_draft_reads_none(
    new_cluster: NewCluster, of: str
) -> None:
    c = new_cluster(DNS, CLIENT)
    c.node("a")
    dns, client = c.bind("a", "dns"), c.bind("a", "client")
    set_domain(c, dns)
    here = c.rows(select(deployment_roles.c.id).where(deployment_roles.c.role_id == c.role_ids["dns"]))[0].id
    c.commit_all()
    c.anneal()
    for ref in (dns, client):
        steering.hold(c.parts, OPERATOR, ref)  # the inputs of the runs that follow would be read, too
    counts = {}
    target = {"node_role_id": dns} if of == "noderole" else {"deployment_role_id": here}
    for now in (True, False):
        with statements(c) as asked:
            attributes.set_value(c.parts, OPERATOR, attribute="domain", value=f"{now}.x", now=now, **target)
        counts[now] = [sum(what in one for one in asked) for what in ("node_roles.sysdata", "RECURSIVE above(start")]
    assert counts == {True: [1, 1], False: [0, 0]}


# ---------------------------------------------------------------- what does not fit


def test_a_template_that_breaks_a_schema_is_refused_when_it_is_declared_or_defined() -> None:
    role = Role(name="r", attributes=(Attribute(name="port", schema={"minimum": 1}),), template={"port": 0})
    said = "The template of role r.* does not fit. The value of port breaks the rule minimum: 1; it is 0."
    with pytest.raises(Exception, match=said):
        Testbed(barclamp(role))
    with Testbed(barclamp(Role(name="role"))) as bed, pytest.raises(Exception, match=said):
        bed.apply(DefineRole(role=Role(name="role-p", like="role", attributes=role.attributes, template=role.template)))


def test_a_defined_role_with_two_attributes_at_one_place_is_refused() -> None:
    twins = (Attribute(name="a", map="x/y"), Attribute(name="b", map="x/y"))
    with Testbed(barclamp(Role(name="role"))) as bed, pytest.raises(Refused, match="a and b at one place, x/y"):
        bed.apply(DefineRole(role=Role(name="role-p", like="role", attributes=twins)))


def test_a_run_whose_values_do_not_fit_any_more_fails_before_anything_is_begun(database_url: str) -> None:
    """A newer version of the barclamp has a narrower schema than what was set has."""

    def needy(schema: dict[str, Any]) -> ModuleType:
        size = Attribute(name="size", schema=schema)
        return barclamp(
            Role(name="disk", jig="script", attributes=(size,)),
            Role(name="sum", jig="script", requires=("disk",), wants=(Want("size", gather=True),)),
        )

    jig = FakeJig()
    with Testbed(needy({}), database_url=database_url, jig=jig) as bed:
        bed.add_node("n1")
        bed.bind("sum", "n1")
        bed.set("size", 0, node="n1", role="disk")
        bed.commit()
        bed.anneal_until_quiet()
        assert set(bed.states().values()) == {"ACTIVE"}
    jig.tasks.clear()
    with Testbed(needy({"minimum": 1}), database_url=database_url, jig=jig) as bed:
        for role in ("sum", "disk"):
            steering.rerun(bed.parts, bed.actor, bed.node_role(role, "n1").id)
            bed.anneal_until_quiet()
            assert "The value of size breaks the rule minimum: 1; it is 0." in bed.node_role(role, "n1").status
        assert not jig.tasks
        bed.set("size", 2, node="n1", role="disk")
        bed.commit()
        bed.anneal_until_quiet()
        assert set(bed.states().values()) == {"ACTIVE"}, "mended, it is tried again"


def _named(c: Cluster, name: str) -> int:
    return next(ref for ref, one in c.named().items() if one == name)
