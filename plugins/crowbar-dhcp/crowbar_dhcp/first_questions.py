"""The step of the wizard in which it is said who gives machines addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crowbar_core import Bind, Change, Refused, SetAttribute, hookimpl
from crowbar_dhcp.services import DATABASE, SERVER
from crowbar_dhcp.serving import NONE, OWN, PROXY


@hookimpl(optional=True)
def wizard_steps(session: Any, place: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    return [
        {
            "name": "dhcp",
            "title": "Addresses for machines that boot",
            "order": 40,
            "text": "Machines ask by DHCP for an address and for what they should boot. There must be one server that "
            "gives addresses on the admin network; where that is another, Crowbar can still say what to boot.",
            "fields": (
                {
                    "name": "mode", "label": "Who answers", "default": "own",
                    "choices": (
                        (OWN, "this machine, with Kea"),
                        (PROXY, "others give addresses, this machine says what to boot (IPv4)"),
                        (NONE, "others give addresses and say what to boot"),
                    ),
                    "help": "A Kea of your own is named later, by binding dhcp-service. Each network can have its own "
                    "way (its field dhcp).",
                },
            ),
            "carry_out": carry_out,
        }
    ]  # fmt: skip


def carry_out(values: Mapping[str, str], change: Change, place: Mapping[str, str]) -> Iterable[str]:
    """A server on the machine, and the role that tells it. Raises ``Refused`` without a machine."""
    mode, machine, system = values["mode"], place["machine"], place["system"]
    change.apply(Bind(node=system, role=DATABASE))
    if mode != OWN:
        change.apply(SetAttribute(node=system, role=DATABASE, attribute="dhcp-mode", value=mode))
    if mode == NONE:
        return [f"{DATABASE}, which lets others answer."]
    if not machine:
        raise Refused("Machines can be told only where Crowbar may set up a server: answer the step of this machine.")
    change.apply(Bind(node=machine, role=SERVER))
    if mode == PROXY:
        change.apply(SetAttribute(node=machine, role=SERVER, attribute="dhcp-program", value="dnsmasq"))
    with_what = ", which gives no addresses" if mode == PROXY else ""
    return [f"{SERVER} on {machine}{with_what}.", f"{DATABASE}, which keeps it at what machines should be told."]
