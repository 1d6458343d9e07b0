"""The only writer of ``node_roles.state`` and of the blocker counts.

Every function works on sets, costs in proportion to the noderoles it touches, and leaves invariants 1 and 5 true when
it returns; what happened is collected in a ``Moves``. Callers hold the write lock (``Store.write``), so what is read
here cannot change before it is written; the compare-and-swap is kept all the same, and zero rows mean ``StaleState``.
"""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import and_, bindparam, case, delete, func, insert, select, update

from crowbar_core.domain.states import (
    ACTIVE,
    BLOCKED,
    NEEDS_PARENTS_ACTIVE,
    PROPOSED,
    TODO,
    TRANSITION,
    RunState,
    State,
    check_transition,
)
from crowbar_core.errors import StaleState
from crowbar_core.store import noderoles
from crowbar_core.store.bulk import insert_rows
from crowbar_core.store.db import ids_named
from crowbar_core.store.flags import flag
from crowbar_core.store.halting import cancel_runs
from crowbar_core.store.models import Edge, NodeRole, RoleRow, Run, UtcDateTime, table
from crowbar_core.store.moves import PORTION, Moves, Standing, batched, standing

node_roles = table(NodeRole)
edges = table(Edge)
runs = table(Run)
roles = table(RoleRow)

_PARENTS_MATTER = [int(state) for state in NEEDS_PARENTS_ACTIVE]


def new_token() -> str:
    """Under which the mark of a binding's destructive work is kept on its node."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class New:
    """A noderole to be made. ``cohort``: as far as it is known."""

    node_id: int
    role_id: int
    deployment_id: int
    cohort: int = 1


def propose_new(moves: Moves, new: Sequence[New]) -> list[int]:
    """New noderoles, PROPOSED, without edges. Returns their ids, in the same order."""
    if not new:
        return []
    ids = insert_rows(
        moves.session, moves.store, node_roles,
        [
            {"node_id": one.node_id, "role_id": one.role_id, "deployment_id": one.deployment_id, "cohort": one.cohort,
             "state": int(PROPOSED), "once": new_token(), "created_at": moves.now, "updated_at": moves.now}
            for one in new
        ],
    )  # fmt: skip
    moves.note(PROPOSED, ((ref, one.node_id, one.role_id) for ref, one in zip(ids, new, strict=True)))
    return ids


def connect(moves: Moves, links: Iterable[tuple[int, int, str]]) -> None:
    """Draw edges (parent, child, kind). Children of committed parents that are not ACTIVE get blocked; cohorts are
    pushed down. An edge from a parent that was never committed does not count yet: ``commit_proposed`` makes it count.
    """
    wanted = {(parent, child): kind for parent, child, kind in links}
    if not wanted:
        return
    session, store = moves.session, moves.store
    there = {
        (row.parent_id, row.child_id): row.kind
        for row in session.execute(
            select(edges.c.parent_id, edges.c.child_id, edges.c.kind).where(
                store.ids(edges.c.parent_id, {p for p, _ in wanted}),
                store.ids(edges.c.child_id, {c for _, c in wanted}),
            )
        )
    }
    for (parent, child), kind in wanted.items():
        if kind == "data" and there.get((parent, child)) == "order":
            session.execute(
                update(edges).where(edges.c.parent_id == parent, edges.c.child_id == child).values(kind="data")
            )
    new = {pair: kind for pair, kind in wanted.items() if pair not in there}
    if not new:
        return
    ends = {parent for parent, _ in new}
    rows = session.execute(
        select(node_roles.c.id, node_roles.c.state, node_roles.c.committed).where(store.ids(node_roles.c.id, ends))
    )
    parents = {row.id: row for row in rows}
    session.execute(
        insert(edges),
        [{"parent_id": p, "child_id": c, "kind": kind, "counts": parents[p].committed} for (p, c), kind in new.items()],
    )
    more: dict[int, int] = defaultdict(int)
    for parent, child in new:
        if parents[parent].committed and parents[parent].state != ACTIVE:
            more[child] += 1
    _block(moves, more, "a new parent is not ACTIVE")
    push_cohorts(moves, {child for _, child in new})


def push_cohorts(moves: Moves, ids: Collection[int]) -> None:
    """Make each cohort greater than every parent's, from these noderoles down."""
    touched = set(ids)
    while touched:
        needed = (
            select(edges.c.child_id.label("id"), (func.max(node_roles.c.cohort) + 1).label("cohort"))
            .join(node_roles, node_roles.c.id == edges.c.parent_id)
            .where(moves.store.ids(edges.c.child_id, touched))
            .group_by(edges.c.child_id)
            .subquery()
        )
        raised = moves.session.scalars(
            update(node_roles)
            .where(node_roles.c.id == needed.c.id, node_roles.c.cohort < needed.c.cohort)
            .values(cohort=needed.c.cohort)
            .returning(node_roles.c.id)
        ).all()
        if not raised:
            return
        touched = set(moves.session.scalars(select(edges.c.child_id).where(moves.store.ids(edges.c.parent_id, raised))))


