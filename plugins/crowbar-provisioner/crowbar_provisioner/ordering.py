"""An operator orders what is done to a machine: the role that does it is bound with what is said, and committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crowbar_core import Bind, Change, Refused, SetAttribute, cluster
from crowbar_core.rest import Answer, Body, found_id, given, single
from crowbar_provisioner.choosing import ACCEPTED
from crowbar_provisioner.listings import MACHINES
from crowbar_provisioner.machines import Machine, get


@dataclass(frozen=True, kw_only=True)
class Order:
    """``attributes``: how the names of the role's begin. ``again``: what helps where the machine has the role already.
    ``along``: roles that are committed with it, where they are bound.
    """

    role: str
    attributes: str
    action: str
    again: str
    along: tuple[str, ...] = ()


def order(key: int, what: Order, wish: Mapping[str, Any]) -> None:
    """Raises ``Refused``."""
    with cluster().change() as change:
        _bind(change, get(change.session, key), what, {name.replace("_", "-"): wish[name] for name in wish})


def ordered(machine: str, what: Order, body: Body) -> Answer:
    """The answer to who orders it over REST: the machine."""
    key = found_id(MACHINES, machine)
    order(key, what, given(body))
    return single(MACHINES, key)


def _bind(change: Change, machine: Machine, what: Order, values: Mapping[str, Any]) -> None:
    node = machine.node
    if machine.state != ACCEPTED:
        raise Refused(f"{node} is {machine.state}: crowbar machines accept {node} first.")
    for one in cluster().node_roles(role=what.role, node=node):
        if one.state != "PROPOSED":
            raise Refused(f"{node} has {what.role} already, which is {one.state}: {what.again.format(node=node)}")
    change.apply(Bind(node=node, role=what.role))
    for name, value in values.items():
        change.apply(SetAttribute(node=node, attribute=f"{what.attributes}{name}", value=value, role=what.role))
    change.apply(Bind(node=node, role=what.role, commit=True))
    for role in what.along:
        if cluster().node_roles(role=role, node=node):
            change.apply(Bind(node=node, role=role, commit=True))
    change.audit(what.action, f"node {node}", **values)
