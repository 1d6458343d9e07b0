"""`crowbar dns-name-filters`, `dns-name-entries` and `dns-services`."""

from __future__ import annotations

import click

from crowbar_core.client import connect
from crowbar_core.commands import Given, add_create, add_destroy, add_list, add_show, add_update, noun, output, rows

OF_FILTER = (
    Given(
        name="matcher", help="""Which addresses: 'network.category == "admin" and node.role == "web"'; all without."""
    ),
    Given(name="template", help="What they are called: '{{node.shortname}}.example.org'."),
    Given(name="priority", type=int, help="Those with a lower one come first; the first one names in reverse."),
    Given(name="ttl", type=int, help="For how many seconds others may remember it."),
)

filters = noun("dns-name-filters", "Name filters: which addresses get which names.")
add_list(filters, "dns_name_filters", ("id", "name", "priority", "matcher", "template"), what="the name filters")
add_show(filters, "dns_name_filters", what="a name filter")
add_create(filters, "dns_name_filters", what="a name filter", options=OF_FILTER)
add_update(filters, "dns_name_filters", what="a name filter", options=OF_FILTER)
add_destroy(filters, "dns_name_filters", what="a name filter")


@filters.verb("preview", help="What a name filter would name, and what would clash, without making it.")
@click.option("--matcher", default="", metavar="TEXT", help="Which addresses; all without.")
@click.option("--template", required=True, metavar="TEXT", help="What they are called.")
def preview(matcher: str, template: str) -> None:
    found = connect().post("dns_name_filters", "preview", body={"matcher": matcher, "template": template})
    rows(found, ("name", "rr_type", "value", "node", "problem"), output())


entries = noun("dns-name-entries", "The records that nodes are to have, and whether they are served.")
add_list(
    entries, "dns_name_entries", ("name", "rr_type", "value", "node", "dns_name_filter", "served", "problem"),
    what="the records", filters={"node": "Only those of this node.", "name": "Only of this name."},
)  # fmt: skip
add_show(entries, "dns_name_entries", what="a record, by its id")

services = noun("dns-services", "The DNS servers that are told.")
add_list(
    services,
    "dns_services",
    ("name", "driver", "addresses", "zones", "problem", "zone_problems"),
    what="the DNS servers",
)
add_show(services, "dns_services", what="a DNS server")
