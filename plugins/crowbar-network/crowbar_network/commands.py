"""`crowbar networks`, and what belongs to networks: ranges, routers, allocations, interface maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from crowbar_core import BadInput
from crowbar_core.commands import (
    DRY,
    Given,
    add_action,
    add_create,
    add_destroy,
    add_list,
    add_show,
    add_update,
    connect,
    done,
    noun,
    output,
    pair,
    plan_options,
    record,
    ref,
    rows,
    say,
    show_plan,
)
from crowbar_network import check_commands
from crowbar_network.wanted import UNCONFIGURED

LAYERS = (
    Given(name="conduit", help="Which cards: 1g1, +10g2, 1g1,1g2, mac=..., name=..., driver=..., or bmc."),
    Given(name="vlan", type=int, help="The number of its VLAN, 1 to 4094."),
    Given(name="use_vlan", type=bool, help="Its frames are tagged with the VLAN."),
    Given(name="use_bridge", type=bool, help="Its addresses are on a bridge."),
    Given(name="use_team", type=bool, help="The cards of its conduit become a bond."),
    Given(name="team_mode", type=int, help="The bond's mode, 0 to 6: 1 is active-backup, 4 is 802.3ad."),
)
OF_NETWORK = (
    Given(name="description", help="What it is for."),
    Given(name="deployment_id", help="The deployment in which, and below which, it can be used.", refers=True),
    Given(name="category", help="admin, bmc, unmanaged, or a word of your own."),
    Given(name="group", help="Networks of a group give a node the same host part."),
    *LAYERS,
    Given(name="mtu", type=int, help="The largest packet."),
    Given(name="v6prefix", help="A /64 for its IPv6 addresses, or auto."),
    Given(name="v6id", type=click.Choice(["name", "stable"]), help="What a node's IPv6 address is made from."),
    Given(name="dhcp", type=click.Choice(["own", "proxy", "none", ""]), help="Who gives addresses over DHCP: Crowbar "
          "(own), others, while Crowbar says what to boot (proxy), or others alone (none); '': as dhcp-mode says."),
    Given(name="configure", type=bool, help="Interfaces of nodes are set up for it."),
    Given(name="pbr", help="Policy routing: the name of its own way out."),
    Given(name="order", type=int, help="Networks with a lower one go first."),
)  # fmt: skip

networks = noun("networks", "Networks: their addresses, and who has them.")
add_list(
    networks, "networks", ("id", "name", "category", "group", "conduit", "vlan", "v6prefix", "deployment"),
    what="the networks", order="name",
)  # fmt: skip
add_show(networks, "networks", what="a network")
NOW = Given(name="now", type=bool, help="It counts at once; else it waits for `networks commit`, where nodes have it.")
add_update(networks, "networks", what="a network", options=(*OF_NETWORK, NOW))
add_action(
    networks, "networks", "commit", help_="Commit what was changed of networks, and have their nodes follow.",
    done="What was changed of network {name} counts now.", plans=True,
)  # fmt: skip
add_action(
    networks, "networks", "discard", help_="Throw away what was changed of networks and waits.",
    done="Network {name} stays as it is.",
)  # fmt: skip
add_destroy(networks, "networks", what="a network")
check_commands.add_to(networks)


@networks.verb("create", help="Make a network, with ranges and a router in the same call.")
@click.argument("name")
@click.option(
    "--range", "ranges", multiple=True, metavar="NAME=FIRST-LAST/PREFIX",
    help="Addresses, as host=192.168.124.81-192.168.124.254/24; may be repeated.",
)  # fmt: skip
@click.option("--router", metavar="ADDRESS/PREFIX", help="Its router, as 192.168.124.1/24.")
@click.option("--router-pref", type=int, metavar="N", help="The router with the lowest gives the default route.")
def create(name: str, ranges: tuple[str, ...], router: str | None, router_pref: int | None, **typed: Any) -> None:
    body = {one.name: one.value(typed[one.name]) for one in OF_NETWORK if typed.get(one.name) is not None}
    if ranges:
        body["ranges"] = [_range(text) for text in ranges]
    if router is not None:
        body["router"] = {"address": router} | ({} if router_pref is None else {"pref": router_pref})
    elif router_pref is not None:
        raise click.UsageError("--router-pref is about a --router: name that, too.")
    body.setdefault("category", "unmanaged")
    record(connect().post("networks", body={"name": name, **body}), output())
    category = str(body["category"])
    alone = f" It is {category}: nodes have addresses of it, and no interfaces." if category in UNCONFIGURED else ""
    say(f"Network {name} is made. Its role is network-{name}: `crowbar nodes bind NODE network-{name}`.{alone}")


create.params.extend(one.option() for one in OF_NETWORK)


def _range(text: str) -> dict[str, str]:
    """``host=192.168.124.81-192.168.124.254/24``, also with the prefix at both ends."""
    name, span = pair(text, "--range")
    first, dash, last = span.partition("-")
    if not dash:
        raise BadInput(f"--range {text}: write it as NAME=FIRST-LAST/PREFIX, host=192.168.124.81-192.168.124.254/24.")
    _, slash, prefix = last.partition("/")
    return {"name": name, "first": first if "/" in first or not slash else f"{first}/{prefix}", "last": last}


@networks.verb("allocate", help="Give nodes addresses of a network, or reserve one.")
@click.argument("name")
@click.option("--node", "nodes", multiple=True, metavar="NODE", help="Who is to have them; may be repeated.")
@click.option("--range", "range_", metavar="RANGE", help="Of just this range.")
@click.option("--address", metavar="ADDRESS", help="Just this address.")
@click.option("--reserve", metavar="WHAT", help="For what it is kept, where that is no node.")
def allocate(name: str, nodes: tuple[str, ...], range_: str | None, address: str | None, reserve: str | None) -> None:
    body: dict[str, Any] = {}
    if len(nodes) > 1:
        body["nodes"] = [ref(one) for one in nodes]
    elif nodes:
        body["node_id"] = ref(nodes[0])
    asked = {"range": range_, "suggestion": address, "reserved_for": reserve}
    body |= {key: value for key, value in asked.items() if value is not None}
    found = connect().post("networks", name, "allocate_ip", body=body)
    rows(found, ("node", "reserved_for", "address", "range", "how"), output())


@networks.verb("release", help="Give back an address, or all that a node has on a network.")
@click.argument("name")
@click.option("--address", metavar="ADDRESS", help="The address.")
@click.option("--node", metavar="NODE", help="Who has it; without an address, all of the node's go.")
def release(name: str, address: str | None, node: str | None) -> None:
    if address is None and node is None:
        raise click.UsageError("Say what is given back: --address, --node, or both.")
    client = connect()
    query = {
        "network": name,
        **({"node": node} if node else {}),
        **({"ip": address.partition("/")[0]} if address else {}),
    }
    there = list(client.rows("network_allocations", query=query))
    if not there:
        raise BadInput(f"There is no such allocation on network {name}: `crowbar network-allocations list` shows them.")
    for one in there:
        client.delete("network_allocations", one["id"])
        say(f"{one['address']} of {one['node'] or one['reserved_for']} is free again.")


@networks.verb("conduits", help="How each node resolves the conduits of the networks, and why one cannot.")
@click.option("--node", metavar="NODE", help="Only on this node.")
@click.option("--problems", is_flag=True, help="Only those that cannot be.")
def conduits(node: str | None, problems: bool) -> None:
    found = connect().get("network_conduits", query={"node": node})
    shown = [one for one in found if one["problem"] or not problems]
    rows(shown, ("node", "network", "conduit", "nics", "problem"), output())


@networks.verb("drift", help="On which nodes the interfaces are not as their networks want them, and what is proposed.")
def drift() -> None:
    found = [one for one in connect().rows("network_drifts") if one["said"] or one["problem"]]
    shown = [
        {**one, "said": "; ".join(one["said"]) or one["problem"], "proposed": one["proposed"].get("role", "")}
        for one in found
    ]
    rows(shown if output() == "table" else found, ("node", "seen_at", "said", "proposed"), output())


@networks.verb("repair", help="Accept the repair that is proposed for nodes: the network's role runs again there.")
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
def repair(nodes: tuple[str, ...]) -> None:
    client = connect()
    for node in nodes:
        client.put("network_drifts", node, "accept")
        say(f"The interfaces of node {node} are set up again.")


IN_NETWORK = Given(name="network_id", help="The network.", refers=True)
BOUNDS = (
    Given(name="first", help="Its first address, with prefix."),
    Given(name="last", help="Its last address, with prefix."),
    *LAYERS,
    Given(name="overlap", type=bool, help="Others may have the same addresses."),
)

ranges = noun("network-ranges", "Ranges of networks: from which address to which.")
add_list(ranges, "network_ranges", ("id", "network", "name", "first", "last"), what="the ranges")
add_show(ranges, "network_ranges", what="a range, by its id")
add_create(ranges, "network_ranges", what="a range", options=(IN_NETWORK, *BOUNDS))
add_update(ranges, "network_ranges", what="a range, by its id", options=(*BOUNDS, NOW))
add_destroy(ranges, "network_ranges", what="a range")

routers = noun("network-routers", "Routers of networks.")
add_list(routers, "network_routers", ("id", "network", "address", "pref"), what="the routers")
add_show(routers, "network_routers", what="a router, by its id")
add_destroy(routers, "network_routers", what="a router")


add_update(
    routers, "network_routers", what="a router, by its id",
    options=(Given(name="pref", type=int, help="The lowest gives the default route."), NOW),
)  # fmt: skip


@routers.verb("create", help="Give a network a router.")
@click.argument("network")
@click.argument("address")
@click.option("--pref", type=int, metavar="N", help="The lowest gives the default route.")
def create_router(network: str, address: str, pref: int | None) -> None:
    body = {"network_id": ref(network), "address": address} | ({} if pref is None else {"pref": pref})
    done(connect().post("network_routers", body=body), f"Network {network} has the router {address}.")


allocations = noun("network-allocations", "Addresses that nodes have, and those that are reserved.")
add_list(
    allocations, "network_allocations", ("id", "network", "range", "address", "node", "reserved_for"),
    what="the allocations", filters={"network": "Only of this network.", "node": "Only those of this node."},
)  # fmt: skip
add_show(allocations, "network_allocations", what="an allocation, by its id")
add_update(
    allocations, "network_allocations", what="a reservation, by its id",
    options=[Given(name="reserved_for", help="What the address is reserved for.")],
)  # fmt: skip
add_destroy(allocations, "network_allocations", what="an allocation")

maps = noun("interface-maps", "In which order kinds of machines have their buses.")
OF_MAP = (
    Given(name="buses", multiple=True, help="The beginning of a bus path; may be repeated, the first card's first."),
    Given(name="order", type=int, help="Those with a lower one are tried first."),
)
add_list(maps, "interface_maps", ("id", "pattern", "buses", "order"), what="the interface maps")
add_show(maps, "interface_maps", what="an interface map")
add_destroy(maps, "interface_maps", what="an interface map", plans=True)


@maps.verb("create", help="Say in which order machines of a kind have their buses; nodes whose conduits follow run.")
@click.argument("pattern")
@plan_options
def create_map(pattern: str, plan: bool, every: bool, **typed: Any) -> None:
    body = {"pattern": pattern} | _of_map(typed)
    if plan:
        show_plan(connect().post("interface_maps", body=body, query=DRY), every=every)
        return
    done(connect().post("interface_maps", body=body), f"The map for {pattern} is made.")


@maps.verb("update", help="Change an interface map, by its id or pattern; what is not named stays.")
@click.argument("name")
@plan_options
def update_map(name: str, plan: bool, every: bool, **typed: Any) -> None:
    if not (body := _of_map(typed)):
        raise click.UsageError("Say what to change: --buses, --order.")
    if plan:
        show_plan(connect().patch("interface_maps", name, body=body, query=DRY), every=every)
        return
    done(connect().patch("interface_maps", name, body=body), f"The map {name} is changed.")


def _of_map(typed: Mapping[str, Any]) -> dict[str, Any]:
    return {one.name: one.value(typed[one.name]) for one in OF_MAP if typed.get(one.name) not in (None, ())}


for _one in (create_map, update_map):
    _one.params.extend(given.option() for given in OF_MAP)
