"""The step of the wizard in which it is said who serves names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crowbar_core import BadInput, Bind, Change, FieldError, Intent, Refused, SetAttribute, hookimpl
from crowbar_dns.services import DATABASE, SERVER

RESOLVERS = Path("/etc/resolv.conf")


@hookimpl(optional=True)
def wizard_steps(session: Any, place: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    return [
        {
            "name": "dns",
            "title": "Names",
            "order": 30,
            "text": "Machines get names in the domain, forward and reverse, as soon as they have addresses.",
            "fields": (
                {
                    "name": "serve", "label": "Who serves them", "default": "own",
                    "choices": (("own", "this machine, with BIND"), ("none", "nobody yet")),
                    "help": "A DNS server of your own is named later, by binding dns-service.",
                },
                {
                    "name": "domain", "label": "Domain", "default": place["machine"].partition(".")[2],
                    "help": "Empty: the domains that nodes have in their names.",
                },
                {
                    "name": "forwarders", "label": "Who is asked for all other names", "default": ", ".join(_asked()),
                    "help": "Addresses, separated by commas; empty: nobody.",
                },
            ),
            "carry_out": carry_out,
        }
    ]  # fmt: skip


def carry_out(values: Mapping[str, str], change: Change, place: Mapping[str, str]) -> Iterable[str]:
    """A server on the machine, and the role that tells it. Raises ``BadInput``, and ``Refused`` without a machine."""
    if values["serve"] == "none":
        return ["No names are served."]
    if not place["machine"]:
        raise Refused("Names can be served only where Crowbar may set up a server: answer the step of this machine.")
    forwarders = _addresses(values["forwarders"])
    wanted: list[Intent] = [Bind(node=place["machine"], role=SERVER)]
    for attribute, value in (("dns-domains", [values["domain"]] if values["domain"] else []),
                             ("dns-forwarders", forwarders)):  # fmt: skip
        if value:
            wanted.append(SetAttribute(node=place["machine"], role=SERVER, attribute=attribute, value=list(value)))
    change.apply(*wanted, Bind(node=place["system"], role=DATABASE))
    told = values["domain"] or "the domains of all nodes"
    return [f"{SERVER} on {place['machine']}, for {told}.", f"{DATABASE}, which keeps it at what nodes are called."]


def _addresses(text: str) -> list[str]:
    found = [part for part in text.replace(",", " ").split() if part]
    for one in found:
        try:
            ipaddress.ip_address(one)
        except ValueError:
            detail = f"{one!r} is no address of a DNS server; name them as 192.0.2.53, 2001:db8::53."
            raise BadInput(detail, errors=[FieldError(pointer="/forwarders", detail=detail)]) from None
    return found


def _asked() -> list[str]:
    """Whom this machine asks now."""
    try:
        words = [line.split() for line in RESOLVERS.read_text(errors="replace").splitlines()]
    except OSError:
        return []
    found = []
    for one in words:
        if len(one) > 1 and one[0] == "nameserver":
            try:
                address = ipaddress.ip_address(one[1])
            except ValueError:
                continue
            if not (address.is_loopback or address.is_link_local):
                found.append(str(address))
    return found[:3]
