"""The pages of networks: all, and one with its ranges and addresses; and what a node's page says of its addresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, request
from sqlalchemy import func, select
from werkzeug.wrappers import Response as Answer

from crowbar_core import NodeView, Panel, cluster, requires
from crowbar_core.pages import Action, Column, Form, Input, act, form_body, fragment, page, row, rows
from crowbar_core.rest import DEPLOYMENTS, Description, found_id, resolve
from crowbar_network import drafts, drift, hints, networks, ranges, releasing
from crowbar_network.addressing import of_key
from crowbar_network.bars import Bar, bar
from crowbar_network.layers import MODES
from crowbar_network.listings import ALLOCATIONS, NETWORKS, ROUTERS
from crowbar_network.rest import Address, Layers, NetworkName, NewNetwork, NewRange, NewRouter, WhoServes, Word
from crowbar_network.rest_allocations import Asked, allocated
from crowbar_network.tables import allocations
from crowbar_network.tables import networks as table
from crowbar_network.telling import ranges_of, role_of, routers_of

pages = Blueprint("network_pages", __name__, template_folder="templates")

COLUMNS = (
    Column(name="name", label="Network", href="/networks/{name}"),
    Column(name="category", label="Category"),
    Column(name="group", label="Group"),
    Column(name="conduit", label="Conduit", kind="code"),
    Column(name="vlan", label="VLAN", kind="number"),
    Column(name="v6prefix", label="IPv6 prefix", kind="code"),
    Column(name="deployment", label="Deployment", href="/deployments/{deployment_id}"),
    Column(name="given", label="Addresses in use", kind="number"),
)
FACTS = (
    Column(name="description", label="Description"),
    Column(name="category", label="Category"),
    Column(name="group", label="Group"),
    Column(name="deployment", label="Deployment", href="/deployments/{deployment_id}"),
    Column(name="conduit", label="Conduit", kind="code", href="/network-conduits"),
    Column(name="vlan", label="VLAN"),
    Column(name="use_vlan", label="Tagged"),
    Column(name="use_team", label="Bond"),
    Column(name="team_mode", label="Bond's mode"),
    Column(name="use_bridge", label="Bridge"),
    Column(name="mtu", label="MTU"),
    Column(name="v6prefix", label="IPv6 prefix", kind="code"),
    Column(name="dhcp", label="DHCP"),
    Column(name="configure", label="Interfaces are set up"),
)
HELD = (
    Column(name="address", label="Address", kind="code"),
    Column(name="range", label="Range"),
    Column(name="node", label="Node", href="/nodes/{node_id}"),
    Column(name="reserved_for", label="Reserved for"),
)
FILTERS = (
    Input(name="name", label="Network"),
    Input(name="category", label="Category"),
    Input(name="group", label="Group"),
)
HELD_FILTERS = (
    Input(name="node", label="Node"),
    Input(name="ip", label="Address"),
    Input(name="range", label="Range"),
)
YES_OR_NO = (("", "–"), ("true", "yes"), ("false", "no"))
WHO_SERVES = (
    ("", "as dhcp-mode says"), ("own", "of Crowbar's servers"), ("proxy", "of others, boot files of Crowbar"),
    ("none", "of others, and boot files too"),
)  # fmt: skip
BOND_MODES = (("", "–"), *((str(number), f"{number} {name}") for number, name in enumerate(MODES)))
WAYS = (
    ("/networks", "Networks"),
    ("/network-map", "Map"),
    ("/network-conduits", "Conduits"),
    ("/network-wires", "Wires"),
    ("/interface-maps", "Interface maps"),
)


class FormOfNetwork(Layers):
    """What the form for a network asks for: the first range and the router are part of it."""

    name: NetworkName
    category: Word = "unmanaged"
    v6prefix: Address | None = None
    first: Address | None = None
    last: Address | None = None
    router: Address | None = None


class FormOfChange(Layers):
    description: Description = ""
    mtu: int | None = None
    configure: bool = True
    dhcp: WhoServes = ""


@pages.get("/networks")
@requires("viewer")
def listed() -> Response:
    shown = rows(NETWORKS, filters=[one.name for one in FILTERS], sort="name")
    with cluster().read() as session:
        count = select(allocations.c.network_id, func.count()).group_by(allocations.c.network_id)
        given = {row[0]: row[1] for row in session.execute(count).all()}
    items = [{**one, "given": given.get(one["id"], 0)} for one in shown.items]
    return page(
        "crowbar_network/networks.html", title="Networks", rows=shown, items=items, columns=COLUMNS, filters=FILTERS,
        forms=(_new_network(),), ways=WAYS,
    )  # fmt: skip


@pages.get("/networks/<network>")
@requires("viewer")
def show(network: str) -> Response:
    one = row(NETWORKS, network)
    url, name = f"/networks/{one['id']}", one["name"]
    held = rows(ALLOCATIONS, filters=[one.name for one in HELD_FILTERS], where=(allocations.c.network_id == one["id"],))
    routers = rows(ROUTERS, where=(ROUTERS.fields[1].column == one["id"],))
    api = f"/api/v2/networks/{name}"
    remove = Action(
        label="Remove", url=f"{url}/remove", api=f"DELETE {api}", cli=f"crowbar networks destroy {name}", kind="danger"
    )
    return page(
        "crowbar_network/network.html", network=one, facts=FACTS, bars=bars_of(one["id"]), held=held, columns=HELD,
        routers=routers.items, actions=[remove], forms=_forms(one, url, api), role=role_of(name), ways=WAYS,
        filters=HELD_FILTERS, ways_of_drafts=[
            {"label": label, "api": f"PUT {api}/{verb}", "cli": f"crowbar networks {verb} {name}"}
            for label, verb in (("Commit", "commit"), ("Discard", "discard"))
        ],
    )  # fmt: skip


def bars_of(network_id: int) -> list[Bar]:
    """The network's ranges, each with what is taken of it."""
    with cluster().read() as session:
        taken = select(allocations.c.range_id, allocations.c.address, allocations.c.node_id)
        found = session.execute(taken.where(allocations.c.network_id == network_id)).all()
        routers = [one.address for one in routers_of(session, network_id)]
        return [
            bar(
                one,
                [held.address for held in found if held.range_id == one.id and held.node_id is not None],
                [held.address for held in found if held.range_id == one.id and held.node_id is None],
                routers,
            )
            for one in ranges_of(session, network_id)
        ]


