"""What is known of destructive work: that it ended well, or that it began and nobody saw its end.

Destructive work is done once. When it began and was not seen to end well, its noderole is *halfway*: in ERROR, through
whatever happens to its node, until an operator says that it is to be done again, or its success is found out. So it may
happen that nothing is done where something should be; never that something is destroyed twice.
"""

from __future__ import annotations

from collections.abc import Collection

from crowbar_core.domain.states import ERROR, TODO, TRANSITION
from crowbar_core.logs import log
from crowbar_core.services.turns.turn import Turn
from crowbar_core.store import destructive, halting, moves, noderoles, transitions


def leave_halfway(turn: Turn, ids: Collection[int], status: str) -> None:
    """The destructive work of these noderoles began, and was not seen to end well: ERROR, whose reason is ``status``.

    One that waits for a parent goes there when it is its turn; one that is known to have ended well is left alone.
    """
    if not ids:
        return
    left = destructive.mark_halfway(turn.session, turn.store, turn.now, ids)
    standing = moves.standing(turn.moves, left)
    moving = [one for one in standing.values() if one.state in (TODO, TRANSITION)]
    transitions.move(
        turn.moves, moving, ERROR, status=status, rerun=False, not_before=None, run_count=noderoles.RUN_AGAIN
    )
    waiting = [one.id for one in standing.values() if one not in moving and one.state is not ERROR]
    noderoles.note_many(turn.session, turn.store, waiting, status=status)


def recognise(turn: Turn, ids: Collection[int]) -> None:
    """The destructive work of these noderoles has ended well, as was found out when nobody waited for it any more.

    What is in ERROR by that goes back to work, which is to be passed over; its success is told then.
    """
    known = destructive.not_done(turn.session, turn.store, ids)
    if not known:
        return
    log.info("destructive work had ended well", node_roles=sorted(known))
    in_error = destructive.in_doubt(turn.session, turn.store, known)
    noderoles.note_many(turn.session, turn.store, known, done=True, halfway=True, look_at=None)
    # A run for it that nobody has begun would do it again.
    touched = halting.cancel_runs(turn.moves, known, "it has succeeded before", queued_only=True)
    transitions.send_back(turn.moves, [*in_error, *touched], status="", attempts=0, not_before=None, rerun=False)
    turn.moves.woken.update(one.node_id for one in moves.standing(turn.moves, known).values())
