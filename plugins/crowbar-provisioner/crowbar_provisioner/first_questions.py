"""The step of the wizard in which it is said what machines boot, which of them are accepted by themselves, and what is
installed on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy import insert

from crowbar_core import BadInput, Bind, Change, FieldError, Refused, SetAttribute, cluster, hookimpl
from crowbar_provisioner import catalogue, defaults
from crowbar_provisioner.answering import SERVER
from crowbar_provisioner.choosing import DISCOVERY
from crowbar_provisioner.making import IMAGES_ROLE
from crowbar_provisioner.rest import NewRule
from crowbar_provisioner.scripts import INITRD, KERNEL
from crowbar_provisioner.settings import Settings
from crowbar_provisioner.tables import rules

RULE = "first"
FIELDS = {"subnet": "accept_subnet", "mac_prefix": "accept_mac", "serials": "accept_serials"}


@hookimpl(optional=True)
def wizard_steps(session: Any, place: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    settings = cluster().settings(Settings)
    listens = settings.listen
    where = (
        f"The boot service listens at {', '.join(listens)}."
        if listens
        else "The boot service does not run yet: say where it listens, as `listen` in [plugins.provisioner], and start "
        "the server again."
    )
    there = all((settings.root / DISCOVERY / name).is_file() for name in (KERNEL, INITRD))
    without = "" if there else "What machines boot is not there yet."
    return [
        {
            "name": "discovery",
            "title": "Machines that boot",
            "order": 50,
            "text": "A machine that boots from the network runs the discovery image, and waits until somebody accepts "
            f"it; or it is accepted by itself where all fits that is said here. {where}",
            "fields": (
                {
                    "name": "serve", "label": "Who gives them what they boot", "default": "own",
                    "choices": (("own", "this machine"), ("none", "others")),
                },
                {
                    "name": "images", "label": "Make what they boot, and Debian for their disks", "default": "none",
                    "choices": (("none", "no, it is there or made by hand"), ("full", "yes, for real machines"),
                                ("cloud", "yes, smaller ones for virtual machines")),
                    "help": f"Of Debian's packages, where they are missing; it takes some minutes. {without}".rstrip(),
                },
                {"name": "accept_subnet", "label": "Accept those in this subnet",
                 "help": "As 10.124.0.0/24. All three empty: each is accepted by a person."},
                {"name": "accept_mac", "label": "Accept those whose card begins with", "help": "As 52:54:00."},
                {"name": "accept_serials", "label": "Accept these serial numbers", "help": "Separated by commas."},
                {
                    "name": "os", "label": "What is installed on them", "default": defaults.get(session).os,
                    "choices": tuple((one.name, _told(one)) for one in catalogue.all_of(settings.root)),
                    "help": "Where nothing else is said.",
                },
                {"name": "keys", "label": "SSH keys of operators",
                 "help": "As ssh-ed25519 AAAA… ada@example.com; separated by commas. Root of what is installed lets"
                 " them in, besides Crowbar."},
            ),
            "carry_out": carry_out,
        }
    ]  # fmt: skip


def carry_out(values: Mapping[str, str], change: Change, place: Mapping[str, str]) -> Iterable[str]:
    """The role on the machine, and the rule. Raises ``BadInput`` with the fields, ``Refused`` without a machine."""
    lines = []
    if values["serve"] == "own":
        if not place["machine"]:
            raise Refused(
                "Boot files can be given only where Crowbar may set that up: answer the step of this machine."
            )
        change.apply(Bind(node=place["machine"], role=SERVER))
        lines.append(f"{SERVER} on {place['machine']}.")
        if values["images"] != "none":
            change.apply(
                Bind(node=place["machine"], role=IMAGES_ROLE),
                SetAttribute(
                    node=place["machine"],
                    role=IMAGES_ROLE,
                    attribute="provisioner-images-kernel",
                    value=values["images"],
                ),
            )
            lines.append(f"{IMAGES_ROLE} on {place['machine']}, which makes what is missing.")
    given = {name: values[field] for name, field in FIELDS.items() if values[field]}
    if given:
        made = _rule(given)
        change.session.execute(insert(rules).values(**made.model_dump()))
        change.audit("accept_rule.create", f"accept rule {RULE}")
        lines.append(f"The accept rule {RULE}: {', '.join(given.values())}.")
    keys = [one.strip() for one in values["keys"].split(",") if one.strip()]
    if keys or values["os"] != defaults.get(change.session).os:
        try:
            made_of = defaults.put(change, os=values["os"], keys=keys or None)
        except BadInput as error:
            told = [FieldError(pointer="/keys", detail=error.detail)]
            raise BadInput(error.detail, errors=told) from error
        count = len(made_of.keys)
        lines.append(f"{made_of.os} is installed where nothing else is said; {count} keys of operators are let in.")
    return lines


def _told(one: catalogue.Os) -> str:
    return f"{one.title}{' (not there yet)' if one.problem else ''}"


def _rule(given: Mapping[str, str]) -> NewRule:
    serials = [one.strip() for one in given.get("serials", "").split(",") if one.strip()]
    try:
        return NewRule(
            name=RULE, subnet=given.get("subnet", ""), mac_prefix=given.get("mac_prefix", ""), serials=serials
        )
    except ValidationError as error:
        told = [
            FieldError(
                pointer=f"/{FIELDS.get(str(one['loc'][0]), '')}", detail=one["msg"].removeprefix("Value error, ")
            )
            for one in error.errors()
        ]
        raise BadInput(told[0].detail, errors=told) from error
