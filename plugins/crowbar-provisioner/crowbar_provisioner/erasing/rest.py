"""/api/v2/erasures, and machines/NAME/erase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from flask import Blueprint
from pydantic import Field
from sqlalchemy import func, literal

from crowbar_core import cluster
from crowbar_core.rest import Answer, Body, Listing, api, derived, fields, found_id, given, reading, single
from crowbar_provisioner.erasing.order import erase
from crowbar_provisioner.listings import MACHINES
from crowbar_provisioner.machines import get
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
    key = found_id(MACHINES, machine)
    order(key, given(body))
    return single(MACHINES, key)


def order(key: int, wish: Mapping[str, Any]) -> None:
    with cluster().change() as change:
        erase(change, get(change.session, key), wish)
