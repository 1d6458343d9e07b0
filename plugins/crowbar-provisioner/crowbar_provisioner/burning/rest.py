"""/api/v2/burn_ins, and machines/NAME/burn_in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from flask import Blueprint
from pydantic import Field
from sqlalchemy import func, literal

from crowbar_core import Bind, Change, Refused, SetAttribute, cluster
from crowbar_core.rest import Answer, Body, Listing, api, derived, fields, found_id, given, reading, single
from crowbar_provisioner.choosing import ACCEPTED
from crowbar_provisioner.listings import MACHINES
from crowbar_provisioner.machines import BURN_ROLE, Machine, get
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
    key = found_id(MACHINES, machine)
    order(key, given(body))
    return single(MACHINES, key)


def order(key: int, wish: Mapping[str, Any]) -> None:
    """Raises ``Refused``."""
    with cluster().change() as change:
        _order(change, get(change.session, key), wish)


def _order(change: Change, machine: Machine, wish: Mapping[str, Any]) -> None:
    node = machine.node
    if machine.state != ACCEPTED:
        raise Refused(f"{node} is {machine.state}: crowbar machines accept {node} first.")
    for one in cluster().node_roles(role=BURN_ROLE, node=node):
        if one.state != "PROPOSED":
            raise Refused(
                f"{node} has {BURN_ROLE} already, which is {one.state}: crowbar noderoles unbind {node}/{BURN_ROLE} "
                "before it is burned in again; its reports stay."
            )
    change.apply(Bind(node=node, role=BURN_ROLE))
    for name, value in wish.items():
        change.apply(SetAttribute(node=node, attribute=f"provisioner-burn-in-{name}", value=value, role=BURN_ROLE))
    change.apply(Bind(node=node, role=BURN_ROLE, commit=True))
    change.audit("machine.burn_in", f"node {node}", **wish)
