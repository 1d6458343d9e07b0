"""The ancestor's annealing loop, in the shape of its SQL: the other side of the ``anneal`` benchmark.

Crowbar 2 asked the whole table for what could run before each pass, took at most ten, and wrote each step of each run
in a transaction of its own; a noderole that became active asked each child for the states of all its parents. The
statements here do the same work on the same tables and the same database as ours, without the cost of its language and
its ORM.
"""

from __future__ import annotations

import time

from sqlalchemy import exists, insert, select, update

from crowbar_core.domain.states import ACTIVE, BLOCKED, PROPOSED, TODO, TRANSITION
from crowbar_core.services.turns.parts import Parts
from crowbar_core.store.models import Deployment, Edge, Node, NodeRole, Run, table

nodes, node_roles, edges, runs = table(Node), table(NodeRole), table(Edge), table(Run)
AT_ONCE = 10


def commit(parts: Parts, deployment_id: int) -> None:
    """Everything to TODO or BLOCKED, in one statement each: not part of what is measured."""
    with parts.store.write() as session:
        session.execute(update(table(Deployment)).where(table(Deployment).c.id == deployment_id).values(committed=True))
        for state, blocked in ((TODO, False), (BLOCKED, True)):
            session.execute(
                update(node_roles)
                .where(
                    node_roles.c.deployment_id == deployment_id,
                    node_roles.c.state == int(PROPOSED),
                    (node_roles.c.blockers > 0) == blocked,
                )
                .values(state=int(state))
            )


def anneal(parts: Parts, *, most_runs: int) -> tuple[int, float]:
    """Run the loop until it is at rest or has made ``most_runs`` runs. Returns (runs, seconds)."""
    store, done, begun = parts.store, 0, time.perf_counter()
    while done < most_runs:
        busy = node_roles.alias()
        with store.read() as session:
            ready = session.execute(
                select(node_roles.c.id, node_roles.c.node_id)
                .join(nodes, nodes.c.id == node_roles.c.node_id)
                .where(
                    node_roles.c.state == int(TODO), node_roles.c.available, nodes.c.alive, nodes.c.available,
                    ~exists().where(busy.c.node_id == node_roles.c.node_id, busy.c.state == int(TRANSITION)),
                )
                .order_by(node_roles.c.cohort, node_roles.c.id)
            ).all()  # fmt: skip
        chosen: dict[int, int] = {}
        for row in ready:
            chosen.setdefault(row.node_id, row.id)
        if not chosen:
            break
        for node_id, ref in list(chosen.items())[:AT_ONCE]:
            _run(parts, node_id, ref)
            done += 1
    return done, time.perf_counter() - begun


def _run(parts: Parts, node_id: int, ref: int) -> None:
    store = parts.store
    with store.write(graph=False) as session:
        now = store.now(session)
        run_id = session.scalars(
            insert(runs)
            .values(node_role_id=ref, node_id=node_id, state="queued", queued_at=now, rung_at=now)
            .returning(runs.c.id)
        ).one()
    with store.write(graph=False) as session:
        session.execute(update(node_roles).where(node_roles.c.id == ref).values(state=int(TRANSITION)))
    with store.write(graph=False) as session:
        session.execute(update(runs).where(runs.c.id == run_id).values(state="running", started_at=store.now(session)))
    with store.write(graph=False) as session:
        now = store.now(session)
        session.execute(update(runs).where(runs.c.id == run_id).values(state="succeeded", finished_at=now))
    with store.write(graph=False) as session:
        session.execute(
            update(node_roles)
            .where(node_roles.c.id == ref)
            .values(state=int(ACTIVE), run_count=node_roles.c.run_count + 1)
        )
    with store.read() as session:
        children = session.scalars(select(edges.c.child_id).where(edges.c.parent_id == ref)).all()
    for child in children:
        with store.read() as session:
            states = session.scalars(
                select(node_roles.c.state)
                .join(edges, edges.c.parent_id == node_roles.c.id)
                .where(edges.c.child_id == child)
            ).all()
        if all(state == ACTIVE for state in states):
            with store.write(graph=False) as session:
                session.execute(update(node_roles).where(node_roles.c.id == child).values(state=int(TODO), blockers=0))