# ---------------------------------------------------------------- forms


def _new_network() -> Form:
    return Form(
        title="Make a network", url="/networks", label="Make",
        inputs=(
            Input(name="name", label="Name", required=True, placeholder="storage", size=12),
            Input(name="category", label="Category", value="unmanaged", size=12, required=True),
            Input(name="conduit", label="Conduit", placeholder="1g1", size=10),
            Input(name="vlan", label="VLAN", kind="number", size=6),
            Input(name="first", label="First address of range host", placeholder="10.0.0.10/24", size=18),
            Input(name="last", label="Last address", placeholder="10.0.0.250/24", size=18),
            Input(name="router", label="Router", placeholder="10.0.0.1/24", size=18),
            Input(name="v6prefix", label="IPv6 prefix", placeholder="auto", size=22),
        ),
        api='POST /api/v2/networks {"name": "storage", "category": "storage", "ranges": [...], "router": {...}}',
        cli="crowbar networks create storage --range host=10.0.0.10-10.0.0.250/24 --router 10.0.0.1/24",
    )  # fmt: skip


def _forms(one: Mapping[str, Any], url: str, api: str) -> Sequence[Form]:
    name = one["name"]
    likely = {**one, **{draft["field"]: draft["new"] for draft in one["drafts"] if draft["of"] == "network"}}
    return (
        Form(
            title="Give a node its addresses", url=f"{url}/allocate", label="Give",
            inputs=(
                Input(name="node_id", label="Node", required=True, placeholder="web1.rack2.example.com", size=26),
                Input(name="suggestion", label="Just this address", placeholder="the first that is free", size=20),
            ),
            api=f'POST {api}/allocate_ip {{"node_id": "NODE"}}', cli=f"crowbar networks allocate {name} --node NODE",
        ),
        Form(
            title="Reserve an address", url=f"{url}/reserve", label="Reserve",
            inputs=(
                Input(name="reserved_for", label="For", required=True, placeholder="the printer", size=22),
                Input(name="suggestion", label="Just this address", placeholder="the first that is free", size=20),
            ),
            api=f'POST {api}/allocate_ip {{"reserved_for": "the printer"}}',
            cli=f"crowbar networks allocate {name} --reserve 'the printer'",
        ),
        Form(
            title="Add a range", url=f"{url}/ranges", label="Add",
            inputs=(
                Input(name="name", label="Name", required=True, value="host", size=10),
                Input(name="first", label="First address", required=True, placeholder="10.0.0.10/24", size=18),
                Input(name="last", label="Last address", required=True, placeholder="10.0.0.250/24", size=18),
            ),
            api=f'POST {api}/network_ranges {{"name": "host", "first": "10.0.0.10/24", "last": "10.0.0.250/24"}}',
            cli=f"crowbar network-ranges create host --network {name} --first 10.0.0.10/24 --last 10.0.0.250/24",
        ),
        Form(
            title="Add a router", url=f"{url}/routers", label="Add",
            inputs=(
                Input(name="address", label="Address", required=True, placeholder="10.0.0.1/24", size=18),
                Input(name="pref", label="Preference", kind="number", value="65536", size=7),
            ),
            api=f'POST {api}/network_routers {{"address": "10.0.0.1/24"}}',
            cli=f"crowbar network-routers create {name} 10.0.0.1/24",
        ),
        Form(
            title="Change", url=f"{url}/change",
            inputs=(
                Input(name="description", label="Description", value=one["description"], size=30),
                Input(name="conduit", label="Conduit", value=likely["conduit"] or "", size=12),
                Input(name="vlan", label="VLAN", kind="number", value=_text(likely["vlan"]), size=6),
                *(Input(name=field, label=label, value=_text(likely[field]), choices=YES_OR_NO)
                  for field, label in (("use_vlan", "Tagged"), ("use_bridge", "Bridge"), ("use_team", "Bond"))),
                Input(name="team_mode", label="Bond's mode", value=_text(likely["team_mode"]), choices=BOND_MODES),
                Input(name="mtu", label="MTU", kind="number", value=_text(likely["mtu"]), size=6),
                Input(name="configure", label="Set up on nodes", value=_text(likely["configure"]),
                      choices=YES_OR_NO[1:]),
                Input(name="dhcp", label="Addresses over DHCP", value=one["dhcp"], choices=WHO_SERVES),
            ),
            api=f"PATCH {api}", cli=f"crowbar networks update {name}",
        ),
    )  # fmt: skip


