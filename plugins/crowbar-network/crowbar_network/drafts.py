"""Changes of networks that wait: they stand beside what counts until they are committed, or thrown away.

What a change would make other on nodes waits as soon as a node has the network: runs, and who looks at what has become
of it, use what is committed. A network that no node has is changed at once. Routers are rows of their own, so that
their addresses are nobody else's meanwhile: one that was added is ``new``, one that was removed ``going``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, select, update

from crowbar_core import BadInput, Change, Json, Refused
from crowbar_core.tables import node_roles, roles
from crowbar_network import pool
from crowbar_network.addressing import of_key
from crowbar_network.checks import LAYERS, check_layers
from crowbar_network.remembered import forget
from crowbar_network.tables import networks, ranges, routers
from crowbar_network.telling import ranges_of, role_of, routers_of, row_of, span_of, tell_changed

WAIT = (*LAYERS, "mtu", "pbr", "configure", "category", "order")
"""The fields of a network of which nodes have something."""
NEW, GOING = "new", "going"


@dataclass(frozen=True, kw_only=True)
class Draft:
    """One thing that would be otherwise. ``of``: ``network``, ``range host``, ``router 10.0.0.1``."""

    of: str
    field: str
    old: Json
    new: Json


@dataclass(frozen=True, kw_only=True)
class Before:
    """A network as it was before its drafts were committed: its row, and those of its ranges and routers."""

    network: Any
    ranges: Mapping[int, Any]
    routers: Sequence[Any]


def waits(session: Any, network: Any) -> bool:
    """Whether what is changed of the network waits: a node has it, or something waits already."""
    has = (
        select(node_roles.c.id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(roles.c.name == role_of(network.name), node_roles.c.committed)
        .limit(1)
    )
    return session.scalar(has) is not None or bool(list(_of(session, [network])))


def proposed(row: Any) -> dict[str, Any]:
    """The row of a network or a range, as it would be."""
    return {**row._mapping, **row.draft}


def put_off(session: Any, table: Any, row: Any, values: Mapping[str, Any]) -> None:
    """Keep these values beside those of the row; what is as it was waits for nothing."""
    draft = {name: value for name, value in {**row.draft, **values}.items() if value != getattr(row, name)}
    session.execute(update(table).where(table.c.id == row.id).values(draft=draft))
    forget(session)


def settled(row: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values to be written at once, with what then is left of the row's draft."""
    return {**values, "draft": {name: value for name, value in row.draft.items() if name not in values}}


# ---------------------------------------------------------------- reading


