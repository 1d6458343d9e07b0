"""The step of the wizard in which it is said who gives machines addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crowbar_core import Bind, Change, Refused, SetAttribute, hookimpl
from crowbar_dhcp.services import DATABASE, SERVER


@hookimpl(optional=True)
def wizard_steps(session: Any, place: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    return [
        {
            "name": "dhcp",
            "title": "Addresses for machines that boot",
            "order": 40,
            "text": "Machines ask by DHCP for an address and for what they should boot. There must be one server for "
            "them on the admin network.",
            "fields": (
                {
                    "name": "mode", "label": "Who answers", "default": "own",
                    "choices": (("own", "this machine, with Kea"), ("none", "others")),
                    "help": "A Kea of your own is named later, by binding dhcp-service.",
                },
            ),
            "carry_out": carry_out,
        }
    ]  # fmt: skip


def carry_out(values: Mapping[str, str], change: Change, place: Mapping[str, str]) -> Iterable[str]:
    """A server on the machine, and the role that tells it. Raises ``Refused`` without a machine."""
    if values["mode"] == "none":
        change.apply(
            Bind(node=place["system"], role=DATABASE),
            SetAttribute(node=place["system"], role=DATABASE, attribute="dhcp-mode", value="none"),
        )
        return [f"{DATABASE}, which lets others answer."]
    if not place["machine"]:
        raise Refused("Addresses can be given only where Crowbar may set up a server: answer the step of this machine.")
    change.apply(Bind(node=place["machine"], role=SERVER), Bind(node=place["system"], role=DATABASE))
    return [f"{SERVER} on {place['machine']}.", f"{DATABASE}, which keeps it at what machines should be told."]
