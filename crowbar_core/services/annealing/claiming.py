"""Claiming: queued runs become a worker's, and those in which nothing is done end at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crowbar_core.barclamp import NodeView
from crowbar_core.plugins import Registry
from crowbar_core.services.annealing.annealer import ANNEALER, settle
from crowbar_core.services.annealing.outcomes import succeed
from crowbar_core.services.data.changes import refresh_sysdata
from crowbar_core.services.data.layers import run_inputs
from crowbar_core.services.data.made import make_values
from crowbar_core.services.data.questions import knows_data
from crowbar_core.services.data.views import node_views
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Turn, open_turn
from crowbar_core.store import endings, noderoles, steps
from crowbar_core.store import runs as store_runs
from crowbar_core.store.open_runs import Offered, OpenRun, offered


@dataclass(frozen=True, slots=True)
class Held:
    """A run that a worker has taken on, ``row`` as it is since then (see ``store.runs.claim``), and its node.

    ``at`` is when, by a clock that goes on while the process or the machine is stopped.
    """

    run: Offered
    row: Any
    node: NodeView
    at: float


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of queued runs that were offered to a worker. The others have ended, or somebody else has them."""

    held: Sequence[Held] = ()
    """It holds them now and is to carry them out."""
    left: Sequence[int] = ()
    """There was no room for them: they are still queued."""


def claim(parts: Parts, run_ids: Collection[int], worker: str) -> Sequence[int]:
    """Take queued runs for ``worker``, whatever their jigs. Returns those it now holds."""
    return [one.run.id for one in take_on(parts, run_ids, worker, room=len(run_ids)).held]


def take_on(
    parts: Parts, run_ids: Collection[int], worker: str, *, room: int, passes: Callable[[str], bool] = lambda jig: False
) -> Taken:
    """Take at most ``room`` of these runs for ``worker``, and end those whose jig ``passes`` and that look at no
    values, all in one transaction.

    Input that has changed since a run was made is taken afresh, and barclamps are asked for theirs again.
    """
    moving = False

    def settle_if_moving(turn: Turn) -> None:  # taking runs on moves nothing
        if moving:
            settle(turn)

    with open_turn(parts, ANNEALER, settle_if_moving) as turn:
        taken, moving = take_on_in_turn(turn, run_ids, worker, room=room, passes=passes)
    return taken


def take_on_in_turn(
    turn: Turn, run_ids: Collection[int], worker: str, *, room: int, passes: Callable[[str], bool]
) -> tuple[Taken, bool]:
    """The same in the middle of a turn. Also says whether there is anything to settle now."""
    free = [run for run in offered(turn.session, turn.store, run_ids) if run.free]
    queued = _asked_again(turn, free)
    passing = [
        run for run in queued if not run.in_steps and passes(run.jig) and not _looks_at_values(turn.registry, run.role)
    ]
    over = {run.id for run in passing}
    others = [run for run in queued if run.id not in over]
    # What a run in steps was given at first it keeps to its end; then it runs once more.
    stale = [run for run in (*passing, *others[:room]) if run.rerun and not run.in_steps]
    moving = bool(passing or stale) or queued is not free
    _renew_inputs(turn, stale)
    _pass_through(turn, passing, worker)
    held = _claim(turn, others[:room], worker)
    return Taken(held, [run.id for run in others[room:]]), moving


def take_new(turn: Turn, worker: str, *, room: int, passes: Callable[[str], bool]) -> Sequence[Held]:
    """At the very end of a turn: take at most ``room`` of the runs that it has just made, but refreshes and those that
    pass. Nobody else need be told of them.
    """
    passing = {jig for jig in {run.jig for run in turn.made.values()} if passes(jig)}
    made = [turn.made[run_id] for run_id in turn.queued if run_id in turn.made]
    held = _claim(turn, [run for run in made if run.jig not in passing][:room], worker, fresh=True)
    mine = {one.run.id for one in held}
    turn.queued = [run_id for run_id in turn.queued if run_id not in mine]
    return held


def _claim(turn: Turn, mine: Sequence[Offered], worker: str, *, fresh: bool = False) -> Sequence[Held]:
    if not mine:
        return ()
    ids, lease = [run.id for run in mine], turn.parts.settings.lease_seconds
    rows = store_runs.claim(turn.session, turn.store, turn.now, ids, worker, lease, fresh=fresh)
    for run in mine:
        loaded = turn.registry.roles.get(run.role)
        if run.id in rows and loaded and loaded.role.first_step and not (run.in_steps or run.teardown):
            steps.enter(turn.session, run.id, {"name": loaded.role.first_step})
    # Read here, and not in a transaction of its own: a run begins as soon as this is committed.
    views = node_views(turn.registry, turn.session, turn.store, {run.node_id for run in mine if run.id in rows})
    at = time.clock_gettime(time.CLOCK_BOOTTIME)
    return [Held(run, rows[run.id], views[run.node_id], at) for run in mine if run.id in rows]


def _asked_again(turn: Turn, queued: Sequence[Offered]) -> Sequence[Offered]:
    """The same, less those that were sent back by what barclamps know now of what is to run once more."""
    stale = [run for run in queued if run.rerun and not run.in_steps]
    asking = {role for role in {run.role for run in stale} if knows_data(turn.registry, role)}
    if not asking:
        return queued
    refresh_sysdata(turn, [run.node_role_id for run in stale if run.role in asking], quiet=True)
    return [run for run in offered(turn.session, turn.store, [run.id for run in queued]) if run.free]


def _renew_inputs(turn: Turn, stale: Sequence[OpenRun]) -> None:
    if not stale:
        return
    wanted = [(run.node_role_id, run.node_id, run.role) for run in stale]
    make_values(turn, wanted)
    fresh = run_inputs(turn.registry, turn.session, turn.store, wanted)
    for run in stale:
        endings.give(turn.session, run.id, fresh.get(run.node_role_id, {}))
    noderoles.note_many(turn.session, turn.store, [run.node_role_id for run in stale], rerun=False)


def _looks_at_values(registry: Registry, role: str) -> bool:
    """Whether it wants values, or must have some: then a worker looks at what it is given, though nothing is done."""
    loaded = registry.roles.get(role)
    return loaded is not None and bool(loaded.role.wants or any(one.required for one in loaded.role.attributes))


def _pass_through(turn: Turn, passing: Sequence[OpenRun], worker: str) -> None:
    """Nobody could see these runs run: they succeed at once."""
    if not passing:
        return
    ids = [run.id for run in passing]
    endings.pass_through(turn.session, turn.store, turn.now, ids, worker)
    succeed(turn, [replace(run, rerun=False) if run.rerun else run for run in passing])
    turn.moves.ended_runs.extend(ids)
    turn.moves.woken.update(run.node_id for run in passing)
