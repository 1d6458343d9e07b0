"""What nodes are to be called, from what is known of them and the filters: pure functions.

Every filter that matches an address makes a claim to a name. Two nodes cannot have one name: the node that was there
first has it, and the other's claim says so. What is called forward is called so in reverse, by the first filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from crowbar_dns.filters import Address, Filter, Host
from crowbar_dns.names import Record, host_name_fault, record_fault, reverse_name

ATTRIBUTE = "dns-records"
"""The node attribute with further records: a list of ``{"name", "type", "value", "ttl"}``."""


class Claim(NamedTuple):
    """That a node wants a record. ``problem``: why it does not get it. ``filter_id`` None: by attribute."""

    node_id: int
    filter_id: int | None
    record: Record
    problem: str = ""

    @property
    def cannot_be(self) -> bool:
        """Whether there can be no such record, whatever others want."""
        return bool(record_fault(self.record))


def claims_of(hosts: Iterable[Host], addresses: Iterable[Address], filters: Sequence[Filter]) -> list[Claim]:
    """All claims of these nodes, those that cannot be among them; not yet compared with each other's."""
    in_order = sorted(filters, key=lambda one: (one.priority, one.id))
    of_node: dict[int, list[Address]] = {}
    for address in addresses:
        of_node.setdefault(address.node_id, []).append(address)
    found: list[Claim] = []
    for host in hosts:
        for address in of_node.get(host.id, ()):
            found += _of_address(host, address, in_order)
        found += _further(host)
    return found


def _of_address(host: Host, address: Address, filters: Sequence[Filter]) -> Iterable[Claim]:
    kind = "AAAA" if ":" in address.ip else "A"
    reversed_by: Filter | None = None
    taken: set[str] = set()
    for one in filters:
        if not one.matches(host, address):
            continue
        name = one.render(host, address)
        if name in taken:
            continue
        taken.add(name)
        record = Record(name, kind, address.ip, one.ttl)
        if fault := host_name_fault(name):
            said = f"filter {one.name} calls node {host.name} {name!r}, which is no host name: {fault}"
            yield Claim(node_id=host.id, filter_id=one.id, record=record._replace(name=name[:255]), problem=said)
            continue
        yield Claim(node_id=host.id, filter_id=one.id, record=record)
        if reversed_by is None:
            reversed_by = one
            back = Record(reverse_name(address.ip), "PTR", name, one.ttl)
            yield Claim(node_id=host.id, filter_id=one.id, record=back)


def _further(host: Host) -> Iterable[Claim]:
    wanted = host.attributes.get(ATTRIBUTE)
    for one in wanted if isinstance(wanted, list) else ():
        try:
            record = record_from(one)
        except (KeyError, TypeError, ValueError):
            continue
        fault = record_fault(record)
        said = f"node {host.name} asks for {record.name} {record.type}, which cannot be: {fault}" if fault else ""
        yield Claim(node_id=host.id, filter_id=None, record=record, problem=said)


def record_from(said: Mapping[str, Any]) -> Record:
    """A record as the attribute has it, in the form that is kept."""
    kind, value = str(said["type"]).upper(), str(said["value"])
    if kind != "TXT":
        value = " ".join(value.lower().split()).rstrip(".")
    name = str(said["name"]).lower().removesuffix(".")
    return Record(name[:255], kind[:8], value[:4096], int(said.get("ttl", 300)))


def settle(claims: Sequence[Claim], name_of: Callable[[int], str]) -> list[Claim]:
    """The same claims, each with its ``problem``; those that could not be from the start stay as they are.

    All claims to the names concerned must be there, and for each reverse record those to the name it leads to. The node
    with the lowest id, which was there first, has a name. Beside an alias (CNAME) there is nothing else.
    """
    holders: dict[str, int] = {}
    aliases: dict[str, Claim] = {}
    for one in claims:
        if one.problem:
            continue
        at = one.record.name
        holders[at] = min(one.node_id, holders.get(at, one.node_id))
    for one in claims:
        if not one.problem and one.record.type == "CNAME" and holders[one.record.name] == one.node_id:
            aliases.setdefault(one.record.name, one)
    others = {
        one.record.name for one in claims
        if not one.problem and one.record.type != "CNAME" and holders[one.record.name] == one.node_id
    }  # fmt: skip
    settled, seen = [], set()
    for one in claims:
        if one.problem:
            settled.append(one)
            continue
        if objection := _objection(one, holders, aliases, others, name_of):
            one = one._replace(problem=objection)
        settled.append(one)
        key = (one.node_id, one.record.name, one.record.type, one.record.value)
        if not one.problem and key in seen:
            settled.pop()  # said twice by one node: by two filters, or by a filter and an attribute
        seen.add(key)
    return settled


def _objection(
    one: Claim,
    holders: Mapping[str, int],
    aliases: Mapping[str, Claim],
    others: set[str],
    name_of: Callable[[int], str],
) -> str:
    name = one.record.name
    if (holder := holders[name]) != one.node_id:
        what = one.record.value if one.record.type == "PTR" else name
        return f"{what} is node {name_of(holder)}'s already: node {name_of(one.node_id)} cannot have it, too"
    if one.record.type == "PTR" and (holder := holders.get(one.record.value, one.node_id)) != one.node_id:
        return f"{one.record.value} is node {name_of(holder)}'s: it does not lead back to {name_of(one.node_id)}"
    if one.record.type == "CNAME" and (name in others or aliases[name].record != one.record):
        return f"{name} cannot be an alias: it has other records"
    return ""
