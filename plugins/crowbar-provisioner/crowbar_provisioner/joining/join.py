"""A machine that runs already becomes a node, or is found to be one: in one change, as a registration is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from crowbar_core import (
    Bind,
    Change,
    ChangeNode,
    CommitNode,
    MarkAlive,
    NodeView,
    Problem,
    Refused,
    Role,
    cluster,
    hookimpl,
)
from crowbar_core.tables import nodes
from crowbar_provisioner import hammers
from crowbar_provisioner.choosing import ACCEPTED, LOCAL
from crowbar_provisioner.installed import JOINED
from crowbar_provisioner.inventory import Registration
from crowbar_provisioner.machines import INSTALL_ROLE, Machine, change_machine, find, get, happened, of_node
from crowbar_provisioner.registering import free_name
from crowbar_provisioner.reporting import check_keys, keep_cards, keep_new
from crowbar_provisioner.settings import Settings

_LABELS = 3


def refuse(session: Any, said: Registration, name: str) -> Machine | None:
    """The machine that it is already, where it has joined before. Raises ``Refused`` for one that was discovered, and
    for a name that another one has.
    """
    found = find(session, said.inventory.claim())
    if found is not None and not found.joined:
        raise Refused(
            f"It is {found.node}, a machine that was discovered here and is {found.state}: it has nothing to join. "
            "Delete that node first, if that is over."
        )
    if found is not None and name and found.node != name:
        raise Refused(f"It has joined already, as {found.node}: crowbar nodes update {found.node} --name changes that.")
    if found is None and name and _is_taken(session, name):
        raise Refused(f"There is a node {name} already, which is not known to be this machine: give another name.")
    return found


def join(
    change: Change, said: Registration, *, source: str, name: str = "", by: str, alive: bool = False
) -> Machine:  # fmt: skip
    """It is a node that keeps what it runs. Raises as ``refuse`` does, and ``Refused`` for another's host keys."""
    found = refuse(change.session, said, name)
    check_keys(change, said, found.node_id if found is not None else None)
    if found is None:
        made = change.create_node(
            name or _name_of(change, said), description="Joined", discovery=said.inventory.discovery(),
            host_keys=said.host_keys, bootenv=LOCAL, alive=alive,
        )  # fmt: skip
        key = keep_new(
            change, made.id, said, source=source, state=ACCEPTED, decided_by=f"joined by {by}"[:255], joined=True
        )
        found = get(change.session, key)
        happened(change, key, "joined", f"from {source}, by {by}")
    else:
        change.apply(ChangeNode(node=found.node, discovery=said.inventory.discovery(), host_keys=list(said.host_keys)))
        change_machine(change, found.id, source=source, last_seen=change.now)
        keep_cards(change, found.id, said.inventory.claim())
        happened(change, found.id, "joined again", f"from {source}, by {by}")
        if alive:
            change.apply(MarkAlive(node=found.node, alive=True))
    hammers.give(change, found.node)
    for role in cluster().settings(Settings).joined_roles:
        change.apply(Bind(node=found.node, role=role))
    change.apply(CommitNode(node=found.node))
    change.audit("machine.join", f"node {found.node}", by=by, source=source)
    return found


def release(change: Change, machine: Machine, *, released: bool) -> None:
    """Whether what is on its disks may be destroyed. Raises ``Refused`` for one that has not joined."""
    if not machine.joined:
        raise Refused(f"{machine.node} was discovered: roles that destroy what is on its disks are not kept from it.")
    change_machine(change, machine.id, released=released)
    happened(change, machine.id, "released" if released else "protected", "its disks may be erased" if released else "")
    change.audit("machine.release" if released else "machine.protect", f"node {machine.node}")


@hookimpl
def check_binding(node: NodeView, role: Role, session: Any) -> Iterable[Problem]:
    """What a machine ran when it joined is kept."""
    if not role.destructive or node.system:
        return
    machine = of_node(session, node.name)
    if machine is not None and machine.joined and not machine.released:
        yield Problem(
            detail=f"{node.name} has joined with what is on its disks, and role {role.name} destroys that. If it may: "
            f"crowbar machines release {node.name}"
        )
    elif role.name == INSTALL_ROLE and JOINED in node.roles:
        yield Problem(
            detail=f"{node.name} is a joined node, and with another system no longer. Unbind that first, with what "
            f"rests upon it: crowbar noderoles unbind {node.name}/{JOINED}"
        )


def _name_of(change: Change, said: Registration) -> str:
    """What it calls itself, where that is a whole name and free; else as a machine that was discovered."""
    name = said.inventory.hostname.lower().rstrip(".")
    whole = name.count(".") >= _LABELS - 1 and all(_is_label(one) for one in name.split("."))
    if whole and len(name) <= 253 and not _is_taken(change.session, name):
        return name
    return free_name(change, said.inventory.macs[0])


def _is_label(text: str) -> bool:
    plain = text.replace("-", "a")
    return 0 < len(text) <= 63 and text[0] != "-" != text[-1] and plain.isascii() and plain.isalnum()


def _is_taken(session: Any, name: str) -> bool:
    return session.execute(select(nodes.c.id).where(nodes.c.name_key == name.lower())).first() is not None
