"""/api/v2/dns_name_filters, dns_name_entries and dns_services."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint
from pydantic import Field

from crowbar_core import cluster
from crowbar_core.rest import (
    NODES,
    Answer,
    Body,
    Name,
    api,
    changing,
    creating,
    deleting,
    found_id,
    given,
    listed,
    reading,
)
from crowbar_dns import name_filters
from crowbar_dns.listings import ENTRIES, FILTERS, SERVICES

rest = Blueprint("dns_rest", __name__, url_prefix="/api/v2")

Matcher = Annotated[str, Field(max_length=1000)]
Template = Annotated[str, Field(min_length=1, max_length=253)]
Priority = Annotated[int, Field(ge=0, le=1_000_000)]
Ttl = Annotated[int, Field(ge=0, le=604_800)]

LOST = "The names that it gives to nodes are taken from the DNS servers."


class NewFilter(Body):
    name: Name
    matcher: Matcher = ""
    template: Template
    priority: Priority = 50
    ttl: Ttl = 300


class ChangedFilter(Body):
    name: Name = ""
    matcher: Matcher = ""
    template: Template = "{{node.name}}"
    priority: Priority = 50
    ttl: Ttl = 300


class TriedFilter(Body):
    matcher: Matcher = ""
    template: Template
    priority: Priority = 50


reading(rest, FILTERS, parameter="dns_name_filter")
reading(rest, ENTRIES, parameter="dns_name_entry")
reading(rest, SERVICES, parameter="dns_service")


@creating(rest, FILTERS, summary="Make a name filter", body=NewFilter)
def create(body: NewFilter) -> int:
    with cluster().change() as change:
        return name_filters.create(change, body.model_dump())


@changing(rest, FILTERS, parameter="dns_name_filter", summary="Change a name filter", body=ChangedFilter)
def change_filter(key: int, body: ChangedFilter) -> None:
    with cluster().change() as change:
        name_filters.alter(change, key, given(body))


@deleting(
    rest, FILTERS, parameter="dns_name_filter", summary="Remove a name filter",
    asks=LOST,
)  # fmt: skip
def remove_filter(key: int) -> None:
    with cluster().change() as change:
        name_filters.remove(change, key)


@rest.post("/dns_name_filters/preview")
@api(
    permission="viewer",
    summary="What a name filter would name, and what would clash",
    body=TriedFilter,
    returns=list[Any],
)
def preview(body: TriedFilter) -> Answer:
    with cluster().read() as session:
        return Answer(value=name_filters.preview(session, body.model_dump()))


@rest.get("/nodes/<node>/dns_name_entries")
@api(permission="viewer", summary="The names of a node", listing=ENTRIES, many=True)
def entries_of(node: str) -> Answer:
    return listed(ENTRIES, filters={"node_id": str(found_id(NODES, node))})