def _text(value: Any) -> str:
    return "" if value is None else str(value).lower()


@pages.post("/networks")
@requires("operator")
def create() -> Answer:
    return act(_create, lambda name: f"Network {name} is made, and its role {role_of(name)}.", "/networks")


def _create() -> str:
    said = form_body(FormOfNetwork)
    body: dict[str, Any] = said.model_dump(exclude={"first", "last", "router"})
    if said.vlan is not None:
        body["use_vlan"] = True
    values = NewNetwork(**body).model_dump(exclude={"ranges", "router"})
    values["deployment_id"] = resolve(DEPLOYMENTS, values["deployment_id"], "deployment_id")
    spanned = {"name": "host", "first": said.first or "", "last": said.last or ""}
    with cluster().change() as change:
        networks.create(
            change, values, given_ranges=[spanned] if said.first or said.last else [],
            given_router={"address": said.router} if said.router else None,
        )  # fmt: skip
    return said.name


@pages.post("/networks/<int:network>/change")
@requires("operator")
def change_network(network: int) -> Answer:
    def work() -> bool:
        said = form_body(FormOfChange).model_dump()
        with cluster().change() as change:
            networks.alter(change, network, {name: said[name] for name in said if name in request.form})
            return bool(drafts.drafts_of(change.session, [network]))

    return act(work, _changed, f"/networks/{network}")


def _changed(waits: bool) -> str:
    return "It is kept as a draft: commit it, and nodes that have the network follow." if waits else "It is changed."


@pages.post("/networks/<int:network>/remove")
@requires("operator")
def remove(network: int) -> Answer:
    def work() -> None:
        with cluster().change() as change:
            networks.remove(change, network)

    there = found_id(NETWORKS, network)
    answer = act(work, "The network is gone, and its role.", "/networks")
    with cluster().read() as session:
        if session.scalar(select(table.c.id).where(table.c.id == there)) is None:
            answer.headers["Location"] = "/networks"
    return answer


