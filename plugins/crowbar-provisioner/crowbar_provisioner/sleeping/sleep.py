"""An idle machine is switched off by its hammer, and on again when work is bound to it or somebody asks.

Idle is one that is accepted, alive and managed, and has nothing but what each discovered machine has, all of it ACTIVE,
for as long as its policy says. Never an admin node, a joined one that was not released, one in rescue, one with the
hint ``stay_on``, or one that no hammer could switch on again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, exists, insert, select, update

from crowbar_core import Change, CrowbarError, Intent, NodeRoleView, Power, Refused, cluster, hookimpl
from crowbar_core.tables import node_roles, nodes, roles
from crowbar_provisioner import accepting
from crowbar_provisioner.choosing import ACCEPTED
from crowbar_provisioner.machines import Machine, get, happened, of_node
from crowbar_provisioner.sleeping.policies import minutes_by_home, minutes_by_node, quiet_roles
from crowbar_provisioner.tables import machines, powers, rescues, sleeps

MOST = 100
"""Machines of which hammers are asked, and that are switched off, in one minute."""
_SETTLED = timedelta(minutes=10)
_ACTIVE = 0


@dataclass(kw_only=True)
class Bound:
    """What is bound to a node. ``work``: the first role that is none of a discovered machine's."""

    work: str = ""
    waits: bool = False
    runs: int = 0


def look() -> None:
    """Called once a minute: what has had nothing to do for long enough is switched off."""
    with cluster().read() as session:
        homes, told = minutes_by_home(session), minutes_by_node()
        if not (homes or told or session.execute(select(sleeps.c.node_id).limit(1)).first()):
            return
    with cluster().change() as change:
        due = _note_idle(change, homes, told)[:MOST]
    if not due:
        return
    able = {one.id for one in due if _returns(one.node)}  # outside of any change: a hammer may be slow to be made
    with cluster().change() as change:
        for one in _still_idle(change.session, due):
            if one.id in able:
                sleep(change, get(change.session, one.id), why=f"nothing to do for {_minutes(one, homes, told):g} min")
            else:
                _begin_anew(change, one)


def check_returns(name: str) -> None:
    """Raises ``Refused`` where no hammer could switch it on again. To be asked outside of any change."""
    if not _returns(name):
        raise Refused(f"{name} is not switched off: it has no hammer that could switch it on again.")


def _returns(name: str) -> bool:
    try:
        return {"on", "off"} <= set(cluster().power_actions(name))
    except CrowbarError:
        return False


# ---------------------------------------------------------------- to sleep, and back


def sleep(change: Change, machine: Machine, *, why: str) -> None:
    session = change.session
    session.execute(delete(sleeps).where(sleeps.c.node_id == machine.node_id))
    session.execute(insert(sleeps).values(node_id=machine.node_id, asleep=True, since=change.now, runs=0))
    session.execute(delete(powers).where(powers.c.node_id == machine.node_id))
    change.apply(Power(node=machine.node, action="off"))
    happened(change, machine.id, "asleep", why)
    change.audit("machine.sleep", f"node {machine.node}", why=why)


def wake(change: Change, machine: Machine, *, why: str) -> None:
    """It boots what it is to boot: that is ordered, and its own."""
    change.session.execute(delete(sleeps).where(sleeps.c.node_id == machine.node_id))
    accepting.expect(change, machine, why="as it is woken", ordered=True)
    change.apply(Power(node=machine.node, action="on"))
    happened(change, machine.id, "woken", why)
    change.audit("machine.wake", f"node {machine.node}", why=why)


def order_sleep(change: Change, machine: Machine) -> None:
    """Raises ``Refused`` with what is against it."""
    if problem := against(change.session, machine):
        raise Refused(f"{machine.node} is not switched off: {problem}.")
    sleep(change, machine, why="as an operator wished")


def order_wake(change: Change, machine: Machine) -> None:
    """Raises ``Refused``."""
    if not is_asleep(change.session, machine.node_id):
        raise Refused(f"{machine.node} is not asleep: crowbar nodes power {machine.node} on switches on what is off.")
    wake(change, machine, why="as an operator wished")


def was_switched(change: Change, machine: Machine) -> None:
    """Its power was ordered, by whomever: one that was switched on is waited for, and not asleep any more."""
    asked = select(nodes.c.alive, nodes.c.switched_off).where(nodes.c.id == machine.node_id)
    node = change.session.execute(asked).one()
    if machine.state == ACCEPTED and not (node.alive or node.switched_off):
        change.session.execute(delete(sleeps).where(sleeps.c.node_id == machine.node_id))
        accepting.expect(change, machine, why="as it was switched on", ordered=True)


def is_asleep(session: Any, node_id: int) -> bool:
    asked = select(sleeps.c.node_id).where(sleeps.c.node_id == node_id, sleeps.c.asleep)
    return session.execute(asked).first() is not None


# ---------------------------------------------------------------- who may, and who must not


def against(session: Any, machine: Machine) -> str:
    """Why it stays on, a clause; '' where nothing is against it."""
    row = session.execute(_candidates().where(machines.c.id == machine.id)).first()
    if row is None:
        return "only an accepted, available machine that is alive is"
    return _stays(row, _bound(session, [machine.node_id]))


def _candidates() -> Any:
    return (
        select(
            machines.c.id, machines.c.joined, machines.c.released, nodes.c.id.label("node_id"),
            nodes.c.name.label("node"), nodes.c.deployment_id, nodes.c.hint, nodes.c.admin,
            exists().where(rescues.c.node_id == nodes.c.id).label("rescued"),
        )
        .join(nodes, nodes.c.id == machines.c.node_id)
        .where(machines.c.state == ACCEPTED, machines.c.claim_id.is_(None), nodes.c.alive, nodes.c.available)
        .order_by(machines.c.id)
    )  # fmt: skip


