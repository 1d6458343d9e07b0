"""Plans of one thing at a time: what they say of values, barclamps, removals, waits and time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select

from crowbar_core.barclamp import Attribute, NodeRoleView, Problem, Role
from crowbar_core.errors import Refused
from crowbar_core.services.cluster import binding, deployments, nodes, steering
from crowbar_core.services.cluster.planning import rehearse
from crowbar_core.services.values import attributes, drafts
from crowbar_core.store.models import Audit, DeploymentRole, table
from tests.integration.cluster import OPERATOR, Cluster, check_rest, node_role_rows
from tests.integration.conftest import NewCluster

audits = table(Audit)
TEXT = {"type": "string"}
SERVERS = Attribute(name="servers", map="ntp/servers", schema=TEXT)
KEY = Attribute(name="key", map="ntp/key", schema=TEXT, secret=True)
SITE = Attribute(name="site", map="site/name", schema=TEXT, default="nowhere")
NTP = Role(name="ntp", attributes=(SERVERS, KEY), wants=("site",))
LOG = Role(name="log", wants=("servers",), on_change="refresh")
ETCD = Role(name="etcd", cluster=True, wants=("site",))


def made(new_cluster: NewCluster, *roles: Role, **values: Any) -> Cluster:
    c = new_cluster(*(roles or (NTP, LOG)), attributes=(SITE,), **values)
    for name in "abc":
        c.node(name)
    return c


def running(c: Cluster, *bound: tuple[str, str]) -> list[int]:
    refs = [c.bind(node, role) for node, role in bound]
    c.commit_all()
    c.anneal()
    return refs


def steps(plan: Any) -> list[tuple[int, str, str]]:
    return [(one.wave, f"{one.role}@{one.node.partition('.')[0]}", one.kind) for one in plan.steps]


def set_at(c: Cluster, attribute: str, value: Any, **where: Any) -> Callable[[], None]:
    return lambda: attributes.set_value(c.parts, OPERATOR, attribute=attribute, value=value, now=True, **where)


# ---------------------------------------------------------------- what it lists


def test_a_plan_changes_nothing_and_leaves_no_trace(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    (ref,) = running(c, ("a", "ntp"))
    before = c.rows(select(node_role_rows)), len(c.rows(select(audits)))
    assert not rehearse(c.parts, set_at(c, "servers", "one", node_role_id=ref)).is_empty
    assert not rehearse(c.parts, lambda: binding.unbind(c.parts, OPERATOR, ref)).is_empty
    assert not rehearse(c.parts, lambda: nodes.delete_node(c.parts, OPERATOR, c.nodes["a"])).is_empty
    assert (c.rows(select(node_role_rows)), len(c.rows(select(audits)))) == before
    assert c.open_runs() == []


def test_the_members_of_a_cluster_that_run_again_are_in_the_plan(new_cluster: NewCluster) -> None:
    def node_role_data(node_role: NodeRoleView) -> Mapping[str, Any]:
        return {"etcd": {"peers": [peer.name for peer in node_role.peers]}}

    peers = Attribute(name="etcd-peers", map="etcd/peers", schema={"type": "array"}, writable=False)
    c = made(
        new_cluster, Role(name="etcd", cluster=True, attributes=(peers,)), Role(name="app", requires=("etcd",)),
        hooks={"node_role_data": node_role_data},
    )  # fmt: skip
    running(c, ("a", "etcd"), ("b", "etcd"), ("b", "app"))
    c.bind("c", "etcd")
    plan = deployments.plan(c.parts, c.system)
    assert steps(plan) == [
        (1, "etcd@a", "run again"), (1, "etcd@b", "run again"), (1, "etcd@c", "run"), (2, "app@b", "run again"),
    ]  # fmt: skip
    assert plan.counts == {"app": {"run again": 1}, "etcd": {"run": 1, "run again": 2}}
    deployments.commit(c.parts, OPERATOR, c.system, plan=plan.id)
    assert len(c.anneal()) == 4


def test_a_plan_says_which_value_changes_from_what_to_what_and_whom_it_reaches(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    running(c, ("a", "ntp"), ("b", "ntp"), ("a", "log"))
    attributes.set_for_deployment(c.parts, OPERATOR, deployment_id=c.system, attribute="servers", value="ntp.example")
    attributes.set_for_deployment(c.parts, OPERATOR, deployment_id=c.system, attribute="key", value="s3cret")
    plan = deployments.plan(c.parts, c.system)
    said = {one.attribute: one for one in plan.values}
    assert (said["servers"].origin, said["servers"].old_set, said["servers"].new) == (
        "ntp in system", False, "ntp.example",
    )  # fmt: skip
    assert said["servers"].reaches == ("ntp on a.test.example", "ntp on b.test.example")
    assert said["key"].new == "***"
    assert "s3cret" not in repr(plan)


def test_a_value_is_said_to_reach_only_the_role_on_which_it_is_set(new_cluster: NewCluster) -> None:
    c = made(new_cluster, NTP, ETCD)
    running(c, ("a", "ntp"), ("b", "etcd"))
    attributes.set_for_deployment(c.parts, OPERATOR, deployment_id=c.system, attribute="site", value="lab")
    said = {one.origin: one.reaches for one in deployments.plan(c.parts, c.system).values}
    assert said == {"ntp in system": ("ntp on a.test.example",), "etcd in system": ("etcd on b.test.example",)}


def test_the_plan_id_covers_values(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    running(c, ("a", "ntp"))
    ids = set()
    for value in ("one", "two"):
        attributes.set_for_deployment(c.parts, OPERATOR, deployment_id=c.system, attribute="servers", value=value)
        ids.add(deployments.plan(c.parts, c.system).id)
    assert len(ids) == 2, "the same runs with another value are another plan"


def test_a_plan_of_a_deletion_lists_what_goes_and_what_runs_again(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    running(c, ("a", "ntp"), ("a", "log"))
    steering.rerun(c.parts, OPERATOR, next(ref for ref, name in c.named().items() if name == "ntp@a"))
    run = c.claim(next(ref for ref, name in c.named().items() if name == "ntp@a"))
    plan = rehearse(c.parts, lambda: nodes.delete_node(c.parts, OPERATOR, c.nodes["a"]))
    assert plan.removed == (
        "node a.test.example", f"run {run} of ntp, which is under way", "log on a.test.example",
        "ntp on a.test.example",
    )  # fmt: skip
    assert c.run(run).state == "running"


def test_a_plan_says_what_will_wait_and_for_what(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    c.node("dead", alive=False)
    c.bind("dead", "ntp")
    (wait,) = deployments.plan(c.parts, c.system).waits
    assert (wait.kind, wait.wave) == ("wait", 0)
    assert "dead.test.example is not alive" in wait.note


def test_what_happens_anyway_is_told_apart(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    running(c, ("a", "ntp"))
    c.node("busy")
    for role in ("ntp", "log"):  # one after the other: the first one runs already
        c.bind("busy", role)
    c.change_node("b", available=False)
    c.bind("b", "ntp")
    c.commit_all()
    c.bind("c", "ntp")
    plan = deployments.plan(c.parts, c.system)
    assert [(one.node, one.kind) for one in plan.own] == [("c.test.example", "run")]
    assert [(one.node, one.kind) for one in plan.steps if one.anyway] == [
        ("busy.test.example", "run"),
        ("b.test.example", "wait"),
    ]


def test_what_destroys_and_what_reboots_is_named(new_cluster: NewCluster) -> None:
    c = made(new_cluster, Role(name="os", destructive=True, reboots=True))
    c.bind("a", "os")
    plan = deployments.plan(c.parts, c.system)
    assert (plan.destroys, plan.reboots) == (("os on a.test.example",), ("a.test.example",))
    c.commit_all()
    c.anneal()
    plan = rehearse(c.parts, lambda: nodes.redeploy_node(c.parts, OPERATOR, c.nodes["a"]))
    assert plan.destroys == ("os on a.test.example",)
    plan = rehearse(
        c.parts, lambda: nodes.change_node(c.parts, OPERATOR, c.nodes["a"], {"alive": False})
    )  # fmt: skip
    assert plan.destroys == ("os on a.test.example",) or not plan.runs


def test_the_time_is_estimated_from_earlier_runs_of_the_role(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    ref = c.bind("a", "ntp")
    c.bind("a", "log")
    assert deployments.plan(c.parts, c.system).unknown == ("log", "ntp")
    c.commit_all()
    c.claim(ref)
    c.clock.advance(40)
    c.end(ref)
    for name in "bc":
        c.bind(name, "ntp")
    plan = deployments.plan(c.parts, c.system)
    assert plan.seconds == pytest.approx(40), "both at the same time"
    assert plan.unknown == ()


def test_plan_lines_of_barclamps_stand_in_the_plan(new_cluster: NewCluster) -> None:
    def plan_lines(node_roles: Iterable[NodeRoleView]) -> list[str]:
        return [f"10.0.0.{place} for {one.node.name}" for place, one in enumerate(node_roles, 1)]

    c = made(new_cluster, hooks={"plan_lines": plan_lines})
    c.bind("a", "ntp")
    plan = deployments.plan(c.parts, c.system)
    assert [(one.barclamp, one.text) for one in plan.lines] == [("tests", "10.0.0.1 for a.test.example")]
    assert plan.unsteady == ()


def test_a_barclamp_that_cannot_say_its_lines_is_named_in_the_plan(new_cluster: NewCluster) -> None:
    def plan_lines() -> list[str]:
        raise RuntimeError("no pool")

    c = made(new_cluster, hooks={"plan_lines": plan_lines})
    c.bind("a", "ntp")
    (line,) = deployments.plan(c.parts, c.system).lines
    assert "no pool" in line.text


# ---------------------------------------------------------------- hooks take part


def test_what_a_hook_refuses_the_plan_refuses(new_cluster: NewCluster) -> None:
    c = made(new_cluster, hooks={"check_commit": lambda deployment: [Problem(detail="It is Friday.")]})
    c.bind("a", "ntp")
    with pytest.raises(Refused, match="It is Friday"):
        deployments.plan(c.parts, c.system)


def test_a_hook_that_answers_differently_the_second_time_is_reported(new_cluster: NewCluster) -> None:
    numbers = count()

    def node_role_data(node_role: NodeRoleView) -> Mapping[str, Any]:
        return {"ntp": {"servers": f"server {next(numbers)}"}}

    c = made(new_cluster, hooks={"node_role_data": node_role_data})
    running(c, ("a", "log"), ("a", "ntp"))
    c.bind("b", "ntp")
    plan = deployments.plan(c.parts, c.system)
    assert any("node_role_data of tests for ntp on b.test.example" in one for one in plan.unsteady)
    with pytest.raises(Refused, match=r"not steady: .*node_role_data of tests"):
        deployments.commit(c.parts, OPERATOR, c.system, plan=plan.id)
    assert c.states(next(ref for ref, name in c.named().items() if name == "ntp@b")) == ["PROPOSED"]


def test_checks_and_hooks_of_a_commit_see_the_values_that_are_committed(new_cluster: NewCluster) -> None:
    seen: list[Any] = []

    def check_commit(deployment: Any) -> list[Problem]:
        seen.extend(one.data for one in deployment.node_roles)
        return []

    def on_commit(obj: Any) -> None:
        seen.append(obj.data if isinstance(obj, NodeRoleView) else [one.data for one in obj.node_roles])

    c = made(new_cluster, hooks={"check_commit": check_commit, "on_commit": on_commit})
    (ref,) = running(c, ("a", "ntp"))
    attributes.set_value(c.parts, OPERATOR, attribute="servers", value="new", node_role_id=ref)
    seen.clear()
    c.commit_all()
    assert seen == [{"ntp": {"servers": "new"}}, [{"ntp": {"servers": "new"}}], {"ntp": {"servers": "new"}}]


# ---------------------------------------------------------------- drafts


def test_a_value_that_is_set_is_a_draft_and_disturbs_nothing(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    (ref,) = running(c, ("a", "ntp"))
    attributes.set_value(c.parts, OPERATOR, attribute="servers", value="one", node_role_id=ref, now=True)
    c.anneal()
    attributes.set_value(c.parts, OPERATOR, attribute="servers", value="two", node_role_id=ref)
    attributes.set_value(c.parts, OPERATOR, attribute="site", value="lab", node_id=c.nodes["a"])
    assert c.states(ref) == ["ACTIVE"]
    assert c.open_runs() == []
    shown = [(d.name, d.attribute, d.old, d.new, d.actor) for d in drafts.drafts(c.parts, deployment_id=c.system)]
    assert shown == [
        ("ntp on a.test.example", "servers", "one", "two", "operator"),
        ("a.test.example", "site", None, "lab", "operator"),
    ]
    c.commit_all()
    assert drafts.drafts(c.parts, deployment_id=c.system) == []
    given = c.open_run(ref).input
    assert (given["ntp"], given["site"]) == ({"servers": "two"}, {"name": "lab"})


def test_now_commits_just_the_one_value(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    (ref,) = running(c, ("a", "ntp"))
    attributes.set_value(c.parts, OPERATOR, attribute="key", value="later", node_role_id=ref)
    attributes.set_value(c.parts, OPERATOR, attribute="servers", value="now", node_role_id=ref, now=True)
    assert [draft.attribute for draft in drafts.drafts(c.parts, node_role_id=ref)] == ["key"]
    assert c.open_run(ref).input == {"ntp": {"servers": "now"}, "site": {"name": "nowhere"}}


@pytest.mark.parametrize("where", ["node", "node_role", "deployment_role"])
def test_drafts_of_one_object_are_committed_or_discarded_alone(new_cluster: NewCluster, where: str) -> None:
    c = made(new_cluster)
    (ref,) = running(c, ("a", "ntp"))
    there = c.rows(select(table(DeploymentRole).c.id))[0].id
    name, target = {
        "node": ("site", {"node_id": c.nodes["a"]}), "node_role": ("servers", {"node_role_id": ref}),
        "deployment_role": ("servers", {"deployment_role_id": there}),
    }[where]  # fmt: skip
    attributes.set_value(c.parts, OPERATOR, attribute=name, value="first", **target)
    assert drafts.discard_drafts(c.parts, OPERATOR, **target) == 1
    assert drafts.drafts(c.parts, **target) == []
    assert c.open_runs() == []
    attributes.set_value(c.parts, OPERATOR, attribute=name, value="second", **target)
    assert drafts.commit_drafts(c.parts, OPERATOR, **target) == 1
    assert drafts.drafts(c.parts, **target) == []
    assert "second" in str(c.open_run(ref).input)
    c.anneal()
    check_rest(c.parts)


def test_setting_the_committed_value_takes_the_draft_away_also_of_a_secret(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    (ref,) = running(c, ("a", "ntp"))
    attributes.set_value(c.parts, OPERATOR, attribute="key", value="one", node_role_id=ref, now=True)
    c.anneal()
    for value in ("two", "one"):
        attributes.set_value(c.parts, OPERATOR, attribute="key", value=value, node_role_id=ref)
    assert drafts.drafts(c.parts, node_role_id=ref) == []


def test_a_hint_that_replaces_the_whole_keeps_the_drafts(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    attributes.set_value(c.parts, OPERATOR, attribute="site", value="lab", node_id=c.nodes["a"])
    c.change_node("a", hint={"rack": 7})
    (draft,) = drafts.drafts(c.parts, node_id=c.nodes["a"])
    assert (draft.attribute, draft.new) == ("site", "lab")


def test_a_value_for_a_deployment_reaches_what_lies_on_nodes_and_a_nodes_own_hint_wins(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    first, second = running(c, ("a", "ntp"), ("b", "ntp"))
    attributes.set_value(c.parts, OPERATOR, attribute="site", value="b's own", node_id=c.nodes["b"], now=True)
    c.anneal()
    c.change_node("a", discovery={"site": {"name": "reported"}})
    c.anneal()
    on = attributes.set_for_deployment(
        c.parts, OPERATOR, deployment_id=c.system, attribute="site", value="everywhere"
    )  # fmt: skip
    assert on == ["ntp"]
    plan = deployments.plan(c.parts, c.system)
    assert steps(plan) == [(1, "ntp@a", "run again")], "b has its own"
    assert [(one.attribute, one.new, one.reaches) for one in plan.values] == [
        ("site", "everywhere", ("ntp on a.test.example",))
    ]
    c.commit_all()
    assert c.open_run(second) is None
    assert c.open_run(first).input["site"] == {"name": "everywhere"}
    said = attributes.explain(c.parts, attribute="site", node_role_id=first)
    assert [one.source for one in said if one.wins] == ["deployment"]


def test_a_value_for_a_deployment_that_nobody_there_reads_is_refused(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    with pytest.raises(Refused, match="No role of deployment system has or wants site"):
        attributes.set_for_deployment(c.parts, OPERATOR, deployment_id=c.system, attribute="site", value="x")


def test_recalling_a_deployment_discards_its_drafts(new_cluster: NewCluster) -> None:
    c = made(new_cluster)
    home = c.deployment("web")
    ref = c.bind("a", "ntp", home)
    c.commit_all(home)
    c.anneal()
    attributes.set_value(c.parts, OPERATOR, attribute="servers", value="two", node_role_id=ref)
    deployments.recall(c.parts, OPERATOR, home)
    assert drafts.drafts(c.parts, deployment_id=home) == []