def drafts_of(session: Any, ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """What waits, by network, as JSON."""
    rows = session.execute(select(networks).where(networks.c.id.in_(ids))).all()
    found: dict[int, list[dict[str, Any]]] = {}
    for key, draft in _of(session, rows):
        found.setdefault(key, []).append(asdict(draft))
    return found


def waiting_in(session: Any, deployment_id: int) -> list[Any]:
    """The networks of a deployment of which something waits, by name: their rows."""
    rows = session.execute(
        select(networks).where(networks.c.deployment_id == deployment_id).order_by(networks.c.name)
    ).all()
    waiting = {key for key, _ in _of(session, rows)}
    return [row for row in rows if row.id in waiting]


def _of(session: Any, rows: Collection[Any]) -> Iterator[tuple[int, Draft]]:
    if not rows:
        return
    for row in rows:
        yield from ((row.id, one) for one in _differing(row, "network"))
    ids = [row.id for row in rows]
    for row in session.execute(select(ranges).where(ranges.c.network_id.in_(ids)).order_by(ranges.c.first)).all():
        yield from ((row.network_id, one) for one in _differing(row, f"range {row.name}"))
    for row in session.execute(select(routers).where(routers.c.network_id.in_(ids)).order_by(routers.c.id)).all():
        of = f"router {of_key(row.address)}"
        if row.standing == NEW:
            yield row.network_id, Draft(of=of, field="", old=None, new=f"preference {row.pref}")
        elif row.standing == GOING:
            yield row.network_id, Draft(of=of, field="", old=f"preference {row.pref}", new=None)
        else:
            yield from ((row.network_id, one) for one in _differing(row, of))


def _differing(row: Any, of: str) -> Iterator[Draft]:
    for name in sorted(row.draft):
        yield Draft(of=of, field=name, old=getattr(row, name), new=row.draft[name])


# ---------------------------------------------------------------- committing, and throwing away


def commit_in(change: Change, deployment_id: int) -> None:
    """Commit what waits of the networks of a deployment."""
    for row in waiting_in(change.session, deployment_id):
        commit(change, row.id)


def commit(change: Change, key: int) -> int:
    """What waits of a network counts from now on, and the nodes that have it run its role again. Returns how much it
    was; nothing is no error. Raises ``NotFound``, and ``Refused`` for what cannot be any more.
    """
    session, row = change.session, row_of(change.session, key)
    there, ways = list(ranges_of(session, key)), list(routers_of(session, key))
    told = [one for _, one in _of(session, [row])]
    if not told:
        return 0
    _check(row, there)
    _note(session, Before(
        network=row, ranges={one.id: one for one in there}, routers=[one for one in ways if one.standing != NEW]
    ))  # fmt: skip
    for table, one in [(networks, row), *((ranges, one) for one in there), *((routers, one) for one in ways)]:
        if one.draft:
            session.execute(update(table).where(table.c.id == one.id).values(**one.draft, draft={}))
    mine = routers.c.network_id == key
    session.execute(update(routers).where(mine, routers.c.standing == NEW).values(standing=""))
    take_away(session, there, [one for one in ways if one.standing == GOING])
    change.audit("network.commit", f"network {row.name}", changed=[asdict(one) for one in told])
    tell_changed(change, key, run=True)
    return len(told)


def discard_in(change: Change, deployment_id: int) -> None:
    """Throw away what waits of the networks of a deployment."""
    for row in waiting_in(change.session, deployment_id):
        discard(change, row.id)


def discard(change: Change, key: int) -> int:
    """Throw away what waits of a network. Returns how much it was. Raises ``NotFound``."""
    session, row = change.session, row_of(change.session, key)
    told = [one for _, one in _of(session, [row])]
    session.execute(update(networks).where(networks.c.id == key).values(draft={}))
    session.execute(update(ranges).where(ranges.c.network_id == key).values(draft={}))
    take_away(session, ranges_of(session, key), [one for one in routers_of(session, key) if one.standing == NEW])
    session.execute(update(routers).where(routers.c.network_id == key).values(draft={}, standing=""))
    forget(session)
    if told:
        change.audit("network.discard", f"network {row.name}", discarded=[asdict(one) for one in told])
    return len(told)


def _check(row: Any, there: Sequence[Any]) -> None:
    """Whether all of it can be together: each may have been set when the others were not."""
    network = proposed(row)
    try:
        check_layers(network)
        for one in there:
            mine = proposed(one)
            if network["configure"] and one.overlap:
                raise BadInput(f"Range {one.name} may overlap with others, so the network cannot be configured.")
            check_layers({**network, **{name: mine[name] for name in LAYERS if mine[name] is not None}})
    except BadInput as error:
        raise Refused(
            f"What waits of network {row.name} cannot be committed: {error.detail} Change it, or discard it "
            f"(crowbar networks discard {row.name})."
        ) from None


def take_away(session: Any, there: Sequence[Any], going: Sequence[Any]) -> None:
    """Remove routers; what they had of the ranges ``there`` is free again."""
    for one in going:
        session.execute(delete(routers).where(routers.c.id == one.id))
        home = next((mine for mine in there if of_key(one.address) in span_of(mine)), None)
        if home is not None:
            pool.give_back(session, home.id, one.address)


# ---------------------------------------------------------------- what a plan compares with

_KEY = "crowbar_network.before"


def _note(session: Any, before: Before) -> None:
    now = session.get_transaction()
    held = session.info.get(_KEY)
    if held is None or held[0] is not now:
        held = session.info[_KEY] = (now, {})
    held[1].setdefault(before.network.id, before)


def before(session: Any) -> Mapping[int, Before]:
    """The networks whose drafts were committed in this very transaction, as they were."""
    held = session.info.get(_KEY)
    return held[1] if held is not None and held[0] is session.get_transaction() else {}
