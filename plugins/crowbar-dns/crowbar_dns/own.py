"""The role dns-service: a DNS server of one's own, which Crowbar is allowed to change."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.query

from crowbar_core import CrowbarError, Done, PermanentError, Task, cluster
from crowbar_dns.drivers import ServerDown
from crowbar_dns.names import domain_fault
from crowbar_dns.services import ASKED, Service, register

PORTS = {"rfc2136": 53, "powerdns": 8081}


def run(task: Task) -> Done:
    """Look whether it lets itself be read, zone by zone, and have dns-database tell it."""
    said: Mapping[str, Any] = task.data.get("dns", {}).get("service", {})
    driver = said["driver"]
    addresses = _addresses(said["addresses"])
    zones = [str(zone).lower().removesuffix(".") for zone in said["zones"]]
    shared = [str(zone).lower().removesuffix(".") for zone in said["shared-zones"]]
    for zone in [*zones, *shared]:
        if fault := domain_fault(zone):
            raise PermanentError(f"{zone!r} can be no zone: {fault}. Mend dns-service-zones.")
    options = {"key_name": said["key-name"], "algorithm": said["algorithm"]} if driver == "rfc2136" else {}
    values: dict[str, Any] = {
        "name": f"of {task.deployment}", "driver": driver, "addresses": addresses, "zones": sorted({*zones, *shared}),
        "port": said["port"] or PORTS.get(driver, 53), "shared": sorted(set(shared)), "options": options,
        "resolves": bool(said["resolves"]), "secret": said.get("key") or "",
    }  # fmt: skip
    if not values["zones"]:
        raise PermanentError("It has no zones: name those that Crowbar may change in dns-service-zones.")
    said_now = _look(values)
    if values["resolves"] and not said_now:
        _ask(addresses, values["zones"][0])
    with cluster().change() as change:
        register(change, task.node_role_id, **values)
    task.log(said_now or f"{', '.join(addresses)} lets {', '.join(values['zones'])} be read")
    return Done()


def _look(values: Mapping[str, Any]) -> str:
    """Read all zones. Returns why that cannot be done now where the server is down: no fault of the settings."""
    kept: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        driver = Service(id=0, node_role_id=0, **kept).connect()
        for zone in values["zones"]:
            driver.read(zone)
    except ServerDown as problem:
        return f"{problem.detail} It is told when it does."
    except CrowbarError as problem:
        raise PermanentError(problem.detail) from None
    return ""


def _ask(addresses: Sequence[str], zone: str) -> None:
    """As nodes would, wherever it is that it is told: they know but one port."""
    query = dns.message.make_query(zone, "SOA")
    for address in addresses:
        try:
            answer, _ = dns.query.udp_with_fallback(query, address, port=ASKED, timeout=2.0)
            why = "" if answer.flags & dns.flags.RA else "answers no question there about names of others"
        except (OSError, EOFError, dns.exception.DNSException):
            why = "gives no answer there"
        if why:
            raise PermanentError(
                f"dns-service-resolves is set, for nodes that ask {address} at port {ASKED}, and it {why}: let "
                "it resolve, also for this host; or unset it, and name a resolver in dns-client-servers."
            )


def _addresses(said: Any) -> list[str]:
    try:
        found = [str(ipaddress.ip_address(str(one))) for one in said]
    except ValueError as problem:
        raise PermanentError(f"dns-service-addresses: {problem}; names are of no use to find a name server.") from None
    if not found:
        raise PermanentError("It has no address: set dns-service-addresses.")
    return found
