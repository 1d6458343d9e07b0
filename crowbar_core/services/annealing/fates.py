"""What is known of destructive work: that it ended well, or that it began and nobody saw its end.

Destructive work is done once. When it began and was not seen to end well, its noderole is *halfway*: in ERROR, through
whatever happens to its node, until an operator says that it is to be done again, or its success is found out. So it may
happen that nothing is done where something should be; never that something is destroyed twice.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from crowbar_core.domain.states import ERROR, TODO, TRANSITION, RunState
from crowbar_core.services.turns.parts import Turn, log
from crowbar_core.store import halting, moves, transitions
from crowbar_core.store.models import NodeRole, RoleRow, Run, table

node_roles, roles, runs = table(NodeRole), table(RoleRow), table(Run)


def under_way(turn: Turn, node_id: int) -> list[int]:
    """The destructive noderoles that a worker may be at work on, on this node."""
    return list(
        turn.session.scalars(
            select(runs.c.node_role_id)
            .join(node_roles, node_roles.c.id == runs.c.node_role_id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(
                runs.c.node_id == node_id,
                runs.c.state.in_((str(RunState.RUNNING), str(RunState.CANCELLING))),
                ~runs.c.refresh,
                roles.c.destructive,
            )
        )
    )


def is_done(session: Session, node_role_id: int) -> bool:
    """Whether the role is destructive and has ended well here."""
    found = session.scalar(
        select(node_roles.c.id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(node_roles.c.id == node_role_id, roles.c.destructive, node_roles.c.done)
    )
    return found is not None


def token_in_doubt(session: Session, node_role_id: int, run_id: int) -> str:
    """The binding's token, if this is the last run of destructive work whose fate is unknown; else empty."""
    last = select(func.max(runs.c.id)).where(runs.c.node_role_id == node_role_id).scalar_subquery()
    found = session.scalar(
        select(node_roles.c.once)
        .join(runs, runs.c.node_role_id == node_roles.c.id)
        .where(
            node_roles.c.id == node_role_id, node_roles.c.halfway, ~node_roles.c.done, runs.c.id == run_id,
            runs.c.id == last, runs.c.finished_at.is_not(None),
        )
    )  # fmt: skip
    return found or ""


def leave_halfway(turn: Turn, ids: Collection[int], status: str) -> None:
    """The destructive work of these noderoles began, and was not seen to end well: ERROR, whose reason is ``status``.

    One that waits for a parent goes there when it is its turn; one that is known to have ended well is left alone.
    """
    if not ids:
        return
    turn.session.execute(
        update(node_roles)
        .where(turn.store.ids(node_roles.c.id, ids), ~node_roles.c.done)
        .values(halfway=True, look_at=turn.now)
    )
    left = set(
        turn.session.scalars(
            select(node_roles.c.id).where(
                turn.store.ids(node_roles.c.id, ids), node_roles.c.halfway, ~node_roles.c.done
            )
        )
    )
    standing = moves.standing(turn.moves, left)
    moving = [one for one in standing.values() if one.state in (TODO, TRANSITION)]
    transitions.move(
        turn.moves, moving, ERROR, status=status, rerun=False, not_before=None, run_count=node_roles.c.run_count + 1
    )
    waiting = [one.id for one in standing.values() if one not in moving and one.state is not ERROR]
    turn.session.execute(update(node_roles).where(turn.store.ids(node_roles.c.id, waiting)).values(status=status))


def recognise(turn: Turn, ids: Collection[int]) -> None:
    """The destructive work of these noderoles has ended well, as was found out when nobody waited for it any more.

    What is in ERROR by that goes back to work, which is to be passed over; its success is told then.
    """
    known = turn.session.scalars(
        select(node_roles.c.id).where(turn.store.ids(node_roles.c.id, ids), ~node_roles.c.done)
    ).all()
    if not known:
        return
    log.info("destructive work had ended well", node_roles=sorted(known))
    in_error = turn.session.scalars(
        select(node_roles.c.id).where(
            turn.store.ids(node_roles.c.id, known), node_roles.c.state == int(ERROR), node_roles.c.halfway
        )
    ).all()
    turn.session.execute(
        update(node_roles).where(turn.store.ids(node_roles.c.id, known)).values(done=True, halfway=True, look_at=None)
    )
    # A run for it that nobody has begun would do it again.
    touched = halting.cancel_runs(turn.moves, known, "it has succeeded before", queued_only=True)
    transitions.send_back(turn.moves, [*in_error, *touched], status="", attempts=0, not_before=None, rerun=False)
    turn.moves.woken.update(one.node_id for one in moves.standing(turn.moves, known).values())


def forget(turn: Turn, ids: Collection[int]) -> None:
    """What these noderoles did is to be done anew: none of their marks counts any more."""
    if ids:
        turn.session.connection().execute(
            update(node_roles)
            .where(node_roles.c.id == bindparam("ref"))
            .values(done=False, halfway=False, look_at=None, once=bindparam("token")),
            [{"ref": ref, "token": transitions.new_token()} for ref in ids],
        )