def move(
    moves: Moves, seen: Sequence[Standing], to: State, *, silent: bool = False, broken: bool = False, **values: Any
) -> None:
    """Take these noderoles, each as it was seen, to ``to``, with all that follows for their children.

    ``broken``: they leave ACTIVE because something broke (see ``_block``). ``values`` are further columns to set.
    Raises ``InvalidTransition`` for an edge that does not exist and ``StaleState`` if one of them is not as it was
    seen.
    """
    by_state: dict[State, list[Standing]] = defaultdict(list)
    for one in seen:
        by_state[one.state].append(one)
    for state, group in by_state.items():
        check_transition(f"#{group[0].id}", state, to)
        ids = [one.id for one in group]
        given = {"ids": moves.store.id_values(ids), "seen": int(state)}
        written = {"state": int(to), "updated_at": moves.now, **values}
        changed = moves.session.execute(*noderoles.writing(moves.store, written, given, seen=True))
        if changed.rowcount != len(ids):  # type: ignore[attr-defined]
            raise StaleState(f"Of {len(ids)} noderoles seen in {state.name}, some have moved on. Read them again.")
        moves.note(to, ((one.id, one.node_id, one.role_id) for one in group), silent=silent)
        moves.woken.update(one.node_id for one in group)
        if to is ACTIVE:
            _release(moves, ids)
        elif state is ACTIVE:
            _block_children(moves, ids, broken=broken)


def send_back(moves: Moves, ids: Collection[int], *, broken: bool = False, **values: Any) -> list[int]:
    """Take committed noderoles to TODO or BLOCKED, whichever their parents allow; PROPOSED ones and those already there
    stay.

    Their runs are not touched. Returns the ids that moved.
    """
    moved: list[int] = []
    left = set(ids)
    # In order of cohort: sending a parent back blocks its children, which must be seen as they then stand.
    while left:
        rows = moves.session.execute(
            select(node_roles.c.id, node_roles.c.cohort, node_roles.c.blockers, node_roles.c.state).where(
                moves.store.ids(node_roles.c.id, left),
                node_roles.c.state.not_in([int(PROPOSED), int(TODO), int(BLOCKED)]),
            )
        ).all()
        if not rows:
            break
        lowest = min(row.cohort for row in rows)
        now_at = standing(moves, [row.id for row in rows if row.cohort == lowest])
        for to, blocked in ((TODO, False), (BLOCKED, True)):
            group = [now_at[r.id] for r in rows if r.cohort == lowest and (r.blockers > 0) == blocked]
            move(moves, group, to, broken=broken, **values)
            moved.extend(one.id for one in group)
        left -= {row.id for row in rows if row.cohort == lowest}
    return moved


def commit_proposed(moves: Moves, ids: Collection[int], **values: Any) -> list[int]:
    """Take those of these noderoles that are PROPOSED to TODO or BLOCKED. Returns their ids."""
    committed: list[int] = []
    listed = list(ids)
    for portion in batched(listed, PORTION):
        _let_count(moves, portion)
    for portion in batched(listed, PORTION):
        committed.extend(_commit_portion(moves, portion, values))
    return committed


def _let_count(moves: Moves, ids: Collection[int]) -> None:
    """Those of these that are committed for the first time are parents from now on: their edges count."""
    first = moves.session.scalars(
        update(node_roles)
        .where(moves.store.ids(node_roles.c.id, ids), node_roles.c.state == int(PROPOSED), ~node_roles.c.committed)
        .values(committed=True)
        .returning(node_roles.c.id)
    ).all()
    if not first:
        return
    counted = moves.session.scalars(
        update(edges)
        .where(moves.store.ids(edges.c.parent_id, first), ~edges.c.counts)
        .values(counts=True)
        .returning(edges.c.child_id)
    ).all()
    _block(moves, Counter(counted), "a new parent was committed")


def _commit_portion(moves: Moves, ids: Collection[int], values: Mapping[str, Any]) -> list[int]:
    rows = moves.session.execute(
        select(node_roles.c.id, node_roles.c.node_id, node_roles.c.role_id, node_roles.c.blockers).where(
            moves.store.ids(node_roles.c.id, ids), node_roles.c.state == int(PROPOSED)
        )
    ).all()
    for to, blocked in ((TODO, False), (BLOCKED, True)):
        group = [Standing(r.id, r.node_id, r.role_id, PROPOSED) for r in rows if (r.blockers > 0) == blocked]
        move(moves, group, to, **values)
    return [row.id for row in rows]


