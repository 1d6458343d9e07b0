"""Pages: disks that were erased, each with its report; and the order to erase those of a machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.wrappers import Response as Answer

from crowbar_core import requires
from crowbar_core.pages import Column, Form, Input, act, list_page, object_page, row, rows
from crowbar_provisioner import disks, ordering
from crowbar_provisioner.confirming import confirmed, its_name
from crowbar_provisioner.erasing.rest import ERASE, ERASURES
from crowbar_provisioner.erasing.signing import is_signed

pages = Blueprint("provisioner_erasing_pages", __name__)
COLUMNS = (
    Column(name="shown_disk", label="Disk", href="/erasures/{id}"),
    Column(name="node", label="Node"),
    Column(name="shown_state", label="State"),
    Column(name="detail", label="What is wrong"),
    Column(name="method", label="Method"),
    Column(name="serial", label="Serial number", kind="code"),
    Column(name="ended_at", label="Ended", kind="moment"),
)
STATES = (("", "any"), ("erased", "erased"), ("failed", "failed"), ("erasing", "erasing"), ("wanted", "wanted"))
FILTERS = (
    Input(name="node", label="Node"),
    Input(name="serial", label="Serial number"),
    Input(name="state", label="State", choices=STATES),
)


@pages.get("/erasures")
@requires("viewer")
def listed() -> Response:
    found = rows(ERASURES, filters=[one.name for one in FILTERS])
    return list_page(
        "Erased disks", replace(found, items=[_shown(one) for one in found.items]), COLUMNS, filters=FILTERS,
        sub="Each was read back, past all caches; its report is signed, and stays when the node goes.",
        empty="No disk is like that.",
    )  # fmt: skip


def _shown(one: Mapping[str, Any]) -> dict[str, Any]:
    state = f"{one['state']}, {one['percent']} %" if one["state"] == "erasing" else one["state"]
    return {**one, "shown_disk": f"{one['disk']}, {disks.sized(one['size'])}", "shown_state": state}


@pages.get("/erasures/<int:erasure>")
@requires("viewer")
def show(erasure: int) -> Response:
    one = row(ERASURES, str(erasure))
    said: Any = one["report"].get("verification") or {}
    signed = is_signed(one["report"], one["signature"], one["public_key"])
    shown = {
        **one, "shown_size": f"{one['size']} bytes, {disks.sized(one['size'])}",
        "verified": (
            f"{said['bytes_read']} of {said['bytes_wanted']} bytes read back ({said['kind']}), "
            f"{said['bytes_not_blank']} not blank" if said else "not yet"
        ),
        "signed": "" if not said else "as it was signed" if signed else "NOT as it was signed",
        "shown_report": json.dumps(one["report"], indent=1, sort_keys=True),
    }  # fmt: skip
    facts = (
        Column(name="node", label="Node"), Column(name="serial", label="Serial number", kind="code"),
        Column(name="wwn", label="WWN", kind="code"), Column(name="model", label="Model"),
        Column(name="shown_size", label="Size"), Column(name="state", label="State"),
        Column(name="method", label="Method"), Column(name="verified", label="Verified"),
        Column(name="detail", label="What is wrong"), Column(name="begun_at", label="Begun", kind="moment"),
        Column(name="ended_at", label="Ended", kind="moment"), Column(name="signed", label="Report"),
        Column(name="signature", label="Signature", kind="code"),
        Column(name="public_key", label="By the key", kind="code"),
    )  # fmt: skip
    return object_page(f"{one['disk']} of {one['node']}", shown, facts, above=("Erased disks", "/erasures"))


@pages.post("/machines/<int:machine>/erase")
@requires("operator")
def erase(machine: int) -> Answer:
    def order() -> None:
        confirmed(machine)
        disk = request.form.get("disk", "")
        ordering.order(machine, ERASE, {"disks": [disk]} if disk else {})

    return act(order, "Its disks are being erased.", f"/machines/{machine}")


def form(one: Any, found: Any) -> Form | None:
    """For the page of a machine; None for one without a disk that can be erased."""
    suitable = [each for each in found.get("disks") or () if not disks.against(each, 0)]
    if not suitable:
        return None
    return Form(
        title="Erase disks", url=f"/machines/{one['id']}/erase", label="Erase",
        inputs=(
            Input(
                name="disk", label="Disk, which is erased and read back",
                choices=(("", "all"), *((str(each["name"]), disks.described(each)) for each in suitable)),
            ),
            its_name(one["name"]),
        ),
        api=f"PUT /api/v2/machines/{one['id']}/erase {{}}", cli=f"crowbar machines erase {one['name']}",
    )  # fmt: skip
