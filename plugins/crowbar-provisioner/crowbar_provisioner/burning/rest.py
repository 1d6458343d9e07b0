"""/api/v2/burn_ins, and machines/NAME/burn_in."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Blueprint
from pydantic import Field
from sqlalchemy import func, literal

from crowbar_core.rest import Answer, Body, Listing, api, derived, fields, reading
from crowbar_provisioner.listings import MACHINES
from crowbar_provisioner.machines import BURN_ROLE
from crowbar_provisioner.ordering import Order, ordered
from crowbar_provisioner.tables import burn_ins

rest = Blueprint("provisioner_burning_rest", __name__, url_prefix="/api/v2")
BURN_INS = Listing(
    noun="burn-in",
    plural="burn_ins",
    source=burn_ins,
    key=burn_ins.c.id,
    newest_first=True,
    fields=(
        *fields(burn_ins, "id"),
        derived("node_id", func.coalesce(burn_ins.c.node_id, literal(0)), int, help="0: the node is gone."),
        *fields(burn_ins, "node", "run_id", "seconds", "state", "percent", "detail", filter=("node", "state")),
        *fields(burn_ins, "parts", "corrected", "uncorrected", "kernel", "begun_at", "ended_at"),
    ),
)
reading(rest, BURN_INS, parameter="burn_in")
BURN_IN = Order(
    role=BURN_ROLE,
    attributes="provisioner-burn-in-",
    action="machine.burn_in",
    again=f"crowbar noderoles unbind {{node}}/{BURN_ROLE} before it is burned in again; its reports stay.",
)


Part = Literal["cpu", "memory", "disk"]


class Wish(Body):
    seconds: Annotated[int, Field(ge=1, le=30 * 86400)] = 3600
    parts: Annotated[list[Part], Field(min_length=1, max_length=3)] = Field(
        default_factory=lambda: list[Part](("cpu", "memory", "disk"))
    )


@rest.put("/machines/<machine>/burn_in")
@api(
    permission="operator", listing=MACHINES, body=Wish, plans="burn in {machine}",
    summary="Burn a machine in, in the discovery image: processors, memory and disks, which are only read",
)  # fmt: skip
def burn_machine_in(machine: str, body: Wish) -> Answer:
    return ordered(machine, BURN_IN, body)
