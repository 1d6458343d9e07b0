"""Values of attributes: which source wins, who set it, who goes back to work, what a run gets, what is secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select, update

from crowbar_core.barclamp import Attribute, Done, NodeRoleView, Role, Task
from crowbar_core.domain.attributes import MASK
from crowbar_core.errors import BadInput, ConfigError, NotFound, PermanentError, Refused
from crowbar_core.services.cluster import deployments, nodes, steering
from crowbar_core.services.engine.runner import Runner
from crowbar_core.services.turns.secrets import open_secrets
from crowbar_core.services.values import attributes
from crowbar_core.services.values.attributes import LayerValue, Value
from crowbar_core.store.models import DeploymentRole, Run, table
from tests.integration.cluster import (
    OPERATOR,
    Cluster,
    check_invariants,
    check_nothing_startable,
    everything_at_rest,
)
from tests.integration.conftest import NewCluster

deployment_roles, runs = table(DeploymentRole), table(Run)

PORT = Attribute(name="port", map="web/port", schema={"type": "integer", "minimum": 1}, default=1)
OPTIONS = Attribute(name="options", map="web/options", schema={"type": "object"})
KEY = Attribute(name="key", map="web/key", schema={"type": "string", "minLength": 8}, secret=True)
FOUND = Attribute(name="found", map="web/found", writable=False)
RACK = Attribute(name="rack", map="place/rack", schema={"type": "string"}, default="none")
WEB = Role(name="web", attributes=(PORT, OPTIONS, KEY, FOUND), template={"web": {"port": 2}, "undeclared": 1})
USER = Role(name="user", requires=("web",), wants=("port", "key", "rack"))
MIRROR = Role(name="mirror", requires=("web",), wants=("port",), on_change="refresh")
BYSTANDER = Role(name="bystander", requires=("web",))


def cluster(new_cluster: NewCluster, *roles: Role, **values: Any) -> tuple[Cluster, int]:
    """``web`` on node a, ACTIVE, and whatever else is asked for."""
    c = new_cluster(WEB, *roles, attributes=[RACK], **values)
    c.node("a")
    web = c.bind("a", "web")
    for role in roles:
        c.bind("a", role.name)
    c.commit_all()
    c.anneal()
    return c, web


def value(c: Cluster, ref: int, name: str = "port", *, reveal: bool = False) -> Value:
    (found,) = [one for one in attributes.node_role_values(c.parts, ref, reveal=reveal) if one.attribute.name == name]
    return found


def set_port(c: Cluster, ref: int, port: Any) -> None:
    attributes.set_value(c.parts, OPERATOR, attribute="port", value=port, node_role_id=ref, now=True)


def role_in(c: Cluster, deployment: int, role: str = "web") -> int:
    return int(
        c.rows(
            select(deployment_roles.c.id).where(
                deployment_roles.c.deployment_id == deployment, deployment_roles.c.role_id == c.role_ids[role]
            )
        )[0].id
    )


# ---------------------------------------------------------------- precedence


def test_each_source_wins_over_all_below_it_and_shows_again_when_the_higher_is_unset(new_cluster: NewCluster) -> None:
    answer: dict[str, Any] = {}
    c = new_cluster(WEB, attributes=[RACK], hooks={"node_role_data": lambda node_role: answer})
    c.node("a")
    below = c.deployment("below")
    web = c.bind("a", "web", below)
    deployments.commit(c.parts, OPERATOR, below)
    c.anneal()
    assert (value(c, web).value, value(c, web).source) == (2, "template")

    above = deployments.add_role(c.parts, OPERATOR, deployment_id=c.system, role_id=c.role_ids["web"])
    deployments.set_role_data(c.parts, OPERATOR, above, {"web": {"port": 3}})
    assert value(c, web).value == 2, "only proposed"
    deployments.commit_role(c.parts, OPERATOR, above)
    assert (value(c, web).value, value(c, web).subject) == (3, f"deployment_role {above} (system)")

    here = role_in(c, below)
    with c.parts.store.write() as session:
        session.execute(update(deployment_roles).where(deployment_roles.c.id == here).values(wall={"web": {"port": 4}}))
    assert (value(c, web).value, value(c, web).source) == (4, "deployment wall")
    attributes.set_value(c.parts, OPERATOR, attribute="port", value=5, deployment_role_id=here)
    deployments.commit_role(c.parts, OPERATOR, here)
    assert (value(c, web).value, value(c, web).source) == (5, "deployment")

    c.anneal()
    steering.rerun(c.parts, OPERATOR, web)
    c.end(web, wall={"web": {"port": 6}})
    assert (value(c, web).value, value(c, web).source) == (6, "wall")
    answer |= {"web": {"port": 7}}
    steering.rerun(c.parts, OPERATOR, web)
    assert (value(c, web).value, value(c, web).source) == (7, "sysdata")
    c.anneal()
    set_port(c, web, 8)
    assert (value(c, web).value, value(c, web).source) == (8, "user")

    said = attributes.explain(c.parts, attribute="port", node_role_id=web)
    assert [(one.source, one.value) for one in said if one.is_set] == [
        ("default", 1), ("template", 2), ("deployment", 3), ("deployment wall", 4), ("deployment", 5), ("wall", 6),
        ("sysdata", 7), ("user", 8),
    ]  # fmt: skip
    assert [one.source for one in said if one.wins] == ["user"]

    attributes.unset_value(c.parts, OPERATOR, attribute="port", node_role_id=web, now=True)
    assert (value(c, web).value, value(c, web).source) == (7, "sysdata")
    attributes.unset_value(c.parts, OPERATOR, attribute="port", deployment_role_id=here)
    deployments.commit_role(c.parts, OPERATOR, here)
    said = attributes.explain(c.parts, attribute="port", node_role_id=web)
    assert ("deployment", 5) not in [(one.source, one.value) for one in said]


def test_a_nodes_hint_wins_over_what_it_reported(new_cluster: NewCluster) -> None:
    c, _ = cluster(new_cluster)
    node = c.nodes["a"]

    def rack() -> tuple[Any, str]:
        (one,) = attributes.node_values(c.parts, node)
        return one.value, one.source

    assert rack() == ("none", "default")
    c.change_node("a", discovery={"place": {"rack": "r1"}, "cpus": 4})
    assert rack() == ("r1", "discovery")
    attributes.set_value(c.parts, OPERATOR, attribute="rack", value="r2", node_id=node, now=True)
    assert rack() == ("r2", "hint")
    attributes.unset_value(c.parts, OPERATOR, attribute="rack", node_id=node, now=True)
    assert rack() == ("r1", "discovery")


def test_objects_of_several_sources_are_merged(new_cluster: NewCluster) -> None:
    c, web = cluster(new_cluster)
    attributes.set_value(
        c.parts, OPERATOR, attribute="options", value={"a": {"x": 1}}, deployment_role_id=role_in(c, c.system)
    )
    deployments.commit_role(c.parts, OPERATOR, role_in(c, c.system))
    attributes.set_value(c.parts, OPERATOR, attribute="options", value={"a": {"y": [2]}}, node_role_id=web, now=True)
    assert value(c, web, "options").value == {"a": {"x": 1, "y": [2]}}


def test_what_is_only_proposed_shows_on_a_proposed_noderole_and_counts_from_its_commit(new_cluster: NewCluster) -> None:
    c = new_cluster(WEB, attributes=[RACK])
    c.node("a")
    web = c.bind("a", "web")
    set_port(c, web, 9)
    assert value(c, web).value == 9
    assert c.row(web).committed_data == {}
    c.commit_all()
    assert c.row(web).committed_data == {"web": {"port": 9}}
    assert c.open_run(web).input["web"]["port"] == 9


# ---------------------------------------------------------------- bad values


def test_a_draft_on_a_committed_noderole_reaches_no_run_until_it_is_committed(new_cluster: NewCluster) -> None:
    c, web = cluster(new_cluster)
    attributes.set_value(c.parts, OPERATOR, attribute="port", value=99, node_role_id=web)
    assert value(c, web).value == 2
    steering.rerun(c.parts, OPERATOR, web)
    assert c.open_run(web).input["web"]["port"] == 2
    c.anneal()
    c.commit_all()
    assert value(c, web).value == 99
    assert c.open_run(web).input["web"]["port"] == 99


@pytest.mark.parametrize("wrong", [0, "80", None, 1.5, {"$secret": "x"}])
def test_a_value_that_the_schema_forbids_is_refused_and_nothing_changes(new_cluster: NewCluster, wrong: Any) -> None:
    c, web = cluster(new_cluster)
    with pytest.raises(BadInput, match="port"):
        set_port(c, web, wrong)
    assert value(c, web).value == 2
    assert c.open_runs() == []


def test_what_is_not_writable_or_not_there_or_elsewhere_is_refused(new_cluster: NewCluster) -> None:
    c, web = cluster(new_cluster)
    with pytest.raises(Refused, match="not writable"):
        attributes.set_value(c.parts, OPERATOR, attribute="found", value=1, node_role_id=web, now=True)
    with pytest.raises(NotFound, match="ghost"):
        attributes.set_value(c.parts, OPERATOR, attribute="ghost", value=1, node_role_id=web, now=True)
    with pytest.raises(BadInput, match="noderole, not on the node"):
        attributes.set_value(c.parts, OPERATOR, attribute="port", value=1, node_id=c.nodes["a"], now=True)
    with pytest.raises(BadInput, match="does not belong"):
        attributes.set_value(c.parts, OPERATOR, attribute="rack", value="x", node_role_id=web, now=True)
    with pytest.raises(BadInput, match="exactly one"):
        attributes.set_value(c.parts, OPERATOR, attribute="port", value=1, now=True)
    with pytest.raises(NotFound):
        attributes.set_value(c.parts, OPERATOR, attribute="port", value=1, node_role_id=999, now=True)
    with pytest.raises(BadInput, match="rack"):
        c.change_node("a", discovery={"place": {"rack": 7}})


def test_a_report_that_breaks_the_schema_fails_the_run_and_says_why(new_cluster: NewCluster) -> None:
    c, web = cluster(new_cluster)
    steering.rerun(c.parts, OPERATOR, web)
    c.end(web, wall={"web": {"port": -1}})
    assert c.states(web) == ["ERROR"]
    assert "minimum" in c.row(web).status
    assert c.row(web).wall == {}


@pytest.mark.parametrize(
    "report, path",
    [
        ({"web": {"port": 7, "prt": 8}}, "web/prt"),
        ({"password": "hunter2-hunter2"}, "password"),
        ({"web": {"port": 7}, "more": {"deep": {"er": 1}}}, "more"),
        ({"web": "hunter2-hunter2"}, "web"),
        ({"web/port": 7}, "web/port"),
    ],
)
def test_a_report_to_an_undeclared_path_fails_the_run_and_names_role_and_path(
    new_cluster: NewCluster, report: dict[str, Any], path: str
) -> None:
    c, web = cluster(new_cluster)
    steering.rerun(c.parts, OPERATOR, web)
    c.end(web, wall=report)
    assert c.states(web) == ["ERROR"]
    said = c.row(web).status
    assert "role web has no attribute at " in said
    assert repr(path) in said
    assert "hunter2" not in said
    assert c.row(web).wall == {}


def test_a_report_may_be_of_any_part_that_is_declared(new_cluster: NewCluster) -> None:
    c, web = cluster(new_cluster)
    steering.rerun(c.parts, OPERATOR, web)
    c.end(web, wall={"web": {"options": {"deep": {"er": 1}}, "found": [1]}})
    assert c.row(web).wall == {"web": {"options": {"deep": {"er": 1}}, "found": [1]}}


def test_a_report_of_a_role_whose_barclamp_is_not_loaded_is_refused(new_cluster: NewCluster) -> None:
    c, web = cluster(new_cluster)
    steering.rerun(c.parts, OPERATOR, web)
    c.claim(web)
    c = new_cluster()
    c.end(web, wall={"web": {"key": SECRET}})
    assert c.states(web) == ["ERROR"]
    assert "barclamp that is not loaded" in c.row(web).status


@pytest.mark.parametrize(
    "answer, says",
    [
        ({"web": {"port": "eighty"}}, "port breaks the rule type"),
        ({"web": {"prt": 80}}, "role web has no attribute at 'web/prt'"),
    ],
)
def test_what_a_barclamp_says_of_its_noderole_is_checked_as_well_and_shown(
    new_cluster: NewCluster, answer: dict[str, Any], says: str
) -> None:
    told = {"web": {"port": 80}}
    c, web = cluster(new_cluster, hooks={"node_role_data": lambda node_role: told})
    told = answer
    steering.rerun(c.parts, OPERATOR, web)
    c.end(web)
    assert (c.states(web), c.row(web).sysdata) == (["ACTIVE"], {"web": {"port": 80}})
    (said,) = c.parts.registry.questions.take()
    assert says in said.error


def test_a_secret_that_a_barclamp_says_rests_encrypted_and_the_same_again_is_no_change(
    new_cluster: NewCluster, tmp_path: Path
) -> None:
    told = {"web": {"key": SECRET}}
    c, web = cluster(new_cluster, hooks={"node_role_data": lambda node_role: told})
    assert value(c, web, "key", reveal=True).value == SECRET
    assert SECRET not in everything_at_rest(c, tmp_path)
    before = c.row(web).sysdata
    steering.rerun(c.parts, OPERATOR, web)
    c.end(web)
    assert c.row(web).sysdata == before


# ---------------------------------------------------------------- who set it


def layer(c: Cluster, source: str, **asked: Any) -> LayerValue:
    return [one for one in attributes.explain(c.parts, **asked) if one.source == source and one.is_set][-1]


def test_every_value_says_since_when_and_by_whom_or_which_run(new_cluster: NewCluster) -> None:
    c, web = cluster(new_cluster)
    c.clock.advance(60)
    set_port(c, web, 9)
    said = layer(c, "user", attribute="port", node_role_id=web)
    assert (said.actor, said.at, said.run_id, said.wins) == ("operator", c.clock(), None, True)
    c.clock.advance(60)
    run = c.end(web, wall={"web": {"port": 7, "found": 1}})
    said = layer(c, "wall", attribute="port", node_role_id=web)
    assert (said.at, said.run_id, said.wins) == (c.clock(), run, False)
    c.change_node("a", hint={"place": {"rack": "r9"}})
    said = layer(c, "hint", attribute="rack", node_id=c.nodes["a"])
    assert (said.actor, said.at) == ("operator", c.clock())
    attributes.set_value(c.parts, OPERATOR, attribute="port", value=5, deployment_role_id=role_in(c, c.system))
    deployments.commit_role(c.parts, OPERATOR, role_in(c, c.system))
    assert layer(c, "deployment", attribute="port", node_role_id=web).actor == "operator"
    with pytest.raises(NotFound):
        attributes.explain(c.parts, attribute="rack", node_role_id=web)


# ---------------------------------------------------------------- who goes back to work


def test_those_who_want_a_changed_value_go_back_to_work_and_nobody_else(new_cluster: NewCluster) -> None:
    c, web = cluster(new_cluster, USER, MIRROR)
    named = {name.partition("@")[0]: ref for ref, name in c.named().items()}
    set_port(c, web, 9)
    assert c.states(web, named["user"]) == ["TRANSITION", "BLOCKED"]
    check_nothing_startable(c.parts, check_invariants(c.parts))
    assert set(c.anneal()) == {web, named["user"], named["mirror"]}
    set_port(c, web, 9)
    assert c.open_runs() == [], "the same value is no change"
    attributes.set_value(c.parts, OPERATOR, attribute="options", value={"x": 1}, node_role_id=web, now=True)
    assert c.states(web) == ["TRANSITION"]


def reporting(new_cluster: NewCluster) -> tuple[Cluster, int, dict[str, int]]:
    """web refreshes on node a, and reports a new port; the others, on nodes of their own, depend on it."""
    quiet = Role(name="web", attributes=WEB.attributes, on_change="refresh")
    c = new_cluster(quiet, USER, MIRROR, BYSTANDER, attributes=[RACK])
    for name in ("a", "user", "mirror", "bystander"):
        c.node(name)
    web = c.bind("a", "web")
    found = {name: c.bind(name, name) for name in ("user", "mirror", "bystander")}
    c.commit_all()
    c.anneal()
    steering.refresh(c.parts, OPERATOR, web)
    c.end(web, wall={"web": {"port": 77}})
    return c, web, found


def test_a_reported_value_sends_its_readers_back_as_their_roles_say(new_cluster: NewCluster) -> None:
    c, web, found = reporting(new_cluster)
    assert c.states(web, *found.values()) == ["ACTIVE", "TRANSITION", "ACTIVE", "ACTIVE"]
    assert c.open_run(web) is None, "who reported it knows it already"
    assert c.open_run(found["mirror"]).refresh
    assert c.open_run(found["bystander"]) is None
    assert c.open_run(found["user"]).input["web"]["port"] == 77
    check_nothing_startable(c.parts, check_invariants(c.parts))


def test_a_wanted_value_comes_from_the_parent_on_the_same_node(new_cluster: NewCluster) -> None:
    peer = Role(name="peer", cluster=True, attributes=(Attribute(name="size", schema={"type": "integer"}),))
    reader = Role(name="reader", requires=("peer",), wants=("size",))
    c = new_cluster(peer, reader)
    for name in ("old", "here", "elsewhere"):
        c.node(name)
    peers = [c.bind(name, "peer") for name in ("old", "here")]
    here, elsewhere = c.bind("here", "reader"), c.bind("elsewhere", "reader")
    for number, ref in enumerate(peers, 1):
        attributes.set_value(c.parts, OPERATOR, attribute="size", value=number, node_role_id=ref)
    c.commit_all()
    c.anneal()
    given = {row.node_role_id: row.input for row in c.rows(select(runs.c.node_role_id, runs.c.input))}
    assert given[here] == {"size": 2}
    said = [{"node": f"{name}.test.example", "value": number} for number, name in enumerate(("old", "here"), 1)]
    assert given[elsewhere] == {"size": 1, "$differing": {"size": said}}, "where none is nearer, it is not settled"


def test_a_changed_value_does_not_undo_what_is_destroyed_once(new_cluster: NewCluster) -> None:
    install = Role(name="install", requires=("web",), wants=("port",), destructive=True)
    c, web = cluster(new_cluster, install, Role(name="after", requires=("install",)))
    ref, after = ({name: ref for ref, name in c.named().items()}[f"{role}@a"] for role in ("install", "after"))
    steering.refresh(c.parts, OPERATOR, web)
    c.end(web, wall={"web": {"port": 77}})
    assert c.states(ref, after) == ["ACTIVE", "ACTIVE"], "nor does anything below it run again"
    assert c.open_runs() == []


def test_however_many_changes_arrive_one_refresh_is_queued_and_it_reads_the_last(new_cluster: NewCluster) -> None:
    c, web, found = reporting(new_cluster)
    for port in (78, 79, 80):
        set_port(c, web, port)
    assert len([run for run in c.open_runs() if run.node_role_id == found["mirror"]]) == 1
    run = c.claim(found["mirror"])
    assert c.run(run).input["web"]["port"] == 80
    for port in (81, 82):
        set_port(c, web, port)
    assert c.open_run(found["mirror"]).id == run
    c.end(found["mirror"])
    again = c.open_run(found["mirror"])
    assert again.id != run
    assert c.claim(found["mirror"]) == again.id
    assert c.run(again.id).input["web"]["port"] == 82
    c.end(found["mirror"])
    assert c.open_run(found["mirror"]) is None


def test_a_queued_run_reads_the_value_as_it_stands_when_it_is_taken(new_cluster: NewCluster) -> None:
    c, web = cluster(new_cluster)
    set_port(c, web, 5)
    set_port(c, web, 6)
    run = c.claim(web)
    assert c.run(run).input["web"]["port"] == 6
    set_port(c, web, 7)
    c.end(web)
    assert c.states(web) == ["TRANSITION"], "its input changed while it ran"
    assert c.run(c.claim(web)).input["web"]["port"] == 7
    c.end(web)
    assert c.states(web) == ["ACTIVE"]


def test_a_nodes_value_sends_back_who_wants_it_there(new_cluster: NewCluster) -> None:
    c, _ = cluster(new_cluster, USER)
    (user,) = [ref for ref, name in c.named().items() if name == "user@a"]
    c.change_node("a", hint={"place": {"rack": "r5"}})
    assert c.states(user) == ["TRANSITION"]
    assert c.open_run(user).input["place"] == {"rack": "r5"}
    c.anneal()
    c.change_node("a", hint={"place": {"rack": "r5"}, "free": True})
    assert c.open_runs() == []


def test_a_peers_coming_changes_what_the_barclamp_knows_and_wakes_the_cluster(new_cluster: NewCluster) -> None:
    def members(node_role: NodeRoleView) -> dict[str, Any]:
        return {"members": [peer.name for peer in node_role.peers]} if node_role.role == "etcd" else {}

    c = new_cluster(
        Role(name="etcd", cluster=True, attributes=(Attribute(name="members"),)), hooks={"node_role_data": members}
    )
    c.node("a")
    c.node("b")
    first = c.bind("a", "etcd")
    c.commit_all()
    c.anneal()
    second = c.bind("b", "etcd")
    c.commit_all()
    both = {"members": ["a.test.example", "b.test.example"]}
    assert c.open_run(first).input == c.open_run(second).input == both
    c.anneal()
    nodes.delete_node(c.parts, OPERATOR, c.nodes["b"], wait=0)
    assert c.open_run(first).input == {"members": ["a.test.example"]}


# ---------------------------------------------------------------- what a run is given


def test_a_run_is_given_its_declared_input_and_nothing_else(new_cluster: NewCluster) -> None:
    c, web = cluster(new_cluster, USER, BYSTANDER)
    named = {name.partition("@")[0]: ref for ref, name in c.named().items()}
    c.change_node("a", hint={"place": {"rack": "r1"}, "free": "wish"}, discovery={"cpus": 4})
    c.anneal()
    attributes.set_value(c.parts, OPERATOR, attribute="options", value={"x": 1}, node_role_id=web, now=True)
    c.anneal()
    inputs = {
        name: c.rows(select(runs.c.input).where(runs.c.node_role_id == ref).order_by(runs.c.id.desc()))[0].input
        for name, ref in named.items()
    }
    hints = {"place": {"rack": "r1"}, "free": "wish"}
    assert inputs["web"] == {"web": {"port": 2, "options": {"x": 1}}, "hints": hints}
    assert inputs["user"] == {"web": {"port": 2}, "place": {"rack": "r1"}, "hints": hints}
    assert inputs["bystander"] == {"hints": hints}


# ---------------------------------------------------------------- secrets


SECRET = "correct horse battery"


def test_a_secret_rests_encrypted_is_shown_masked_and_is_opened_for_those_who_may(
    new_cluster: NewCluster, tmp_path: Path
) -> None:
    c, web = cluster(new_cluster, USER)
    attributes.set_value(c.parts, OPERATOR, attribute="key", value=SECRET, node_role_id=web, now=True)
    attributes.set_value(
        c.parts, OPERATOR, attribute="key", value=SECRET + "2", deployment_role_id=role_in(c, c.system)
    )
    deployments.commit_role(c.parts, OPERATOR, role_in(c, c.system))
    c.anneal()
    steering.rerun(c.parts, OPERATOR, web)
    c.end(web, wall={"web": {"key": SECRET + "3"}})
    c.anneal()
    assert value(c, web, "key").value == MASK
    assert value(c, web, "key", reveal=True).value == SECRET
    said = attributes.explain(c.parts, attribute="key", node_role_id=web)
    assert {one.value for one in said if one.is_set} == {MASK}
    said = attributes.explain(c.parts, attribute="key", node_role_id=web, reveal=True)
    assert [one.value for one in said if one.is_set] == [SECRET + "2", SECRET + "3", SECRET]
    (user,) = [ref for ref, name in c.named().items() if name == "user@a"]
    given = c.rows(select(runs.c.input).where(runs.c.node_role_id == user).order_by(runs.c.id.desc()))[0].input
    assert open_secrets(c.parts.cipher, given)["web"]["key"] == SECRET
    assert SECRET not in everything_at_rest(c, tmp_path)


def test_a_refused_secret_is_not_in_the_message(new_cluster: NewCluster) -> None:
    c, web = cluster(new_cluster)
    with pytest.raises(BadInput) as caught:
        attributes.set_value(c.parts, OPERATOR, attribute="key", value="hunter2", node_role_id=web, now=True)
    assert "hunter2" not in caught.value.detail
    steering.rerun(c.parts, OPERATOR, web)
    c.end(web, wall={"web": {"key": "hunter2"}})
    assert c.states(web) == ["ERROR"]
    assert "hunter2" not in c.row(web).status


def test_the_same_secret_again_is_no_change_wherever_it_comes_from(new_cluster: NewCluster) -> None:
    reader = Role(name="user", requires=("web",), wants=("key",), on_change="refresh")
    c, web = cluster(new_cluster, reader)
    (user,) = [ref for ref, name in c.named().items() if name == "user@a"]
    there = role_in(c, c.system)
    for again in (False, True):
        deployments.set_role_data(c.parts, OPERATOR, there, {"web": {"key": SECRET + "d"}})
        deployments.commit_role(c.parts, OPERATOR, there)
        assert (c.anneal() == []) == again
        steering.rerun(c.parts, OPERATOR, web)
        c.end(web, wall={"web": {"key": SECRET + "w"}})
        assert c.run(c.claim(user)).refresh is False, "its parent ran again"
        c.end(user)
        assert c.open_runs() == []
        attributes.set_value(c.parts, OPERATOR, attribute="key", value=SECRET, node_role_id=web, now=True)
        assert (c.anneal() == []) == again
    steering.refresh(c.parts, OPERATOR, web)
    c.end(web, wall={"web": {"key": SECRET + "w"}})
    assert c.open_runs() == []


def test_a_secret_whose_key_was_lost_can_be_set_again(new_cluster: NewCluster) -> None:
    c, web = cluster(new_cluster)
    attributes.set_value(c.parts, OPERATOR, attribute="key", value=SECRET, node_role_id=web, now=True)
    c.anneal()
    c.parts.cipher = Fernet(Fernet.generate_key())
    with pytest.raises(ConfigError, match="another key"):
        value(c, web, "key", reveal=True)
    attributes.set_value(c.parts, OPERATOR, attribute="key", value=SECRET, node_role_id=web, now=True)
    assert value(c, web, "key", reveal=True).value == SECRET


def test_a_secret_is_in_no_reason_of_a_run_either(new_cluster: NewCluster) -> None:
    def leaks(task: Task) -> Done:
        raise PermanentError(f"cannot log in with {task.data['web']['key']}")

    c = new_cluster(Role(name="web", jig="python", attributes=(KEY,), run=leaks))
    c.node("a")
    web = c.bind("a", "web")
    attributes.set_value(c.parts, OPERATOR, attribute="key", value=SECRET, node_role_id=web)
    c.commit_all()
    run = c.open_run(web)
    assert run is not None
    Runner(c.parts).execute_here([run.id])
    assert c.run(run.id).exit_reason == "cannot log in with ***"
    assert SECRET not in str(c.row(web).status)
