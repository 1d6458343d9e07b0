"""The states of a noderole, of a run, of a node and of a deployment, with every edge of a noderole's life."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum, StrEnum
from typing import Final

from crowbar_core.errors import InvalidTransition


class State(IntEnum):
    """A noderole's state. The numbers are the ancestor's and appear in the API."""

    ERROR = -1
    ACTIVE = 0
    TODO = 1
    TRANSITION = 2
    BLOCKED = 3
    PROPOSED = 4


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


OPEN_RUN_STATES = (RunState.QUEUED, RunState.RUNNING, RunState.CANCELLING)

ERROR, ACTIVE, TODO, TRANSITION, BLOCKED, PROPOSED = (
    State.ERROR,
    State.ACTIVE,
    State.TODO,
    State.TRANSITION,
    State.BLOCKED,
    State.PROPOSED,
)

NEEDS_PARENTS_ACTIVE = (TODO, TRANSITION, ACTIVE)
"""Invariant 1: these states imply that every parent is ACTIVE."""

TRANSITIONS: Mapping[tuple[State, State], str] = {
    (PROPOSED, TODO): "committed; every parent is ACTIVE, or it has none",
    (PROPOSED, BLOCKED): "committed; a parent is not ACTIVE",
    (BLOCKED, TODO): "its last non-ACTIVE parent became ACTIVE",
    (TODO, TRANSITION): "the annealer made a run for it",
    (TODO, ACTIVE): "a destructive role that has succeeded before is passed over",
    (TODO, BLOCKED): "a parent left ACTIVE",
    (TRANSITION, ACTIVE): "the run succeeded",
    (TRANSITION, ERROR): "the run failed",
    (TRANSITION, TODO): "the run was cancelled or lost, or is to be tried again",
    (TRANSITION, BLOCKED): "a parent left ACTIVE meanwhile",
    (ACTIVE, TODO): "the node died, a wanted value changed, or the operator asked for a re-run",
    (ACTIVE, BLOCKED): "a parent left ACTIVE",
    (ACTIVE, ERROR): "a refresh run failed, or the operator's force",
    (TODO, ERROR): "the operator's force, or destructive work that was cut off and has an unknown fate",
    (ERROR, TODO): "retry, the node came back to life, or its success was found out; every parent is ACTIVE",
    (ERROR, BLOCKED): "retry, the node came back to life, or its success was found out; a parent is not ACTIVE",
    (TODO, PROPOSED): "proposed again for editing",
    (BLOCKED, PROPOSED): "proposed again for editing",
    (ACTIVE, PROPOSED): "proposed again for editing",
    (ERROR, PROPOSED): "proposed again for editing",
}
"""(from, to) -> when. Anything else is refused. The state diagram in the documentation is generated from this."""


def check_transition(what: str, seen: State, to: State) -> None:
    """Raise ``InvalidTransition`` unless ``what`` (a noderole's name) may go from ``seen`` to ``to``."""
    if (seen, to) in TRANSITIONS:
        return
    ways = ", ".join(sorted(State(end).name for start, end in TRANSITIONS if start == seen))
    why = "it has a run; cancel that first" if seen is TRANSITION else f"from {seen.name} it may go to {ways}"
    raise InvalidTransition(f"Noderole {what} cannot go from {seen.name} to {to.name}: {why}.")


def ready_state(blockers: int) -> State:
    """Where a noderole that has work to do stands: TODO without blockers, else BLOCKED."""
    return BLOCKED if blockers else TODO


class NodeState(StrEnum):
    TRANSITION = "TRANSITION"
    ERROR = "ERROR"
    PROPOSED = "PROPOSED"
    TODO = "TODO"
    ACTIVE = "ACTIVE"
    IDLE = "IDLE"
    """It is alive, and no role is bound to it."""
    OFF = "OFF"
    """It was powered off by order; what is to be done on it waits for that it is powered on."""
    DEAD = "DEAD"
    """Nothing is to be done on it, and it is not alive."""
    NEW = "NEW"
    """Nothing is to be done on it, and it was never alive."""


RANKED: Final = (
    NodeState.NEW,
    NodeState.DEAD,
    NodeState.IDLE,
    NodeState.ACTIVE,
    NodeState.TODO,
    NodeState.OFF,
    NodeState.PROPOSED,
    NodeState.ERROR,
    NodeState.TRANSITION,
)
"""From the least telling state of a node to the most telling."""

SHOWN_AS: Final[Mapping[State, NodeState]] = {
    TRANSITION: NodeState.TRANSITION,
    ERROR: NodeState.ERROR,
    PROPOSED: NodeState.PROPOSED,
    TODO: NodeState.TODO,
    BLOCKED: NodeState.TODO,
    ACTIVE: NodeState.ACTIVE,
}
"""What a noderole's state says of its node."""


def node_state(
    states: Iterable[State], *, alive: bool = True, was_alive: bool = True, switched_off: bool = False
) -> NodeState:
    """A node's state: the most telling (``RANKED``) of what its noderoles say; but only what is alive and has roles is
    ACTIVE, and what was powered off by order is OFF, unless somebody is to look at it.
    """
    most = max((SHOWN_AS[state] for state in states), key=RANKED.index, default=NodeState.IDLE)
    if switched_off and not alive:
        return max(most, NodeState.OFF, key=RANKED.index)
    if alive or RANKED.index(most) > RANKED.index(NodeState.ACTIVE):
        return most
    return NodeState.DEAD if was_alive else NodeState.NEW


class DeploymentState(IntEnum):
    ERROR = -1
    PROPOSED = 0
    COMMITTED = 1
    ACTIVE = 2


def deployment_state(committed: bool, states: Iterable[State]) -> DeploymentState:
    """A deployment's state: PROPOSED until committed; then ERROR if any noderole is, ACTIVE if all are,
    else COMMITTED.
    """
    if not committed:
        return DeploymentState.PROPOSED
    present = set(states)
    if ERROR in present:
        return DeploymentState.ERROR
    return DeploymentState.ACTIVE if present <= {ACTIVE} else DeploymentState.COMMITTED
