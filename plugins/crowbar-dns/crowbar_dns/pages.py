"""The pages of names: servers, zones and records; name filters with what they name; and a node's names on its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, request
from sqlalchemy import select
from werkzeug.wrappers import Response as Answer

from crowbar_core import BadInput, NodeView, Panel, cluster, requires
from crowbar_core.pages import (
    Action,
    Column,
    Form,
    Input,
    act,
    act_asked,
    ask_page,
    form_body,
    fragment,
    page,
    row,
    rows,
)
from crowbar_dns import name_filters
from crowbar_dns.facts import WITHOUT_NETWORKS, networks_are_kept
from crowbar_dns.listings import ENTRIES, FILTERS, troubled
from crowbar_dns.names import TYPES
from crowbar_dns.rest import LOST, ChangedFilter, NewFilter
from crowbar_dns.services import all_services
from crowbar_dns.tables import entries
from crowbar_dns.zones import zones

pages = Blueprint("dns_pages", __name__, template_folder="templates")

RECORDS = (
    Column(name="name", label="Name", kind="code"),
    Column(name="rr_type", label="Type"),
    Column(name="value", label="Value", kind="code"),
    Column(name="node", label="Node", href="/nodes/{node_id}"),
    Column(name="dns_name_filter", label="Filter", href="/dns-name-filters/{dns_name_filter_id}"),
    Column(name="served", label="Served by", kind="number"),
)
OF_FILTER = (
    Column(name="name", label="Filter", href="/dns-name-filters/{id}"),
    Column(name="priority", label="Priority", kind="number"),
    Column(name="matcher", label="Which addresses", kind="code"),
    Column(name="template", label="What they are called", kind="code"),
)
PREVIEW = (
    Column(name="name", label="Name", kind="code"),
    Column(name="rr_type", label="Type"),
    Column(name="value", label="Value", kind="code"),
    Column(name="node", label="Node", href="/nodes/{node_id}"),
)
SEARCH = (
    Input(name="name", label="Name"),
    Input(name="node", label="Node"),
    Input(name="rr_type", label="Type", choices=(("", "any"), *((one, one) for one in TYPES))),
)
WAYS = (("/dns", "Zones and records"), ("/dns-name-filters", "Name filters"))
_SHOWN = 200


@pages.get("/dns")
@requires("viewer")
def overview() -> Response:
    only = request.args.get("problems") == "true"
    where: tuple[Any, ...] = (troubled(),) if only else ()
    shown = rows(ENTRIES, filters=[one.name for one in SEARCH], sort="name", where=where)
    with cluster().read() as session:
        several = all_services(session)
        there = zones(session, several)
    return page(
        "crowbar_dns/dns.html", title="DNS", rows=shown, columns=RECORDS, filters=SEARCH, ways=WAYS, services=several,
        zones=there, only=only, note="" if networks_are_kept() else WITHOUT_NETWORKS,
    )  # fmt: skip


@pages.get("/dns-name-filters")
@requires("viewer")
def listed() -> Response:
    shown = rows(FILTERS, sort="priority")
    api, cli = (
        'POST /api/v2/dns_name_filters {"name": "web", "template": "{{node.name}}"}',
        ("crowbar dns-name-filters create web --template '{{node.name}}'"),
    )
    add = Form(title="Make a name filter", url="/dns-name-filters", inputs=_inputs({}), label="Make", api=api, cli=cli)
    return page(
        "crowbar_dns/filters.html", title="Name filters", rows=shown, columns=OF_FILTER, forms=(add,), ways=WAYS
    )


@pages.get("/dns-name-filters/<dns_name_filter>")
@requires("viewer")
def show(dns_name_filter: str) -> Response:
    """With what it names; or, when it is asked with other values, what it would name with those."""
    one = row(FILTERS, dns_name_filter)
    tried = {name: request.args[name] for name in ("matcher", "template") if name in request.args}
    problem, found = "", []
    with cluster().read() as session:
        try:
            values = {name: one[name] for name in ("matcher", "template", "priority", "ttl")}
            found = name_filters.preview(session, {**values, **tried}, one["id"])
        except BadInput as refused:
            problem = refused.detail
    url, api, name = f"/dns-name-filters/{one['id']}", f"/api/v2/dns_name_filters/{one['name']}", one["name"]
    change = Form(
        title="Change", url=url, inputs=_inputs({**one, **tried}), api=f"PATCH {api}",
        cli=f"crowbar dns-name-filters update {name}",
    )  # fmt: skip
    return page(
        "crowbar_dns/filter.html", filter=one, tried=tried, found=found[:_SHOWN], count=len(found), problem=problem,
        said=name_filters.counted(found), columns=PREVIEW, facts=OF_FILTER[1:], actions=[_removal(one)],
        forms=(change,), trial=_inputs({**one, **tried})[1:3], url=url,
    )  # fmt: skip


@pages.post("/dns-name-filters")
@requires("operator")
def create() -> Answer:
    def work() -> str:
        said = form_body(NewFilter)
        with cluster().change() as change:
            name_filters.create(change, said.model_dump())
        return said.name

    return act(work, lambda name: f"The filter {name} is made; names follow.", "/dns-name-filters")


@pages.post("/dns-name-filters/<int:dns_name_filter>")
@requires("operator")
def change_filter(dns_name_filter: int) -> Answer:
    def work() -> None:
        said = form_body(ChangedFilter)
        with cluster().change() as change:
            name_filters.alter(change, dns_name_filter, said.model_dump())

    return act(work, "The filter is changed; names follow.", f"/dns-name-filters/{dns_name_filter}")


@pages.post("/dns-name-filters/<int:dns_name_filter>/remove")
@requires("operator")
def remove(dns_name_filter: int) -> Answer:
    def work() -> None:
        with cluster().change() as change:
            name_filters.remove(change, dns_name_filter)

    one = row(FILTERS, dns_name_filter)
    done = "The filter is gone, and the names that it gave."
    return act_asked(one["name"], work, done, "/dns-name-filters", asks=_removal(one).asks)


@pages.get("/dns-name-filters/<int:dns_name_filter>/remove")
@requires("operator")
def ask(dns_name_filter: int) -> Response:
    one = row(FILTERS, dns_name_filter)
    back = f"/dns-name-filters/{dns_name_filter}"
    return ask_page(_removal(one), one["name"], lost=LOST, leave=back, subject=f"name filter {one['name']}")


def _removal(one: Mapping[str, Any]) -> Action:
    url = f"/dns-name-filters/{one['id']}/remove"
    return Action(
        label="Remove", url=url, asks=url, api=f"DELETE /api/v2/dns_name_filters/{one['name']}",
        cli=f"crowbar dns-name-filters destroy {one['name']}", kind="danger",
    )  # fmt: skip


def _inputs(held: Mapping[str, Any]) -> Sequence[Input]:
    return (
        Input(name="name", label="Filter", value=held.get("name", ""), required=True, size=14),
        Input(name="matcher", label="Which addresses", value=held.get("matcher", ""), size=38,
              placeholder='network.category == "admin"'),
        Input(name="template", label="What they are called", value=held.get("template", ""), required=True, size=34,
              placeholder="{{node.shortname}}.example.org"),
        Input(name="priority", label="Priority", value=str(held.get("priority", 50)), kind="number", size=6),
        Input(name="ttl", label="Seconds to remember", value=str(held.get("ttl", 300)), kind="number", size=7),
    )  # fmt: skip


# ---------------------------------------------------------------- on a node's page


def _on_node(node: NodeView) -> Any:
    if node.system:
        return None
    with cluster().read() as session:
        asked = select(entries).where(entries.c.node_id == node.id).order_by(entries.c.name, entries.c.type)
        mine = session.execute(asked.limit(_SHOWN)).all()
    return fragment("crowbar_dns/_node.html", mine=mine) if mine else None


PANEL = Panel(on="node", title="Names", order=110, render=_on_node)
