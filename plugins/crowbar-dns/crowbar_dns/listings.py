"""What name filters, entries and servers look like, over REST and on pages."""

from __future__ import annotations

from sqlalchemy import and_, case, func, select

from crowbar_core.rest import NODES, Field, Listing, derived, field, fields
from crowbar_dns.tables import entries, filters, served, services

_nodes = NODES.source

FILTERS = Listing(
    noun="name filter",
    plural="dns_name_filters",
    source=filters,
    key=filters.c.id,
    name=filters.c.name,
    fields=(
        *fields(filters, "id", "name", filter=("name",), sort=("name",)),
        *fields(filters, "matcher", "template"),
        *fields(filters, "priority", "ttl", sort=("priority",)),
    ),
)

_SERVED = (
    select(func.count())
    .where(
        served.c.name == entries.c.name, served.c.type == entries.c.type, served.c.value == entries.c.value,
        served.c.confirmed, served.c.gone_at.is_(None),
    )
    .correlate(entries)
    .scalar_subquery()
)  # fmt: skip
_REFUSED = (
    select(func.min(served.c.problem))
    .where(
        served.c.name == entries.c.name, served.c.type == entries.c.type, served.c.value == entries.c.value,
        served.c.problem != "",
    )
    .correlate(entries)
    .scalar_subquery()
)  # fmt: skip


def _entry_fields() -> tuple[Field, ...]:
    return (
        *fields(entries, "id", "name", filter=("name",), sort=("name",)),
        field(entries.c.type, "rr_type", filter=True, sort=True, example="AAAA"),
        *fields(entries, "value", filter=("value",), sort=("value",)),
        *fields(entries, "ttl"),
        *fields(entries, "node_id", filter=("node_id",)),
        field(_nodes.c.name, "node", filter=True, nullable=True, example="web1.rack2.example.com"),
        field(entries.c.filter_id, "dns_name_filter_id", filter=True, nullable=True),
        field(filters.c.name, "dns_name_filter", filter=True, nullable=True, example="admin"),
        derived(
            "served", _SERVED, int, help="How many servers have it, as far as they said when they were last asked."
        ),
        derived(
            "problem", case((entries.c.problem != "", entries.c.problem), else_=func.coalesce(_REFUSED, "")), str,
            help="Why it is not served.",
        ),
    )  # fmt: skip


ENTRIES = Listing(
    noun="name entry",
    plural="dns_name_entries",
    source=entries.outerjoin(_nodes, _nodes.c.id == entries.c.node_id).outerjoin(
        filters, filters.c.id == entries.c.filter_id
    ),
    key=entries.c.id,
    fields=_entry_fields(),
)

SERVICES = Listing(
    noun="DNS server",
    plural="dns_services",
    source=services,
    key=services.c.id,
    name=services.c.name,
    fields=(
        *fields(services, "id", "name", filter=("name",), sort=("name",)),
        *fields(services, "node_role_id", "driver", "addresses", "port", "zones", "shared", "resolves"),
        *fields(services, "compared_at", "problem", "problem_since", "zone_problems"),
    ),
)


def troubled() -> object:
    """Which entries are not served, though they should be or because they cannot be."""
    return and_(entries.c.id.is_not(None), (entries.c.problem != "") | (func.coalesce(_SERVED, 0) == 0))
