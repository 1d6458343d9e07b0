"""What becomes of nodes when interface maps change: networks whose conduits then mean other cards run again there, and
the plan of it says which cards those were and will be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from crowbar_core import Change, Json, NodeRoleView, NodeView, Refresh
from crowbar_core.tables import node_roles, nodes, roles
from crowbar_network.conduits import Nic, in_order, parse, resolve
from crowbar_network.resolving import Machine, as_maps, machines
from crowbar_network.tables import networks
from crowbar_network.wanted import ROLE, wanted_of

_KEY = "crowbar_network.maps"


def follow(change: Change, was: Sequence[Any]) -> None:
    """``was``: the rows of the interface maps before the change."""
    session = change.session
    _note(session, [{"pattern": one.pattern, "buses": one.buses.split("\n")} for one in was])
    maps = as_maps(was)
    moved: dict[int, tuple[Machine, tuple[Nic, ...]]] = {}
    for one in machines(session):
        before = in_order(one.nics or (), product=one.product, maps=maps)
        if one.nics is not None and before != one.nics:
            moved[one.id] = (one, before)
    views = [one for one in _views(session) if one.node.id in moved]
    wanted = wanted_of(views, session) if views else {}
    for view in views:
        machine, before = moved[view.node.id]
        said = wanted.get(view.id, {}).get("network", {}).get("wanted-config", [])
        conduit = next((one["conduit"] for one in said if ROLE + one["name"] == view.role), "")
        if conduit and _cards(conduit, before) != _cards(conduit, machine.nics or ()):
            change.apply(Refresh(role=view.role, node=view.node.name))


def _cards(conduit: str, nics: Sequence[Nic]) -> list[str]:
    return [nic.name for nic in resolve(parse(conduit), nics).nics]


def _views(session: Any) -> list[NodeRoleView]:
    """The noderoles of networks that are committed: what is asked of them needs no more than this."""
    asked = (
        select(node_roles.c.id, node_roles.c.node_id, nodes.c.name, roles.c.name.label("role"))
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(networks, roles.c.name == ROLE + networks.c.name)
        .where(node_roles.c.committed)
        .order_by(nodes.c.name_key, networks.c.order, networks.c.name)
    )
    return [
        NodeRoleView(
            id=one.id, node=NodeView(id=one.node_id, name=one.name), role=one.role, deployment="", state=""
        )
        for one in session.execute(asked).all()
    ]  # fmt: skip


def _note(session: Any, maps: list[Json]) -> None:
    now = session.get_transaction()
    held = session.info.get(_KEY)
    if held is None or held[0] is not now:
        session.info[_KEY] = (now, maps)


def before(session: Any) -> list[Json] | None:
    """The interface maps as they were before they were changed in this very transaction; None: they were not."""
    held = session.info.get(_KEY)
    return held[1] if held is not None and held[0] is session.get_transaction() else None
