"""Looking at what the interfaces of nodes have become: every ten minutes, at all nodes whose networks are configured.

It only looks, over the script jig's connections. What is not as it is wanted is kept in a table of its own, shown on
the node's page and the dashboard, and where ``network-NAME-drift`` says so, repaired: the network's role runs again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from crowbar_jig_script.remote import Remote
from sqlalchemy import delete, insert, select

from crowbar_core import Cluster, CrowbarError, Json, NodeRoleView, NodeView, Problem, Refresh, cluster
from crowbar_core.tables import nodes
from crowbar_network.changes import missing
from crowbar_network.jig import INVENTORY, look
from crowbar_network.layers import stack
from crowbar_network.listening import LLDPD
from crowbar_network.tables import drifts
from crowbar_network.wanted import ROLE, Config, on_machine, wanted_of

EVERY = 600.0
AT_ONCE = 16
REPAIR = "repair"


@dataclass(frozen=True, kw_only=True)
class Drift:
    """``said``: a sentence for each thing that is not as it is wanted.
    ``problem``: why nobody could look; '' when somebody has.
    """

    node: NodeView
    said: tuple[str, ...] = ()
    problem: str = ""


def observe() -> None:
    """Look at all nodes, and keep what was found."""
    here = cluster()
    look_at(here, _configured(here))


def look_at(here: Cluster, views: Mapping[int, Sequence[NodeRoleView]]) -> tuple[Drift, ...]:
    """Look at these nodes (id -> its noderoles of networks), and keep what was found."""
    asked = [there[0] for there in views.values()]
    with here.read() as session:
        wanted = wanted_of(asked, session)
    remote = Remote.of_cluster()
    pairs = [(view.node, wanted.get(view.id, {}).get("network", {})) for view in asked]
    with ThreadPoolExecutor(AT_ONCE) as several:
        found = tuple(one for one in several.map(lambda pair: _look(remote, *pair), pairs) if one is not None)
    repaired = [
        Refresh(role=view.role, node=one.node.name)
        for one in found
        if one.said and (view := _to_repair(views[one.node.id])) is not None
    ]
    with here.change() as change:
        ids = [one.node.id for one in found]
        still = set(change.session.scalars(select(nodes.c.id).where(nodes.c.id.in_(ids))).all())
        change.session.execute(delete(drifts).where(drifts.c.node_id.in_(ids)))
        rows = [
            {"node_id": one.node.id, "seen_at": change.now, "said": list(one.said), "problem": one.problem}
            for one in found
            if one.node.id in still
        ]
        if rows:
            change.session.execute(insert(drifts), rows)
        change.apply(*repaired)
    return found


def _configured(here: Cluster) -> dict[int, list[NodeRoleView]]:
    """The nodes that can be looked at, with their noderoles of networks, all of which are at rest."""
    found: dict[int, list[NodeRoleView]] = {}
    restless = set()
    for view in here.node_roles():
        if (
            view.role.startswith(ROLE)
            and view.role not in (INVENTORY, LLDPD)
            and view.node.alive
            and view.node.addresses
        ):
            if view.state == "ACTIVE":
                found.setdefault(view.node.id, []).append(view)
            elif view.state == "TRANSITION":
                restless.add(view.node.id)
    return {key: views for key, views in found.items() if key not in restless}


def _look(remote: Remote, node: NodeView, said: Mapping[str, Json]) -> Drift | None:
    """None while the node is at a change."""
    configs = [Config.of(one) for one in said.get("wanted-config", []) if one["active"]]
    if not configs:
        return Drift(node=node)
    try:
        state = look(remote, node, node.addresses[0])
        if state.busy:
            return None
        links = stack(on_machine(configs, state.nics, state.product, said.get("maps", [])))
        return Drift(node=node, said=tuple(missing(state, links)))
    except CrowbarError as problem:
        return Drift(node=node, problem=problem.detail)


def _to_repair(views: Sequence[NodeRoleView]) -> NodeRoleView | None:
    return next((view for view in views if view.data.get("network", {}).get("drift") == REPAIR), None)


def drift_of(session: Any, node_id: int) -> Any:
    """The row of ``drifts``, or None while nobody has looked."""
    return session.execute(select(drifts).where(drifts.c.node_id == node_id)).first()


def problems(session: Any) -> Iterable[Problem]:
    asked = select(nodes.c.name, drifts.c.said).join(nodes, nodes.c.id == drifts.c.node_id).order_by(nodes.c.name_key)
    for one in session.execute(asked).all():
        if one.said:
            more = f" (and {len(one.said) - 1} more)" if len(one.said) > 1 else ""
            yield Problem(
                detail=f"The interfaces of node {one.name} are not as its networks want them: {one.said[0]}{more}.",
                severity="warning",
            )
