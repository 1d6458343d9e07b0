"""Is a node alive: does one of its addresses answer ping and let root in?"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from crowbar_core import CrowbarError, NodeView, Probe
from crowbar_jig_script.connections import Connections, Kept
from crowbar_jig_script.ping import ping


def probe(node: NodeView, connections: Connections) -> Probe | None:
    """The first address that works, else why each did not. None for a node without addresses: another may know one."""
    if not node.addresses:
        return None
    reasons = []
    for address in node.addresses:
        try:
            kept = _reach(node, address, connections)
        except CrowbarError as problem:
            reasons.append(f"{address}: {problem.detail}")
            continue
        return Probe(alive=True, address=address, host_keys=(kept.host_key,))
    return Probe(alive=False, reason="; ".join(reasons))


def _reach(node: NodeView, address: str, connections: Connections) -> Kept:
    settings = connections.settings
    if not usable(address):
        raise CrowbarError("no address at which a node can be reached from here")
    if settings.ping and (reason := ping(address, timeout=settings.ping_timeout)):
        raise CrowbarError(reason)
    before = connections.kept(node.name, address).session
    # Where only the node itself says that it is there, anybody may be: an unknown key is not taken.
    first = not node.host_keys and address not in node.reported_addresses
    kept = connections.open(node.name, address, known=node.host_keys, first_contact=first)
    if kept.session is before and before is not None and not before.answers(settings.connect_timeout):
        if kept.users:
            # Its run is about to be told by the same silence; to log in beside it would hide that.
            raise CrowbarError(f"the connection in use has not answered for {settings.connect_timeout:g} s")
        connections.drop(kept)
        kept = connections.open(node.name, address, known=node.host_keys, first_contact=first)
    return kept


@lru_cache(maxsize=20_000)
def usable(text: str, *, loopback: bool = True) -> bool:
    """An address that means the same machine wherever it is asked from; a link-local one needs an interface, too."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id is not None or address.ipv4_mapped is not None):
        return False
    odd = address.is_link_local or address.is_multicast or address.is_unspecified
    return not odd and (loopback or not address.is_loopback)


def known_addresses(node: NodeView) -> list[str]:
    """What the operator hinted, then what the node reported. Crowbar leaves out what is not the node's to report.

    A node may not report a loopback address, which would be the controller itself; an operator may.
    """
    hinted = _texts([node.hint.get("hint-admin-v4addr"), node.hint.get("hint-admin-v6addr")])
    reported = _texts(node.discovery.get("addresses"))
    found = [text for text in hinted if usable(text)]
    found += [text for text in reported if usable(text, loopback=False)]
    return list(dict.fromkeys(found))


def _texts(values: object) -> Iterable[str]:
    """Strings without their prefix length; whatever else a node reports is passed over."""
    return [value.partition("/")[0] for value in values if isinstance(value, str)] if isinstance(values, list) else []
