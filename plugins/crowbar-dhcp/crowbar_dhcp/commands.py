"""`crowbar dhcp`, `dhcp-servers` and `dhcp-leases`."""

from __future__ import annotations

from crowbar_core.client import connect
from crowbar_core.commands import add_list, add_show, noun, output, rows, say

hosts = noun("dhcp", "What nodes are told over DHCP, and why.")
add_list(
    hosts, "dhcp", ("name", "mac_addrs", "v4addr", "v6addr", "bootenv", "served_bootenv", "problem"),
    what="what nodes are told",
)  # fmt: skip
add_show(hosts, "dhcp", what="what a node is told")

servers = noun("dhcp-servers", "The DHCP servers that are told.")
add_list(servers, "dhcp_servers", ("name", "driver", "url", "told_at", "problem"), what="the DHCP servers")
add_show(servers, "dhcp_servers", what="a DHCP server")

leases = noun("dhcp-leases", "The addresses that machines have now.")


@leases.verb("list", help="The addresses that machines have now, as the servers say.")
def listed() -> None:
    rows(connect().get("dhcp_leases"), ("address", "mac", "node", "hostname", "dhcp_server"), output())


@servers.verb("compare", help="Compare what the servers have with what they should, now.")
def compare() -> None:
    connect().post("dhcp_servers", "compare", body={})
    say("What the servers have is compared.")
