"""Roles that come and go at run time: seen by everybody from the commit on, and by nobody when it is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from crowbar_core import (
    Attribute,
    BadInput,
    Barclamp,
    Bind,
    DefineRole,
    Done,
    NodeRoleView,
    NodeView,
    Problem,
    Refused,
    RemoveRole,
    Require,
    Role,
    Task,
    Unbind,
    Want,
    hookimpl,
)
from crowbar_core.errors import BarclampError
from crowbar_core.testing import Testbed


def carry_out(task: Task) -> Done:
    return Done(wall={"was": {"name": task.role.name, "like": task.role.like, "mtu": task.data["mtu"]}})


WAS = Attribute(name="was", schema={"type": "object"})
MTU = Attribute(name="mtu", schema={"type": "integer"}, default=1500)
ROLES = (
    Role(
        name="network", jig="python", run=carry_out, abstract=True, implicit=True, timeout=42.0, wants=("mtu",),
        description="A network.",
    ),
    Role(name="base"),
    Role(name="other"),
)  # fmt: skip


def barclamp(*hooks: Callable[..., Any], roles: tuple[Role, ...] = ROLES, **values: Any) -> ModuleType:
    @hookimpl
    def register_barclamp() -> Barclamp:
        return Barclamp(
            name="network", roles=roles, attributes=(MTU,), **{"defines": ("network-*", "special"), **values}
        )

    module = ModuleType("barclamp_network")
    for function in (register_barclamp, *hooks):
        setattr(module, function.__name__, function)
    return module


def a_network(name: str = "network-admin", **values: Any) -> DefineRole:
    was = Attribute(name=f"{name}-was", map="was", schema={"type": "object"})
    return DefineRole(role=Role(name=name, like="network", **{"attributes": (was,), **values}))


@pytest.fixture
def bed(database_url: str) -> Iterator[Testbed]:
    with Testbed(barclamp(), database_url=database_url) as made:
        yield made


def names(bed: Testbed) -> set[str]:
    return {one for one in bed.parts.registry.roles if one.startswith("network-")}


def listing(bed: Testbed, name: str) -> list[dict[str, Any]]:
    return list(bed.web().get(f"/api/v2/roles?name={name}").json or ())


def test_a_defined_role_is_like_the_declared_one_but_for_what_it_is_given(bed: Testbed) -> None:
    bed.apply(
        a_network(
            description="Admin.", requires=(Require("base", where="elsewhere"),), template={"a": 1}, cluster=True,
            wants=(Want("mtu", gather=True), "mtu"),
        )
    )  # fmt: skip
    role = bed.parts.registry.role("network-admin").role
    assert (role.jig, role.run, role.timeout, role.implicit, role.like) == ("python", carry_out, 42.0, True, "network")
    assert (role.abstract, role.cluster, role.description, role.template) == (False, True, "Admin.", {"a": 1})
    (required,), (gathered, plain) = role.requires, role.wants
    assert isinstance(required, Require)
    assert required.where == "elsewhere"
    assert isinstance(gathered, Want)
    assert gathered.gather
    assert not isinstance(plain, Want)


def test_a_role_is_defined_bound_run_and_removed(bed: Testbed) -> None:
    bed.add_node("n1")
    bed.apply(a_network())
    bed.bind("network-admin", "n1")
    bed.set("mtu", 9000, node="n1")
    bed.commit()
    bed.anneal_until_quiet()
    assert bed.state("network-admin", "n1") == "ACTIVE"
    was = bed.value("network-admin-was", "n1", role="network-admin")
    assert was == {"name": "network-admin", "like": "network", "mtu": 9000}
    with pytest.raises(Refused, match=r"network-admin cannot be removed: it is bound to n1\.example\.test\."):
        bed.apply(RemoveRole(name="network-admin"))
    bed.apply(Unbind(node="n1.example.test", role="network-admin"), RemoveRole(name="network-admin"))
    assert names(bed) == set()
    (listed,) = listing(bed, "network")
    assert listed["like"] == ""
    assert listing(bed, "network-admin") == []
    bed.apply(RemoveRole(name="network-admin"))


def test_a_second_core_on_the_same_database_sees_at_once_what_was_defined(bed: Testbed, database_url: str) -> None:
    with Testbed(barclamp(), database_url=database_url) as twin:
        twin.add_node("n1")
        bed.apply(a_network())
        twin.bind("network-admin", "n1")
        twin.commit()
        bed.anneal_until_quiet()
        assert bed.state("network-admin", "n1") == "ACTIVE"
        bed.apply(a_network("network-other"))
        assert twin.web().get("/api/v2/roles/network-other").status_code == 200
        assert "network-other" in names(twin), "a request looks, too"
        twin.unbind("network-admin", "n1")
        twin.apply(RemoveRole(name="network-admin"))
        with pytest.raises(Refused):
            bed.apply(Bind(node="n1.example.test", role="network-admin"))
        assert names(bed) == {"network-other"}
    with Testbed(barclamp(), database_url=database_url) as restarted:
        assert names(restarted) == {"network-other"}


def test_what_is_undone_leaves_nothing_of_a_role(bed: Testbed) -> None:
    bed.add_node("n1")
    seen: list[bool] = []

    def undone() -> None:
        with bed.change() as change:
            change.apply(a_network())
            seen.append("network-admin" in names(bed))
            raise RuntimeError("undone")

    with pytest.raises(RuntimeError):
        undone()
    assert seen == [True], "the change itself knows it"
    assert names(bed) == set()
    assert listing(bed, "network-admin") == []
    with pytest.raises(Refused, match="cannot be defined"):
        bed.apply(a_network(), a_network("elsewhere"))
    assert names(bed) == set()
    bed.apply(a_network())
    assert names(bed) == {"network-admin"}


def test_nobody_else_sees_a_role_before_its_commit(bed: Testbed) -> None:
    with bed.change() as change:
        change.apply(a_network())
        others = bed.parts.registry.pictures._shown.roles
        assert "network-admin" not in others
    assert "network-admin" in bed.parts.registry.pictures._shown.roles


def test_defining_a_role_again_changes_it_and_the_same_again_does_nothing(bed: Testbed) -> None:
    bed.apply(a_network(timeout=1.0))
    before = bed.parts.registry.generation
    bed.apply(a_network(timeout=1.0))
    assert bed.parts.registry.generation == before
    bed.apply(a_network(timeout=2.0))
    assert bed.parts.registry.role("network-admin").role.timeout == 2.0
    assert bed.parts.registry.generation == before + 1


@pytest.mark.parametrize(
    "intent, said",
    [
        (DefineRole(role=Role(name="network-a")), "without saying which declared role it is like"),
        (DefineRole(role=Role(name="network-a", like="nothing")), "no loaded barclamp declares such a role"),
        (DefineRole(role=Role(name="network-a", like="network-b")), "no loaded barclamp declares such a role"),
        (DefineRole(role=Role(name="dns-a", like="network")), r"defines only roles called network-\*, special"),
        (DefineRole(role=Role(name="base", like="network")), "barclamp network declares a role of that name"),
        (DefineRole(role=Role(name="network-a", like="network", jig="noop2")), "its jig is that of network; leave out"),
        (DefineRole(role=Role(name="network-a", like="network", attributes=(MTU,))), "there is one of that name"),
        (DefineRole(role=Role(name="network-a", like="network", requires=("network-a2",), template={"a": carry_out})),
         r"template\.a is a function, which has no form in JSON"),
        (RemoveRole(name="base"), "a barclamp declares it"),
    ],
)  # fmt: skip
def test_what_cannot_be_defined_is_refused_in_one_sentence(intent: Any, said: str) -> None:
    with Testbed(barclamp()) as bed, pytest.raises(Refused, match=said):
        bed.apply(intent)


def test_a_circle_and_a_name_that_none_can_be_are_refused() -> None:
    with Testbed(barclamp()) as bed:
        bed.apply(a_network("network-a", requires=("network-b",)))
        with pytest.raises(Refused, match="in a circle: network"):
            bed.apply(a_network("network-b", requires=("network-a",)))
        bed.apply(a_network("network-b"))
        with pytest.raises(Refused, match="role network-a requires it"):
            bed.apply(RemoveRole(name="network-b"))
        with pytest.raises(BadInput, match="may hold only"):
            bed.apply(a_network("network-ä"))


def test_hooks_limited_to_a_pattern_of_roles_are_called_for_those_that_come(database_url: str) -> None:
    heard: list[str] = []

    @hookimpl(roles=("network-*",))
    def on_active(node_role: NodeRoleView) -> None:
        heard.append(node_role.role)

    @hookimpl(roles=("network-*",))
    def check_binding(node: NodeView, role: Role) -> list[Problem]:
        return [Problem(detail="not this one")] if role.name == "network-b" else []

    with Testbed(barclamp(on_active, check_binding), database_url=database_url) as bed:
        bed.add_node("n1")
        bed.apply(a_network("network-a"), a_network("network-b"))
        bed.bind("base", "n1")
        bed.bind("network-a", "n1")
        with pytest.raises(Refused, match="not this one"):
            bed.bind("network-b", "n1")
        bed.commit()
        bed.anneal_until_quiet()
        assert heard == ["network-a"]


def test_a_definition_outlives_the_absence_of_its_barclamp(database_url: str) -> None:
    with Testbed(barclamp(), database_url=database_url) as bed:
        bed.add_node("n1")
        bed.apply(a_network())
        bed.bind("network-admin", "n1")
        bed.commit()
    with Testbed(database_url=database_url) as without:
        without.anneal_until_quiet()
        assert "the barclamp that brings it is not loaded" in without.why("network-admin", "n1")
    with Testbed(barclamp(), database_url=database_url) as again:
        again.anneal_until_quiet()
        assert again.state("network-admin", "n1") == "ACTIVE"
    now_declared = (*ROLES, Role(name="network-admin", description="Now declared."))
    with Testbed(barclamp(roles=now_declared), database_url=database_url) as declared:
        (listed,) = listing(declared, "network-admin")
        assert (listed["like"], listed["description"]) == ("", "Now declared.")


def test_a_declared_role_is_like_no_other() -> None:
    with pytest.raises(BarclampError, match="is declared, so it can be like no other"):
        Testbed(barclamp(roles=(Role(name="a", like="b"),)))


def test_removing_a_role_takes_its_values_in_deployments_along_and_tells(database_url: str) -> None:
    told: list[str] = []

    @hookimpl
    def on_deployment_delete(deployment_role: Any) -> None:
        told.append(deployment_role.role)

    with Testbed(barclamp(on_deployment_delete), database_url=database_url) as bed:
        bed.add_node("n1")
        bed.apply(a_network())
        bed.bind("network-admin", "n1")
        bed.unbind("network-admin", "n1")
        bed.apply(RemoveRole(name="network-admin"))
        bed.deliver()
        assert told == ["network-admin"]


def test_defined_roles_brings_up_to_date_at_start_what_an_earlier_version_defined(database_url: str) -> None:
    with Testbed(barclamp(), database_url=database_url) as bed:
        bed.add_node("n1")
        bed.apply(a_network(description="Of before."), a_network("network-other"))
        bed.bind("network-admin", "n1")
        bed.commit()
        bed.anneal_until_quiet()
    more = Attribute(name="network-admin-drift", map="drift", schema={"enum": ["show", "repair"]}, default="show")

    @hookimpl
    def defined_roles(session: Any) -> list[Role]:
        wanted = a_network(description="Of today.", attributes=(more,)), a_network("network-new")
        return [one.role for one in wanted]

    for _ in range(2):
        with Testbed(barclamp(defined_roles), database_url=database_url) as bed:
            assert [one["description"] for one in listing(bed, "network-admin")] == ["Of today."]
            assert names(bed) == {"network-admin", "network-other"}, "what was not defined is not made"
            assert bed.state("network-admin", "n1") == "ACTIVE"
            assert bed.value("network-admin-drift", "n1", role="network-admin") == "show"


def test_of_defined_roles_one_that_cannot_be_brought_up_to_date_stays_and_is_told_of(database_url: str) -> None:
    with Testbed(barclamp(), database_url=database_url) as bed:
        bed.apply(a_network(description="Of before."))

    @hookimpl
    def defined_roles(session: Any) -> list[Role]:
        return [a_network(attributes=(MTU,)).role]

    with Testbed(barclamp(defined_roles), database_url=database_url) as bed:
        assert [one["description"] for one in listing(bed, "network-admin")] == ["Of before."]
        bed.anneal_until_quiet()
        [told] = bed.hook_failures()
        assert told.hook == "defined_roles"
        assert "Role network-admin cannot bring the attribute mtu" in told.error
