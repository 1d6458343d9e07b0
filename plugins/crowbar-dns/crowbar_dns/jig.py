"""The jig of names: makes a node a DNS server, or lets it ask one."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from crowbar_jig_script.remote import Remote

from crowbar_core import Done, Jig, Json, NodeUnreachable, Outcome, PermanentError, Role, Task, TemporaryError, cluster
from crowbar_dns import bind, resolving
from crowbar_dns.names import domain_fault
from crowbar_dns.services import CLIENT, SERVER, register, resolvers


class DnsJig(Jig):
    touches_node = True
    begins = True

    def run(self, task: Task) -> Outcome:
        if task.address is None:
            raise NodeUnreachable(f"{task.node.name} has no address at which it could be set up.")
        if task.role.name == SERVER:
            return _server(task)
        if task.role.name == CLIENT:
            return _client(task)
        raise PermanentError(f"The jig dns does not know the role {task.role.name}.")

    def tears_down(self, role: Role, package: str) -> bool:
        return role.name in (SERVER, CLIENT)


def _server(task: Task) -> Outcome:
    if task.teardown:
        _ask(task, bind.remove())
        return Done()
    said: Mapping[str, Any] = task.data.get("dns", {})
    zones = list(said.get("zones", []))
    for zone in zones:
        if fault := domain_fault(zone):
            raise PermanentError(f"{zone!r} can be no zone: {fault}. Mend dns-domains.")
    secret = base64.b64encode(str(said["key"]).encode()).decode()
    addresses = list(task.node.addresses) or [str(task.address)]
    forwarders = _addresses(said.get("forwarders", []), "dns-forwarders")
    serving = bind.Serving(
        host=task.node.name,
        addresses=addresses,
        zones=zones,
        key=secret,
        forwarders=forwarders,
        validates={"yes": True, "no": False}.get(str(said.get("validation")), not forwarders),
        clients=_networks(said.get("clients", [])) or ["localnets", "localhost"],
    )
    last = _ask(task, bind.install(serving))
    with cluster().change() as change:
        new = register(
            change, task.node_role_id, name=task.node.name, driver="rfc2136", addresses=addresses, port=53,
            zones=sorted(zones), shared=[], resolves=True, secret=secret,
            options={"key_name": bind.KEY_NAME, "algorithm": "hmac-sha256", "names_itself": True},
        )  # fmt: skip
    task.log(f"{last}: {len(zones)} zones{', told to dns-database' if new else ''}")
    return Done(wall={"dns": {"version": last.removeprefix("serving ")}})


def _client(task: Task) -> Outcome:
    if task.teardown:
        _ask(task, resolving.remove())
        return Done()
    said: Mapping[str, Any] = task.data.get("dns", {})
    servers = _addresses(said.get("servers", []), "dns-client-servers")
    if not servers:
        with cluster().read() as session:
            servers = resolvers(session)
    if not servers:
        raise TemporaryError("There is no DNS server that nodes could ask: bind dns-server, or set dns-client-servers.")
    domains = list(said.get("search", [])) or [task.node.name.partition(".")[2]]
    for domain in domains:
        if fault := domain_fault(domain):
            raise PermanentError(f"{domain!r} can be no domain to search in: {fault}. Mend dns-client-search.")
    way = _ask(task, resolving.set_up(servers, domains))
    task.log(f"asks {', '.join(servers)} by {way}")
    return Done(wall={"dns": {"resolver": way}})


def _addresses(said: Sequence[Json], attribute: str) -> list[str]:
    try:
        return [str(ipaddress.ip_address(str(one))) for one in said]
    except ValueError as problem:
        raise PermanentError(f"{attribute}: {problem}.") from None


def _networks(said: Sequence[Json]) -> list[str]:
    try:
        return [str(ipaddress.ip_network(str(one))) for one in said]
    except ValueError as problem:
        raise PermanentError(f"dns-clients: {problem}.") from None


def _ask(task: Task, program: str) -> str:
    """Run it on the node; the last line that it says. Raises ``PermanentError`` with the last line of its errors."""
    assert task.address is not None
    task.begin()
    answer = Remote.of_cluster().ask(task.node, task.address, program, timeout=task.timeout)
    for line in (answer.out + answer.err).splitlines():
        task.log(line)
    if answer.code != 0:
        last = (answer.err.strip() or answer.out.strip() or "it said nothing").splitlines()[-1]
        raise PermanentError(f"{task.node.name} could not be set up (exit code {answer.code}): {last}")
    return (answer.out.strip().splitlines() or [""])[-1]
