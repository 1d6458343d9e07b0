"""What a plan says of networks: the addresses that nodes have or will have, the interfaces that will be made, and of a
network whose drafts are committed, or an interface map that is changed, what each node has now and will have then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from crowbar_core import CrowbarError, Json, NodeRoleView
from crowbar_network import remapping
from crowbar_network.drafts import before
from crowbar_network.layers import Link, stack
from crowbar_network.resolving import Machine, machines
from crowbar_network.wanted import Config, on_machine, wanted_of

NOTHING = "none"


def lines(asked: Sequence[NodeRoleView], session: Any) -> Iterator[str]:
    """One for each noderole, by node and network."""
    wanted, was, maps = wanted_of(asked, session), before(session), remapping.before(session)
    changed = {one.network.name for one in was.values()}
    others = [view for view in asked if maps is not None or _network(view) in changed]
    earlier = wanted_of(others, session, was) if others else {}
    known = {one.id: one for one in machines(session, ids={view.node.id for view in asked})}
    for view in sorted(asked, key=lambda one: (one.node.name, one.role)):
        said = wanted.get(view.id, {}).get("network")
        if said is not None:
            name, machine = _network(view), known.get(view.node.id)
            old = earlier.get(view.id, {}).get("network")
            if old is not None and maps is not None:
                old = {**old, "maps": maps}
            if old is not None and (differs := _differs(_facts(name, old, machine), _facts(name, said, machine))):
                yield f"{view.node.name}, network {name}: {differs}"
            else:
                has = f"{view.node.name} has {' and '.join(said['addresses']) or 'no address'} of network {name}"
                yield has + _interfaces(name, said, machine)


def _network(view: NodeRoleView) -> str:
    return view.role.removeprefix("network-")


def _interfaces(name: str, said: Mapping[str, Json], machine: Machine | None) -> str:
    if all(one["name"] != name for one in said["wanted-config"]):
        return ", and no interface for it"
    if machine is None or machine.nics is None:
        return "; its cards are not known yet"
    try:
        links = _links(name, said, machine)
    except CrowbarError as problem:
        return f", which cannot be: {problem.detail}"
    top = next(link for link in links if name in link.networks)
    return f" on {described(top, links)}"


def _links(name: str, said: Mapping[str, Json], machine: Machine) -> tuple[Link, ...]:
    """What the node's interfaces will be with that network: as its runs make them, of which each leaves out networks
    that are not there yet, and what cannot be keeps away from the others. Raises ``CrowbarError`` with why it cannot.
    """
    configs = [Config.of(one) for one in said["wanted-config"]]

    def made(those: Collection[Config]) -> tuple[Link, ...]:
        return stack(on_machine(those, machine.nics or (), machine.product, said["maps"]))

    try:
        return made(configs)
    except CrowbarError:
        taken = [one for one in configs if one.active]
    for one in configs:
        if not one.active:
            try:
                made([*taken, one])
            except CrowbarError:
                if one.name == name:
                    raise
            else:
                taken.append(one)
    return made(taken)


def _differs(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    said = [
        f"{name} {old.get(name, NOTHING)} -> {new.get(name, NOTHING)}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name, NOTHING) != new.get(name, NOTHING)
    ]
    return "; ".join(said)


def _facts(name: str, said: Mapping[str, Json], machine: Machine | None) -> dict[str, str]:
    """What a node has of a network, in words; of a network that is not configured nothing but its addresses."""
    addresses = " and ".join(said["addresses"]) or NOTHING
    mine = next((Config.of(one) for one in said["wanted-config"] if one["name"] == name), None)
    if mine is None:
        return {"interface": NOTHING, "addresses": addresses}
    facts = {"interface": _conduit(mine), "addresses": addresses}
    if machine is not None and machine.nics is not None:
        try:
            links = _links(name, said, machine)
        except CrowbarError as problem:
            facts["interface"] = f"cannot be ({problem.detail.rstrip('.')})"
        else:
            top = next(link for link in links if name in link.networks)
            facts["interface"] = described(top, links)
            facts["routes"] = ", ".join(_routes(top)) or NOTHING
    facts["MTU"] = str(mine.mtu or "as it is")
    facts["routers"] = ", ".join(f"{address} (preference {pref})" for address, pref in mine.routers) or NOTHING
    facts["policy routing"] = "yes" if mine.pbr else "no"
    return facts


def _routes(link: Link) -> Iterator[str]:
    for one in link.routes:
        yield one.to + (f" via {one.via}" if one.via else "") + (f" in table {one.table}" if one.table else "")


def _conduit(mine: Config) -> str:
    """Where nobody knows the node's cards yet."""
    parts = [f"conduit {mine.conduit or NOTHING}"]
    parts += [f"as a bond of mode {mine.team_mode}"] if mine.team_mode is not None else []
    parts += [f"VLAN {mine.vlan}"] if mine.vlan is not None else []
    return ", ".join([*parts, *(["with a bridge"] if mine.bridge else [])])


def described(link: Link, links: Sequence[Link]) -> str:
    """``br-storage over bond0.100 over bond0 (802.3ad) of eth1, eth2``."""
    if link.kind == "bond":
        return f"{link.name} ({link.mode}) of {', '.join(link.over)}"
    below = next((one for one in links if one.name in link.over), None)
    return link.name if below is None else f"{link.name} over {described(below, links)}"