@pages.post("/networks/<int:network>/allocate")
@requires("operator")
def allocate(network: int) -> Answer:
    def work() -> str:
        said = form_body(Asked)
        found = allocated(network, Asked(node_id=said.node_id, suggestion=said.suggestion or None))
        return " and ".join(one["address"] for one in found) or "no address: no range is for nodes"

    return act(work, lambda has: f"The node has {has}.", f"/networks/{network}")


@pages.post("/networks/<int:network>/reserve")
@requires("operator")
def reserve(network: int) -> Answer:
    def work() -> str:
        said = form_body(Asked)
        found = allocated(network, Asked(reserved_for=said.reserved_for, suggestion=said.suggestion or None))
        return str(found[0]["address"])

    return act(work, lambda address: f"{address} is reserved.", f"/networks/{network}")


@pages.post("/network-allocations/<int:allocation>/release")
@requires("operator")
def release(allocation: int) -> Answer:
    def work() -> str:
        with cluster().change() as change:
            return releasing.release(change, allocation).address

    return act(work, lambda address: f"{address} is free again.", "/networks")


@pages.post("/networks/<int:network>/ranges")
@requires("operator")
def add_range(network: int) -> Answer:
    def work() -> None:
        said = form_body(NewRange)
        with cluster().change() as change:
            ranges.add_range(change, network, said.model_dump())

    return act(work, "The range is added.", f"/networks/{network}")


@pages.post("/network-ranges/<int:network_range>/remove")
@requires("operator")
def remove_range(network_range: int) -> Answer:
    def work() -> None:
        with cluster().change() as change:
            ranges.remove_range(change, network_range)

    return act(work, "The range is gone.", "/networks")


@pages.post("/networks/<int:network>/routers")
@requires("operator")
def add_router(network: int) -> Answer:
    def work() -> bool:
        said = form_body(NewRouter)
        with cluster().change() as change:
            ranges.add_router(change, network, said.model_dump())
            return bool(drafts.drafts_of(change.session, [network]))

    return act(work, _changed, f"/networks/{network}")


@pages.post("/network-routers/<int:router>/remove")
@requires("operator")
def remove_router(router: int) -> Answer:
    def work() -> bool:
        with cluster().change() as change:
            network = ranges.remove_router(change, router)
            return bool(drafts.drafts_of(change.session, [network]))

    return act(work, _changed, "/networks")


@pages.post("/network-drifts/<int:node>/accept")
@requires("operator")
def accept_repair(node: int) -> Answer:
    def work() -> str:
        with cluster().change() as change:
            return drift.accept(change, node)

    return act(work, lambda said: f"The interfaces are set up again; it was found that {said}.", f"/nodes/{node}")


# ---------------------------------------------------------------- on a node's page


def _on_node(node: NodeView) -> Any:
    """Its addresses, hints that say otherwise, and what was found otherwise at its interfaces."""
    if node.system:
        return None
    with cluster().read() as session:
        mine = (
            select(table.c.name.label("network"), allocations.c.address, allocations.c.prefix, allocations.c.network_id)
            .join(table, table.c.id == allocations.c.network_id)
            .where(allocations.c.node_id == node.id)
            .order_by(table.c.order, table.c.name, allocations.c.address)
        )
        held = [
            {"network": one.network, "address": f"{of_key(one.address)}/{one.prefix}", "version": int(one.address[0])}
            for one in session.execute(mine).all()
        ]
        seen = drift.drift_of(session, node.id)
    said = [text for one in held if (text := _differs(node, one))]
    if not held and seen is None:
        return None
    repair = {
        "label": "Repair", "api": f"PUT /api/v2/network_drifts/{node.name}/accept",
        "cli": f"crowbar networks repair {node.name}",
    }  # fmt: skip
    return fragment("crowbar_network/_node.html", held=held, said=said, seen=seen, node_id=node.id, repair=repair)


def _differs(node: NodeView, one: Mapping[str, Any]) -> str:
    name = hints.hint_name(one["network"], one["version"])
    hint = hints.hint_of(node, one["network"], one["version"])
    if hint is None or not hints.differs(hint, one["address"]):
        return ""
    return f"The hint {name} says {hint}: unbind {role_of(one['network'])} and bind it again, and it has that."


PANEL = Panel(on="node", title="Networks", render=_on_node, order=100)
