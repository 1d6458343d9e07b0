"""Which machines have which addresses now, as the servers say, and which of them are nodes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from crowbar_core import CrowbarError, cluster
from crowbar_core.tables import nodes
from crowbar_dhcp import services
from crowbar_dhcp.tables import hosts


def leases() -> tuple[list[dict[str, Any]], list[str]]:
    """By server and address; and what servers say that do not tell. Asks them: outside any change."""
    with cluster().change() as change:
        several = services.ready(change)
    with cluster().read() as session:
        asked = select(nodes.c.name, hosts.c.mac_addrs).join(hosts, hosts.c.id == nodes.c.id)
        owners = {mac: one.name for one in session.execute(asked).all() for mac in one.mac_addrs}
    found: list[dict[str, Any]] = []
    problems = []
    for one in several:
        try:
            there = one.connect().leases()
        except CrowbarError as problem:
            problems.append(f"{one.name}: {problem.detail}")
            continue
        found += [
            {
                "address": each.address, "mac": each.mac, "hostname": each.hostname, "until": each.until,
                "node": owners.get(each.mac, ""), "dhcp_server": one.name,
            }
            for each in there
        ]  # fmt: skip
    return found, problems
