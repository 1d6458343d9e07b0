"""What a plan says of networks: the addresses that nodes have or will have, and the interfaces that will be made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from crowbar_core import BadInput, CrowbarError, Json, NodeRoleView
from crowbar_core.tables import node_roles, roles
from crowbar_network.conduits import Nic
from crowbar_network.layers import Link, stack
from crowbar_network.wanted import Config, on_machine, wanted_of

INVENTORY = "network-nics"


def lines(asked: Sequence[NodeRoleView], session: Any) -> Iterator[str]:
    """One for each noderole, by node and network."""
    wanted = wanted_of(asked, session)
    cards = _cards(session, {view.node.id for view in asked})
    for view in sorted(asked, key=lambda one: (one.node.name, one.role)):
        said = wanted.get(view.id, {}).get("network")
        if said is not None:
            name = view.role.removeprefix("network-")
            has = f"{view.node.name} has {' and '.join(said['addresses']) or 'no address'} of network {name}"
            yield has + _interfaces(name, said, cards.get(view.node.id))


def _interfaces(name: str, said: Mapping[str, Json], cards: Mapping[str, Json] | None) -> str:
    configs = [Config.of(one) for one in said["wanted-config"]]
    if all(one.name != name for one in configs):
        return ", and no interface for it"
    if cards is None:
        return "; its cards are not known yet"
    nics = [Nic(**{**nic, "altnames": tuple(nic["altnames"])}) for nic in cards.get("nics", [])]
    try:
        links = stack(on_machine(configs, nics, cards.get("product", ""), said["maps"]))
    except (BadInput, CrowbarError) as problem:
        return f", which cannot be: {getattr(problem, 'detail', problem)}"
    top = next(link for link in links if name in link.networks)
    return f" on {described(top, links)}"


def described(link: Link, links: Sequence[Link]) -> str:
    """``br-storage over bond0.100 over bond0 (802.3ad) of eth1, eth2``."""
    if link.kind == "bond":
        return f"{link.name} ({link.mode}) of {', '.join(link.over)}"
    below = next((one for one in links if one.name in link.over), None)
    return link.name if below is None else f"{link.name} over {described(below, links)}"


def _cards(session: Any, node_ids: set[int]) -> dict[int, Mapping[str, Json]]:
    asked = (
        select(node_roles.c.node_id, node_roles.c.wall)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(roles.c.name == INVENTORY, node_roles.c.node_id.in_(node_ids))
    )
    known = {one.node_id: (one.wall or {}).get("network") for one in session.execute(asked).all()}
    return {key: wall for key, wall in known.items() if wall}
