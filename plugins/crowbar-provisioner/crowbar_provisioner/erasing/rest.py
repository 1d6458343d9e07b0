"""/api/v2/erasures, and machines/NAME/erase."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Blueprint
from pydantic import Field
from sqlalchemy import func, literal

from crowbar_core.rest import Answer, Body, Listing, api, derived, fields, reading
from crowbar_provisioner.listings import MACHINES
from crowbar_provisioner.machines import ERASE_ROLE
from crowbar_provisioner.ordering import Order, ordered
from crowbar_provisioner.tables import erasures

rest = Blueprint("provisioner_erasing_rest", __name__, url_prefix="/api/v2")
ERASURES = Listing(
    noun="erasure",
    plural="erasures",
    source=erasures,
    key=erasures.c.id,
    newest_first=True,
    fields=(
        *fields(erasures, "id"),
        derived("node_id", func.coalesce(erasures.c.node_id, literal(0)), int, help="0: the node is gone."),
        *fields(erasures, "node", "disk", "serial", "wwn", "model", "size", filter=("node", "serial", "wwn")),
        *fields(erasures, "run_id", "state", "method", "percent", "detail", filter=("state", "method")),
        *fields(erasures, "begun_at", "ended_at", "report", "signature", "public_key"),
    ),
)
reading(rest, ERASURES, parameter="erasure")
ERASE = Order(
    role=ERASE_ROLE,
    attributes="provisioner-erase-",
    action="machine.erase",
    again=f"crowbar noderoles unbind {{node}}/{ERASE_ROLE} before it is erased again; its reports stay.",
)
Disk = Annotated[str, Field(min_length=1, max_length=255)]
Disks = Annotated[list[Disk], Field(max_length=256)]


class Wish(Body):
    """``disks``: by name, serial number, WWN or path; none: all that are suitable. ``sample``: how many MiB are read
    back of each; 0: all.
    """

    disks: Disks = Field(default_factory=list)
    keep: Disks = Field(default_factory=list)
    method: Literal["best", "overwrite"] = "best"
    sample: Annotated[int, Field(ge=0, le=1 << 20)] = 0


@rest.put("/machines/<machine>/erase")
@api(
    permission="operator", listing=MACHINES, body=Wish, plans="erase the disks of {machine}",
    summary="Erase the disks of a machine, read them back, and report of each, signed",
)  # fmt: skip
def erase_machine(machine: str, body: Wish) -> Answer:
    return ordered(machine, ERASE, body)
