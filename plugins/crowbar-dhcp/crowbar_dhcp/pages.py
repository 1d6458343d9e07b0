"""The pages of DHCP: what nodes are told and why, servers, leases; and what a node's own page says of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import select
from werkzeug.wrappers import Response as Answer

from crowbar_core import NodeView, Panel, cluster, requires
from crowbar_core.pages import Action, Column, Input, act, fragment, page, row, rows
from crowbar_dhcp import database, facts, foreign
from crowbar_dhcp.leases import leases
from crowbar_dhcp.listings import HOSTS
from crowbar_dhcp.services import all_services
from crowbar_dhcp.serving import FIRMWARES, NONE, OWN, PROXY
from crowbar_dhcp.tables import faults, hosts

pages = Blueprint("dhcp_pages", __name__, template_folder="templates")

COLUMNS = (
    Column(name="name", label="Node", href="/dhcp/{id}"),
    Column(name="macs", label="MACs", kind="code"),
    Column(name="v4addr", label="IPv4", kind="code"),
    Column(name="v6addr", label="IPv6", kind="code"),
    Column(name="bootenv", label="Is to boot"),
    Column(name="served_bootenv", label="Is told"),
    Column(name="problem", label="What is not served"),
)
LEASES = (
    Column(name="address", label="Address", kind="code"),
    Column(name="mac", label="MAC", kind="code"),
    Column(name="node", label="Node", href="/nodes/{node}"),
    Column(name="hostname", label="Name that it gives"),
    Column(name="until", label="Until"),
    Column(name="dhcp_server", label="Server"),
)
FILTERS = (
    Input(name="name", label="Node"),
    Input(name="v4addr", label="IPv4"),
    Input(name="bootenv", label="Is to boot"),
)
SERVED = {
    (OWN, 4): "addresses and boot files", (OWN, 6): "addresses and boot files",
    (PROXY, 4): "boot files alone: others give the addresses", (PROXY, 6): "nothing: beside others, only over IPv4",
    (NONE, 4): "nothing: others do", (NONE, 6): "nothing: others do",
}  # fmt: skip
"""What Crowbar's servers tell machines in a subnet, by who gives addresses there and by family."""
WAYS = (("/dhcp", "Reservations"), ("/dhcp-leases", "Leases"))


@pages.get("/dhcp")
@requires("viewer")
def overview() -> Response:
    shown = rows(HOSTS, filters=[one.name for one in FILTERS], sort="name")
    with cluster().read() as session:
        several = all_services(session)
        said = session.execute(select(faults).where(faults.c.on == "network").order_by(faults.c.id)).all()
        strange = [one.detail for one in foreign.problems(session)]
    compare = Action(
        label="Compare now", url="/dhcp/compare", api="POST /api/v2/dhcp_servers/compare",
        cli="crowbar dhcp-servers compare",
    )  # fmt: skip
    return page(
        "crowbar_dhcp/dhcp.html", title="DHCP", rows=shown, columns=COLUMNS, filters=FILTERS, ways=WAYS,
        items=[{**one, "macs": ", ".join(one["mac_addrs"])} for one in shown.items], services=several,
        faults=said, foreign=strange, subnets=_subnets(),
        actions=[compare], note="" if facts.ask(facts.SUBNETS) is not None else facts.WITHOUT_NETWORKS,
    )  # fmt: skip


@pages.get("/dhcp/<node>")
@requires("viewer")
def show(node: str) -> Response:
    """What it would be told at boot, and why."""
    one = row(HOSTS, node)
    return page("crowbar_dhcp/host.html", title=one["name"], host=one, boots=_boots(one), ways=WAYS)


@pages.get("/dhcp-leases")
@requires("viewer")
def all_leases() -> Response:
    found, problems = leases()
    for one in found:
        one["until"] = f"{datetime.fromtimestamp(one['until'], UTC):%Y-%m-%d %H:%M:%S} UTC"
    return page("crowbar_dhcp/leases.html", title="Leases", leases=found, columns=LEASES, problems=problems, ways=WAYS)


@pages.post("/dhcp/compare")
@requires("operator")
def compare() -> Answer:
    return act(database.compare_everything, "What the servers have is compared.", "/dhcp")


def _subnets() -> list[dict[str, Any]]:
    """Of networks of the category admin: what is told in them."""
    said = facts.admin_subnets(facts.mode())
    return [{**one, "told": SERVED[one["dhcp"], 6 if ":" in one["subnet"] else 4]} for one in said]


def _boots(one: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Firmware, and the file that it is told over each family."""
    found = [(name, one["dhcp4"].get(name, ""), one["dhcp6"].get(name, "")) for name in FIRMWARES]
    return [each for each in found if each[1] or each[2]]


def _on_node(node: NodeView) -> Any:
    with cluster().read() as session:
        found = session.execute(select(hosts).where(hosts.c.id == node.id)).first()
        said = session.scalars(select(faults.c.detail).where(faults.c.on == "node", faults.c.name == node.name)).all()
    if found is None:
        return None
    return fragment(
        "crowbar_dhcp/_node.html", host=found._mapping, node=node, problems=said, boots=_boots(found._mapping)
    )  # fmt: skip


PANEL = Panel(on="node", title="DHCP", render=_on_node)