def _stays(row: Any, bound: dict[int, Bound]) -> str:
    has = bound.get(row.node_id, Bound())
    if row.admin:
        return "it is an admin node"
    if row.joined and not row.released:
        return "it has joined with what it runs, and was not released"
    if row.hint.get("stay_on"):
        return "its hint stay_on says that it stays on"
    if row.rescued:
        return "it is in rescue"
    if has.work:
        return f"{has.work} is bound to it"
    return "there is work to do on it" if has.waits else ""


def _bound(session: Any, node_ids: Sequence[int] | None = None) -> dict[int, Bound]:
    """Of these nodes, or of all that are machines."""
    quiet = quiet_roles(session)
    asked = (
        select(node_roles.c.node_id, node_roles.c.state, node_roles.c.run_count, roles.c.name)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(machines, machines.c.node_id == node_roles.c.node_id)
        .order_by(node_roles.c.cohort, node_roles.c.id)
    )
    if node_ids is not None:
        asked = asked.where(node_roles.c.node_id.in_(node_ids))
    found: dict[int, Bound] = defaultdict(Bound)
    for one in session.execute(asked).all():
        has = found[one.node_id]
        has.runs += one.run_count
        has.waits |= one.state != _ACTIVE
        if one.name not in quiet:
            has.work = has.work or one.name
    return found


# ---------------------------------------------------------------- the minute's work


def _minutes(row: Any, homes: dict[int, float], told: dict[str, float]) -> float:
    return told.get(row.node, homes.get(row.deployment_id, 0.0))


def _idle(session: Any, homes: dict[int, float], told: dict[str, float]) -> dict[int, tuple[Any, int]]:
    """By node, the machines that nothing keeps on, each with how many runs its noderoles had."""
    rows = [one for one in session.execute(_candidates()).all() if _minutes(one, homes, told) > 0]
    bound = _bound(session) if rows else {}
    return {one.node_id: (one, bound.get(one.node_id, Bound()).runs) for one in rows if not _stays(one, bound)}


def _note_idle(change: Change, homes: dict[int, float], told: dict[str, float]) -> list[Any]:
    """Who is idle, and since when; returns the rows of those that have been for as long as is said, the first first."""
    session = change.session
    known = {one.node_id: one for one in session.execute(select(sleeps)).all()}
    idle = _idle(session, homes, told)
    over = [ref for ref, one in known.items() if not one.asleep and ref not in idle]
    new, due = [], []
    for ref, (one, runs) in idle.items():
        seen = known.get(ref)
        if seen is None:
            new.append({"node_id": ref, "asleep": False, "since": change.now, "runs": runs})
        elif seen.asleep:
            if change.now - seen.since > _SETTLED:  # somebody has switched it on
                over.append(ref)
        elif seen.runs != runs:
            _begin_anew(change, one, runs=runs)
        elif change.now - seen.since >= timedelta(minutes=_minutes(one, homes, told)):
            due.append((seen.since, one))
    if over:
        session.execute(delete(sleeps).where(sleeps.c.node_id.in_(over)))
    if new:
        session.execute(insert(sleeps), new)
    return [one for _, one in sorted(due, key=lambda each: (each[0], each[1].id))]


def _begin_anew(change: Change, one: Any, **values: int) -> None:
    """Its time begins anew. Of one that no hammer could switch on too: it is asked of again after that, and others are
    before.
    """
    mine = update(sleeps).where(sleeps.c.node_id == one.node_id, ~sleeps.c.asleep)
    change.session.execute(mine.values(since=change.now, **values))


def _still_idle(session: Any, due: Sequence[Any]) -> list[Any]:
    """Those of them on which nothing has begun since they were looked at."""
    rows = session.execute(_candidates().where(machines.c.id.in_([one.id for one in due]))).all()
    ids = [one.node_id for one in rows]
    bound = _bound(session, ids)
    seen = {one.node_id: one for one in session.execute(select(sleeps).where(sleeps.c.node_id.in_(ids))).all()}
    return [
        one
        for one in rows
        if not _stays(one, bound)
        and (was := seen.get(one.node_id)) is not None
        and not was.asleep
        and was.runs == bound.get(one.node_id, Bound()).runs
    ]


# ---------------------------------------------------------------- claims


@hookimpl
def on_nodes_bind(node_roles: Sequence[NodeRoleView], change: Change) -> None:
    """Who is asleep and claimed by one of these is woken once that is committed: what hinders it hinders no binding."""
    session = change.session
    by_node = {one.node.id: one.node.name for one in node_roles}
    asked = select(sleeps.c.node_id).where(sleeps.c.asleep, sleeps.c.node_id.in_(by_node))
    asleep = session.scalars(asked).all()
    bound = _bound(session, asleep) if asleep else {}
    for ref in asleep:
        if ref in bound and bound[ref].work:
            change.publish("on_machine_claim", f"node {ref}", node=by_node[ref])


@hookimpl
def on_machine_claim(node: str) -> Iterable[Intent]:
    with cluster().change() as change:
        machine = of_node(change.session, node)
        if machine is None or not is_asleep(change.session, machine.node_id):
            return []
        if work := _bound(change.session, [machine.node_id])[machine.node_id].work:
            wake(change, machine, why=f"{work} is bound to it")
    return []
