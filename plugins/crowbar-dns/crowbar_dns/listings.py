"""What name filters, entries and servers look like, over REST and on pages."""

from __future__ import annotations

from typing import Any

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

_IT = and_(served.c.name == entries.c.name, served.c.type == entries.c.type, served.c.value == entries.c.value)


def _of_it(what: Any, *conditions: Any) -> Any:
    """Of what servers have, or are to have, of an entry."""
    return select(what).where(_IT, *conditions).correlate(entries).scalar_subquery()


_SERVED = _of_it(func.count(), served.c.confirmed, served.c.gone_at.is_(None))
_REFUSED = _of_it(func.min(served.c.problem), served.c.problem != "")
_SENT = _of_it(func.count(), served.c.gone_at.is_(None))
NO_ZONE = "no DNS server has a zone for it"
NOT_TAKEN = "no DNS server has taken it yet: what is wrong with a server or its zone is said of that"
_WHY = case(
    (entries.c.problem != "", entries.c.problem), (_REFUSED.is_not(None), _REFUSED), (_SERVED > 0, ""),
    (_SENT > 0, NOT_TAKEN), else_=NO_ZONE,
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
        derived("problem", _WHY, str, help="Why it is not served."),
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
