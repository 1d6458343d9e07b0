"""What starts next, what is passed over, and why the rest waits: decided on small pictures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crowbar_core.domain.annealing import Deployment, Graph, Node, NodeRole, Role, Run, plan, why
from crowbar_core.domain.states import ACTIVE, BLOCKED, ERROR, PROPOSED, TODO, TRANSITION, RunState, State

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def one(ref: int, state: State, *, node: int = 1, role: str = "r", cohort: int = 1, **values: Any) -> NodeRole:
    return NodeRole(id=ref, node_id=node, deployment_id=1, role=role, state=state, cohort=cohort, **values)


def picture(*node_roles: NodeRole, edges: tuple[tuple[int, int], ...] = (), **values: Any) -> Graph:
    given: dict[str, Any] = {
        "nodes": {n: Node(id=n, name=f"n{n}", alive=True, available=True) for n in {o.node_id for o in node_roles}},
        "deployments": {1: Deployment(id=1, name="system", committed=True)},
        "roles": {o.role: Role(name=o.role) for o in node_roles},
    }
    return Graph(node_roles={o.id: o for o in node_roles}, edges=edges, **(given | values))


def codes(graph: Graph, ref: int) -> list[tuple[str, str]]:
    return [(reason.code, reason.subject) for reason in why(graph, ref, NOW)]


def test_each_node_starts_its_lowest_cohort_and_among_equals_the_oldest() -> None:
    graph = picture(
        one(1, TODO, cohort=2, role="a"), one(2, TODO, cohort=1, role="b"), one(3, TODO, cohort=1, role="c"),
        one(4, TODO, node=2, cohort=9),
    )  # fmt: skip
    assert plan(graph, NOW).start == (2, 4)
    assert codes(graph, 3) == [("next", "node_role 2")]
    assert codes(graph, 2) == [("next", "node_role 2")]


def test_a_refresh_takes_its_turn_like_a_run() -> None:
    graph = picture(one(1, ACTIVE, rerun=True), one(2, TODO, role="b", cohort=2), edges=((1, 2),))
    assert plan(graph, NOW).start == (1,)


def test_a_destructive_role_that_is_done_is_passed_over_and_frees_its_children_at_once() -> None:
    os, net = Role(name="os", destructive=True), Role(name="net")
    graph = picture(
        one(1, TODO, role="os", done=True), one(2, BLOCKED, role="net", cohort=2), one(3, BLOCKED, node=2, role="net"),
        edges=((1, 2), (1, 3)), roles={"os": os, "net": net},
    )  # fmt: skip
    decided = plan(graph, NOW)
    assert decided.pass_over == (1,)
    assert decided.start == (3, 2)
    assert plan(replace(graph, roles={"os": Role(name="os"), "net": net}), NOW).start == (1,)


@pytest.mark.parametrize(
    "changes,code,subject",
    [
        ({"deployments": {1: Deployment(id=1, name="d", committed=False)}}, "deployment proposed", "deployment 1"),
        ({"nodes": {1: Node(id=1, name="n", alive=False, available=True)}}, "node not alive", "node 1"),
        ({"nodes": {1: Node(id=1, name="n", alive=True, available=False)}}, "node not available", "node 1"),
        ({"roles": {"r": Role(name="r", missing="the jig 'x' is not installed")}}, "missing", "role r"),
        ({"runs": (Run(id=7, node_id=1, node_role_id=9, state=RunState.RUNNING),)}, "node busy", "run 7"),
        ({"runs": (Run(id=7, node_id=1, node_role_id=1, state=RunState.CANCELLING),)}, "node busy", "run 7"),
    ],
)
def test_what_keeps_a_noderole_from_a_run_is_named(changes: dict[str, Any], code: str, subject: str) -> None:
    graph = picture(one(1, TODO), **changes)
    assert plan(graph, NOW).start == ()
    assert codes(graph, 1) == [(code, subject)]
    assert plan(graph, NOW).waiting[1] == why(graph, 1, NOW)
    assert all(reason.detail.endswith(".") for reason in why(graph, 1, NOW))


def test_a_held_noderole_waits_and_the_next_on_its_node_goes_first() -> None:
    graph = picture(one(1, TODO, available=False), one(2, TODO, role="b"))
    assert plan(graph, NOW).start == (2,)
    assert codes(graph, 1) == [("held", "node_role 1")]


def test_a_delayed_retry_starts_when_its_time_has_come() -> None:
    graph = picture(one(1, TODO, not_before=NOW + timedelta(seconds=5), status="it was busy"))
    assert codes(graph, 1) == [("delayed", "node_role 1")]
    assert plan(graph, NOW + timedelta(seconds=5)).start == (1,)


def test_every_obstacle_is_named_at_once() -> None:
    graph = picture(one(1, TODO, available=False), nodes={1: Node(id=1, name="n", alive=False, available=False)})
    assert [code for code, _ in codes(graph, 1)] == ["node not alive", "node not available", "held"]


@pytest.mark.parametrize("state", [ERROR, PROPOSED, TODO, TRANSITION])
def test_a_blocked_noderole_names_the_nearest_ancestor_that_has_to_move(state: State) -> None:
    graph = picture(
        one(1, state, role="top", status="out of disk"), one(2, BLOCKED, role="mid", cohort=2),
        one(3, BLOCKED, role="low", cohort=3, node=2), edges=((1, 2), (2, 3)),
    )  # fmt: skip
    assert codes(graph, 3) == [(f"parent {state.name}", "node_role 1")]
    detail = why(graph, 3, NOW)[0].detail
    assert "top on n1" in detail
    assert ("out of disk" in detail) == (state is ERROR)


def test_a_blocked_noderole_says_also_what_its_ancestor_waits_for() -> None:
    graph = picture(
        one(1, TODO, role="top"), one(2, BLOCKED, role="low", cohort=2, node=2), edges=((1, 2),),
        nodes={1: Node(id=1, name="n1", alive=False, available=True, status="no ping"),
               2: Node(id=2, name="n2", alive=True, available=True)},
    )  # fmt: skip
    assert why(graph, 2, NOW)[0].detail == "It waits for top on n1, which is TODO: Node n1 is not alive: no ping."


def test_what_runs_does_not_wait() -> None:
    run = Run(id=4, node_id=1, node_role_id=1, state=RunState.RUNNING, pending=True, exit_reason="installing")
    graph = picture(one(1, TRANSITION), one(2, ERROR, role="b"), one(3, PROPOSED, role="c"), runs=(run,))
    assert codes(graph, 1) == [("running", "run 4")]
    assert set(plan(graph, NOW).waiting) == {2}
    assert codes(graph, 2) == [("error", "node_role 2")]
    assert codes(graph, 3) == [("proposed", "node_role 3")]


def test_an_active_noderole_has_nothing_to_do() -> None:
    assert codes(picture(one(1, ACTIVE)), 1) == [("active", "node_role 1")]