def remove(moves: Moves, ids: Collection[int]) -> None:
    """Delete noderoles. Children that stay no longer wait for them: they are released as if the parent had become
    ACTIVE.
    """
    gone = set(ids)
    if not gone:
        return
    session, store = moves.session, moves.store
    now_at = standing(moves, gone)
    waiting: dict[int, int] = defaultdict(int)
    counting = select(edges.c.parent_id, edges.c.child_id).where(store.ids(edges.c.parent_id, gone), edges.c.counts)
    for row in session.execute(counting):
        if row.child_id not in gone and now_at[row.parent_id].state is not ACTIVE:
            waiting[row.child_id] += 1
    moves.woken.update(one.node_id for one in now_at.values())
    session.execute(delete(edges).where(store.ids(edges.c.parent_id, gone) | store.ids(edges.c.child_id, gone)))
    session.execute(delete(node_roles).where(store.ids(node_roles.c.id, gone)))
    _unblock(moves, waiting)


def _release(moves: Moves, parents: Collection[int]) -> None:
    """These parents became ACTIVE: their children have that many blockers less; BLOCKED ones without
    any become TODO.
    """
    given = {"parents": moves.store.id_values(parents), "now": moves.now}
    changed = moves.session.execute(_count_down(moves.store.postgresql), given).all()
    for row in changed:
        # A child that waited for one of these parents was in BLOCKED, ERROR or PROPOSED; TODO means that it just left
        # BLOCKED.
        if row.state == TODO:
            moves.note(TODO, [(row.id, row.node_id, row.role_id)])
            moves.woken.add(row.node_id)


@cache
def _count_down(postgresql: bool) -> Any:
    """Built once: each run that succeeds needs it."""
    freed = (
        select(edges.c.child_id.label("id"), func.count().label("n"))
        .where(ids_named(edges.c.parent_id, "parents", postgresql=postgresql), edges.c.counts)
        .group_by(edges.c.child_id)
        .subquery()
    )
    left = node_roles.c.blockers - freed.c.n
    return (
        update(node_roles)
        .where(node_roles.c.id == freed.c.id)
        .values(
            blockers=left,
            state=case((and_(node_roles.c.state == int(BLOCKED), left == 0), int(TODO)), else_=node_roles.c.state),
            updated_at=bindparam("now", type_=UtcDateTime()),
        )
        .returning(
            node_roles.c.id, node_roles.c.node_id, node_roles.c.role_id, node_roles.c.state, node_roles.c.blockers
        )
    )


def _unblock(moves: Moves, fewer: Mapping[int, int]) -> None:
    """Take blockers away from noderoles one by one (removal of parents: rare)."""
    for child, n in fewer.items():
        row = moves.session.execute(
            update(node_roles)
            .where(node_roles.c.id == child)
            .values(
                blockers=node_roles.c.blockers - n,
                state=case(
                    (and_(node_roles.c.state == int(BLOCKED), node_roles.c.blockers == n), int(TODO)),
                    else_=node_roles.c.state,
                ),
                updated_at=moves.now,
            )
            .returning(node_roles.c.id, node_roles.c.node_id, node_roles.c.role_id, node_roles.c.state)
        ).one()
        if row.state == TODO:
            moves.note(TODO, [(row.id, row.node_id, row.role_id)])
            moves.woken.add(row.node_id)


def _block_children(moves: Moves, parents: Collection[int], *, broken: bool = False) -> None:
    """These parents left ACTIVE: their children have that many blockers more, and so on down."""
    rows = moves.session.execute(
        select(edges.c.child_id, func.count().label("n"))
        .where(moves.store.ids(edges.c.parent_id, parents), edges.c.counts)
        .group_by(edges.c.child_id)
    )
    _block(moves, {row.child_id: row.n for row in rows}, "a parent left ACTIVE", broken=broken)


