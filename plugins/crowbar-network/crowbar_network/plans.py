"""What a plan says of networks: the addresses that nodes have or will have, and the interfaces that will be made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crowbar_core import CrowbarError, Json, NodeRoleView
from crowbar_network.layers import Link, stack
from crowbar_network.resolving import Machine, machines
from crowbar_network.wanted import Config, on_machine, wanted_of


def lines(asked: Sequence[NodeRoleView], session: Any) -> Iterator[str]:
    """One for each noderole, by node and network."""
    wanted = wanted_of(asked, session)
    known = {one.id: one for one in machines(session, ids={view.node.id for view in asked})}
    for view in sorted(asked, key=lambda one: (one.node.name, one.role)):
        said = wanted.get(view.id, {}).get("network")
        if said is not None:
            name = view.role.removeprefix("network-")
            has = f"{view.node.name} has {' and '.join(said['addresses']) or 'no address'} of network {name}"
            yield has + _interfaces(name, said, known.get(view.node.id))


def _interfaces(name: str, said: Mapping[str, Json], machine: Machine | None) -> str:
    configs = [Config.of(one) for one in said["wanted-config"]]
    if all(one.name != name for one in configs):
        return ", and no interface for it"
    if machine is None or machine.nics is None:
        return "; its cards are not known yet"
    try:
        links = stack(on_machine(configs, machine.nics, machine.product, said["maps"]))
    except CrowbarError as problem:
        return f", which cannot be: {problem.detail}"
    top = next(link for link in links if name in link.networks)
    return f" on {described(top, links)}"


def described(link: Link, links: Sequence[Link]) -> str:
    """``br-storage over bond0.100 over bond0 (802.3ad) of eth1, eth2``."""
    if link.kind == "bond":
        return f"{link.name} ({link.mode}) of {', '.join(link.over)}"
    below = next((one for one in links if one.name in link.over), None)
    return link.name if below is None else f"{link.name} over {described(below, links)}"
