"""Looking at what the interfaces of nodes have become: every ten minutes, at all nodes whose networks are configured.

It only looks, over the script jig's connections. What is not as it is wanted is kept in a table of its own, shown on
the node's page and the dashboard, and where ``network-NAME-drift`` says so, repaired: the network's role runs again, at
once or when somebody has accepted that (``propose``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from crowbar_jig_script.remote import Remote
from sqlalchemy import delete, insert, select

from crowbar_core import Change, Cluster, CrowbarError, Json, NodeRoleView, NodeView, Problem, Refresh, Refused, cluster
from crowbar_core.tables import nodes
from crowbar_network.changes import faults, way, with_left
from crowbar_network.jig import look
from crowbar_network.layers import stack, standing_on
from crowbar_network.tables import drifts
from crowbar_network.telling import OWN_ROLES
from crowbar_network.wanted import ROLE, Config, on_machine, wanted_of

EVERY = 600.0
AT_ONCE = 16
SHOW, PROPOSE, REPAIR = POLICIES = ("show", "propose", "repair")
"""What is done about what is wrong with a network; of several that share it, the last of these counts."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """``said``: a sentence for each thing that is not as it is wanted.
    ``problem``: why nobody could look; '' when somebody has. ``commands``: those for `ip` that would mend it; where
    there is none (a cable is out), nothing is proposed. ``of``: sentence -> the networks that want it mended, which are
    none where no command does it; without an entry, all of the node's.
    """

    node: NodeView
    said: tuple[str, ...] = ()
    problem: str = ""
    commands: tuple[str, ...] = ()
    of: Mapping[str, Collection[str]] = field(default_factory=dict)

    def concerns(self, network: str) -> bool:
        return any(network in self.of.get(one, (network,)) for one in self.said)


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
    with here.change() as change:
        keep(change, found, views)
    return found


def keep(change: Change, found: Sequence[Drift], views: Mapping[int, Sequence[NodeRoleView]]) -> None:
    """Write down what was found at nodes (id -> its noderoles of networks), and do about it what the networks say."""
    ids = [one.node.id for one in found]
    still = set(change.session.scalars(select(nodes.c.id).where(nodes.c.id.in_(ids))).all())
    change.session.execute(delete(drifts).where(drifts.c.node_id.in_(ids)))
    rows, repaired = [], []
    for one in found:
        if one.node.id not in still:
            continue
        concerned = [view for view in views[one.node.id] if one.concerns(view.role.removeprefix(ROLE))]
        policy, role = _policy(concerned)
        proposed = {}
        if policy == REPAIR:
            repaired.append(Refresh(role=role, node=one.node.name))
        elif one.commands and policy == PROPOSE:
            proposed = {"role": role, "commands": list(one.commands)}
        rows.append({
            "node_id": one.node.id, "seen_at": change.now, "said": list(one.said), "problem": one.problem,
            "proposed": proposed,
        })  # fmt: skip
    if rows:
        change.session.execute(insert(drifts), rows)
    change.apply(*repaired)


def accept(change: Change, node_id: int) -> str:
    """Repair the interfaces of a node as it was proposed; returns what was wrong first. Raises ``Refused`` when nothing
    is proposed there.
    """
    session = change.session
    name = session.scalar(select(nodes.c.name).where(nodes.c.id == node_id))
    row = drift_of(session, node_id)
    if name is None or row is None or not row.proposed:
        raise Refused(
            f"No repair is proposed for the interfaces of node {name or node_id}: nothing was found otherwise, or its "
            "networks do not say propose (network-NAME-drift). To have a network set up again, refresh its role there."
        )
    change.apply(Refresh(role=row.proposed["role"], node=name))
    session.execute(delete(drifts).where(drifts.c.node_id == node_id))  # until somebody has looked again
    change.audit("network_drift.accept", f"node {name}", said=row.said, commands=row.proposed["commands"])
    return str(row.said[0])


def _configured(here: Cluster) -> dict[int, list[NodeRoleView]]:
    """The nodes that can be looked at, with their noderoles of networks, all of which are at rest."""
    found: dict[int, list[NodeRoleView]] = {}
    restless = set()
    for view in here.node_roles():
        if view.role.startswith(ROLE) and view.role not in OWN_ROLES and view.node.alive and view.node.addresses:
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
        found, on = faults(state, with_left(state, links, state.ours)), standing_on(links)
        return Drift(
            node=node,
            said=tuple(one.said for one in found),
            commands=way(state, links, ours=state.ours).forward,
            of={one.said: on[one.link] if one.mends else () for one in found if not one.mends or one.link in on},
        )
    except CrowbarError as problem:
        return Drift(node=node, problem=problem.detail)


def _policy(views: Sequence[NodeRoleView]) -> tuple[str, str]:
    """What is done for these, and the role that says so."""
    found = SHOW, ""
    for view in views:
        policy = view.data.get("network", {}).get("drift", SHOW)
        if policy in POLICIES and POLICIES.index(policy) > POLICIES.index(found[0]):
            found = policy, view.role
    return found


def drift_of(session: Any, node_id: int) -> Any:
    """The row of ``drifts``, or None while nobody has looked."""
    return session.execute(select(drifts).where(drifts.c.node_id == node_id)).first()


def problems(session: Any) -> Iterable[Problem]:
    asked = (
        select(nodes.c.name, drifts.c.said, drifts.c.proposed)
        .join(nodes, nodes.c.id == drifts.c.node_id)
        .order_by(nodes.c.name_key)
    )
    for one in session.execute(asked).all():
        if one.said:
            more = f" (and {len(one.said) - 1} more)" if len(one.said) > 1 else ""
            way_out = f" A repair is proposed: crowbar networks repair {one.name} accepts it." if one.proposed else ""
            yield Problem(
                detail=f"The interfaces of node {one.name} are not as its networks want them: {one.said[0]}{more}."
                f"{way_out}",
                severity="warning",
            )