def _block(moves: Moves, more: Mapping[int, int], reason: str, *, broken: bool = False) -> None:
    """Give noderoles more blockers. Those that need ACTIVE parents become BLOCKED, and it ripples down.

    A run that is under way is not disturbed by that: its noderole stays as it is, what blocks it does not count until
    the run has ended, and then it goes back (``go_back``). Only where a parent broke (``broken``: it failed, or its
    node died) is the run cancelled, for it would hardly end well; a destructive one goes on even then. A run that
    nobody has begun is taken back in any case.
    """
    if not more:
        return
    session, store = moves.session, moves.store
    before = standing(moves, more)
    spared = under_way(moves, [one.id for one in before.values() if one.state in (TRANSITION, ACTIVE)], broken=broken)
    if spared:
        _put_off(moves, spared)
        more = {child: n for child, n in more.items() if child not in spared}
    by_count: dict[int, list[int]] = defaultdict(list)
    for child, n in more.items():
        by_count[n].append(child)
    for n, children in by_count.items():
        session.execute(
            update(node_roles)
            .where(store.ids(node_roles.c.id, children))
            .values(
                blockers=node_roles.c.blockers + n,
                state=case((node_roles.c.state.in_(_PARENTS_MATTER), int(BLOCKED)), else_=node_roles.c.state),
                updated_at=moves.now,
            )
        )
    blocked = [one for one in before.values() if one.state in NEEDS_PARENTS_ACTIVE and one.id not in spared]
    moves.note(BLOCKED, ((one.id, one.node_id, one.role_id) for one in blocked))
    with_runs = [one.id for one in blocked if one.state in (TRANSITION, ACTIVE)]
    if with_runs:
        cancel_runs(moves, with_runs, reason)
    active = [one.id for one in blocked if one.state is ACTIVE]
    if active:
        _block_children(moves, active, broken=broken)


def under_way(moves: Moves, ids: Collection[int], *, broken: bool = False) -> set[int]:
    """Those of these noderoles that have a run which somebody has begun (``broken``: a destructive one)."""
    if not ids:
        return set()
    found = select(runs.c.node_role_id).where(
        moves.store.ids(runs.c.node_role_id, ids), runs.c.state == str(RunState.RUNNING)
    )
    if broken:
        found = (
            found.join(node_roles, node_roles.c.id == runs.c.node_role_id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(roles.c.destructive)
        )
    return set(moves.session.scalars(found))


def _put_off(moves: Moves, ids: Collection[int]) -> None:
    """Nothing blocks these until their runs have ended; then they go back."""
    not_active = select(node_roles.c.id).where(node_roles.c.state != int(ACTIVE))
    moves.session.execute(
        update(edges)
        .where(moves.store.ids(edges.c.child_id, ids), edges.c.counts, edges.c.parent_id.in_(not_active))
        .values(counts=False)
    )
    will_go_back(moves, ids)


def will_go_back(moves: Moves, ids: Collection[int]) -> None:
    """These noderoles, whose runs are under way, go back to work when those have ended; what is above them and has
    work to do waits for that."""
    moves.session.execute(update(node_roles).where(moves.store.ids(node_roles.c.id, ids)).values(goes_back=True))


def go_back(moves: Moves) -> None:
    """Send back those that were to go back when their runs had ended, and whose runs have.

    Called at the end of every change. Costs one look at an index that is almost always empty.
    """
    # Sending one back may put off another whose run has ended by now in this same change.
    while ids := set(moves.session.scalars(_TO_GO_BACK)):
        _go_back(moves, ids)


_TO_GO_BACK = select(node_roles.c.id).where(
    flag(node_roles.c.goes_back),
    ~select(runs.c.id)
    .where(runs.c.node_role_id == node_roles.c.id, runs.c.state == str(RunState.RUNNING))
    .correlate(node_roles)
    .exists(),
)


def _go_back(moves: Moves, ids: Collection[int]) -> None:
    session, store = moves.session, moves.store
    session.execute(update(node_roles).where(store.ids(node_roles.c.id, ids)).values(goes_back=False))
    parent = node_roles.alias()
    committed = select(parent.c.id).where(parent.c.committed)
    counted = session.execute(
        update(edges)
        .where(store.ids(edges.c.child_id, ids), ~edges.c.counts, edges.c.parent_id.in_(committed))
        .values(counts=True)
        .returning(edges.c.parent_id, edges.c.child_id)
    ).all()
    now_at = standing(moves, {row.parent_id for row in counted})
    more = Counter(row.child_id for row in counted if now_at[row.parent_id].state is not ACTIVE)
    _block(moves, more, "a parent left ACTIVE meanwhile")
    ended_well = (
        select(node_roles.c.id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(
            store.ids(node_roles.c.id, ids),
            node_roles.c.state == int(ACTIVE),
            ~(roles.c.destructive & node_roles.c.done),
        )
    )
    send_back(moves, session.scalars(ended_well).all(), rerun=False, status="it was to run again", not_before=None)
    moves.woken.update(_nodes_above(moves, ids))


def _nodes_above(moves: Moves, ids: Collection[int]) -> set[int]:
    """The nodes of the ancestors in TODO, which waited for these."""
    above = select(edges.c.parent_id.label("id")).where(moves.store.ids(edges.c.child_id, ids)).cte(recursive=True)
    above = above.union(select(edges.c.parent_id).join(above, edges.c.child_id == above.c.id))
    waiting = select(node_roles.c.node_id).where(
        node_roles.c.id.in_(select(above.c.id)), node_roles.c.state == int(TODO)
    )
    return set(moves.session.scalars(waiting))
