"""Every edge of a noderole's life, and nothing beside them."""

from __future__ import annotations

import itertools

import pytest

from crowbar_core.domain.states import (
    ACTIVE,
    BLOCKED,
    ERROR,
    PROPOSED,
    TODO,
    TRANSITION,
    TRANSITIONS,
    DeploymentState,
    NodeState,
    State,
    check_transition,
    deployment_state,
    node_state,
    ready_state,
)
from crowbar_core.errors import InvalidTransition, Refused

EDGES = {
    PROPOSED: {TODO, BLOCKED},
    BLOCKED: {TODO, PROPOSED},
    TODO: {TRANSITION, ACTIVE, BLOCKED, ERROR, PROPOSED},
    TRANSITION: {ACTIVE, ERROR, TODO, BLOCKED},
    ACTIVE: {TODO, BLOCKED, ERROR, PROPOSED},
    ERROR: {TODO, BLOCKED, PROPOSED},
}


def test_the_numbers_are_the_ancestors() -> None:
    assert {state.name: int(state) for state in State} == {
        "ERROR": -1, "ACTIVE": 0, "TODO": 1, "TRANSITION": 2, "BLOCKED": 3, "PROPOSED": 4,
    }  # fmt: skip


@pytest.mark.parametrize("start,end", list(itertools.product(State, State)))
def test_an_edge_exists_or_is_refused_by_name(start: State, end: State) -> None:
    if end in EDGES[start]:
        check_transition("#1", start, end)
        assert TRANSITIONS[start, end], "it says when"
    else:
        with pytest.raises(InvalidTransition) as caught:
            check_transition("dns-server on node-3", start, end)
        assert isinstance(caught.value, Refused)
        for part in ("dns-server on node-3", start.name, end.name):
            assert part in caught.value.detail


def test_a_running_noderole_is_never_proposed_and_the_refusal_says_to_cancel() -> None:
    with pytest.raises(InvalidTransition, match="cancel"):
        check_transition("#1", TRANSITION, PROPOSED)


def test_without_blockers_there_is_work_to_do() -> None:
    assert ready_state(0) is TODO
    assert ready_state(1) is BLOCKED


@pytest.mark.parametrize(
    "states,expected",
    [
        ((), NodeState.IDLE),
        ((ACTIVE,), NodeState.ACTIVE),
        ((ACTIVE, TODO), NodeState.TODO),
        ((ACTIVE, BLOCKED), NodeState.TODO),
        ((BLOCKED, PROPOSED), NodeState.PROPOSED),
        ((PROPOSED, ERROR), NodeState.ERROR),
        ((ERROR, TRANSITION, PROPOSED, ACTIVE), NodeState.TRANSITION),
    ],
)
def test_a_nodes_state_is_the_first_that_any_of_its_noderoles_has(
    states: tuple[State, ...], expected: NodeState
) -> None:
    assert node_state(states) is expected


@pytest.mark.parametrize("states", [(), (ACTIVE,)])
def test_a_node_that_is_not_alive_is_not_active_and_one_never_seen_is_new(states: tuple[State, ...]) -> None:
    assert node_state(states, alive=False) is NodeState.DEAD
    assert node_state(states, alive=False, was_alive=False) is NodeState.NEW
    assert node_state((*states, TODO), alive=False, was_alive=False) is NodeState.TODO
    assert node_state((*states, TODO), alive=False, switched_off=True) is NodeState.OFF
    assert node_state((*states, ERROR), alive=False, switched_off=True) is NodeState.ERROR
    assert node_state((*states, TODO), alive=True, switched_off=True) is NodeState.TODO


@pytest.mark.parametrize(
    "committed,states,expected",
    [
        (False, (ACTIVE, ERROR), DeploymentState.PROPOSED),
        (True, (), DeploymentState.ACTIVE),
        (True, (ACTIVE, ACTIVE), DeploymentState.ACTIVE),
        (True, (ACTIVE, TODO), DeploymentState.COMMITTED),
        (True, (ACTIVE, PROPOSED), DeploymentState.COMMITTED),
        (True, (ACTIVE, ERROR, TRANSITION), DeploymentState.ERROR),
    ],
)
def test_a_deployments_state_follows_from_its_noderoles(
    committed: bool, states: tuple[State, ...], expected: DeploymentState
) -> None:
    assert deployment_state(committed, states) is expected
