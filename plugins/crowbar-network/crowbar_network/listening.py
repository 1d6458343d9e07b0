"""LLDP on nodes: the role ``network-lldpd`` makes sure that it runs there, and tells what its cards are plugged into.

Every ten minutes all nodes with the role are looked at; it runs again on those that have something else to tell, or
where nobody listens any more.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from crowbar_jig_script.remote import Remote
from sqlalchemy import select

from crowbar_core import (
    Attribute,
    CrowbarError,
    Done,
    Json,
    NodeUnreachable,
    NodeView,
    PermanentError,
    Refresh,
    Role,
    RunCancelled,
    Task,
    cluster,
)
from crowbar_core.tables import node_roles, roles
from crowbar_network import program
from crowbar_network.settings import Settings
from crowbar_network.wires import Machine, read

LLDPD = "network-lldpd"
"""The role by which a node listens to its switches."""
EVERY = 600.0
AT_ONCE = 32
_INSTALL = 300.0
_ASK = 20.0
_PAUSE = 1.0

ROLE = Role(
    name=LLDPD,
    description="Listens to the switches by LLDP (lldpd), and tells what each network card is plugged into.",
    jig="network",
    attributes=(
        Attribute(
            name="network-wires",
            description="The node's network cards (nic, mac, carrier, speed in Mb/s, mtu, master) and, where a switch "
            "announces itself there, its switch, chassis, port, vlan of untagged frames, tagged VLANs and port_mtu.",
            map="network/wires",
            schema={"type": "array", "items": {"type": "object"}},
            writable=False,
        ),
    ),
)


def listen(task: Task, remote: Remote) -> Done:
    """Where LLDP did not run before, the switches are given time to announce themselves."""
    assert task.address is not None
    task.begin()
    answer = remote.ask(task.node, task.address, program.listen(), timeout=_INSTALL)
    if answer.code != 0:
        last = (answer.err.strip() or answer.out.strip() or "it said nothing").splitlines()[-1]
        raise PermanentError(f"LLDP does not run on {task.node.name}: {last}")
    begun = answer.out.strip().endswith("begun")
    task.log("lldpd was started" if begun else "lldpd runs already")
    deadline = time.monotonic() + (cluster().settings(Settings).lldp_wait if begun else 0)
    while True:
        machine = look(remote, task.node, task.address)
        deaf = [one.nic for one in machine.wires if one.carrier and one.neighbour is None]
        if not deaf or time.monotonic() >= deadline:
            break
        if task.cancelled.wait(_PAUSE):
            raise RunCancelled(f"{LLDPD} on node {task.node.name}: cancelled while its switches were waited for.")
    for one in machine.wires:
        task.log(f"{one.nic}: {_told(one)}")
    return Done(wall={"network": {"wires": [one.told() for one in machine.wires]}})


def _told(wire: Any) -> str:
    if not wire.carrier:
        return "no carrier"
    return wire.neighbour.at if wire.neighbour is not None else "nobody announces himself"


def look(
    remote: Remote,
    node: NodeView,
    address: str,
    *,
    pings: Iterable[tuple[str, str, int]] = (),
    answers: dict[tuple[str, str], str] | None = None,
    timeout: float = _ASK,
) -> Machine:
    """The node's cards and what they are plugged into. With ``pings`` (own address, other, size) also who answers:
    ``answers`` gets (own, other) -> whole, small or none.
    """
    asked, mark = program.wires(pings)
    found = program.sections(remote.ask(node, address, asked, timeout=timeout).out, mark)
    if answers is not None:
        said = (line.split() for line in found.get("pings", "").splitlines())
        answers.update({(words[0], words[1]): words[2] for words in said if len(words) == 3})
    return read(node.name, found)


# ---------------------------------------------------------------- now and then


def observe() -> None:
    """Look at all nodes that listen; where something else is told than before, the role runs again and says so."""
    here = cluster()
    with here.read() as session:
        known = told(session)
    views = [
        one.node
        for one in here.node_roles(role=LLDPD)
        if one.state == "ACTIVE" and one.node.alive and one.node.addresses
    ]
    remote = Remote.of_cluster()
    with ThreadPoolExecutor(AT_ONCE) as several:
        changed = [node for node, other in several.map(lambda one: (one, _differs(remote, one, known)), views) if other]
    if changed:
        here.apply([Refresh(role=LLDPD, node=node.name) for node in changed])


def _differs(remote: Remote, node: NodeView, known: Mapping[int, list[Mapping[str, Json]]]) -> bool:
    """A node that cannot be asked has nothing else to tell."""
    try:
        machine = look(remote, node, node.addresses[0])
    except (NodeUnreachable, CrowbarError):
        return False
    return not machine.listens or [one.told() for one in machine.wires] != known.get(node.id)


def told(session: Any, node_id: int | None = None) -> dict[int, list[Mapping[str, Json]]]:
    """Node's id -> what it last told of its cards: of all nodes that listen, or of one."""
    asked = (
        select(node_roles.c.node_id, node_roles.c.wall)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(roles.c.name == LLDPD)
    )
    if node_id is not None:
        asked = asked.where(node_roles.c.node_id == node_id)
    found = {row.node_id: (row.wall or {}).get("network", {}).get("wires") for row in session.execute(asked).all()}
    return {key: wires for key, wires in found.items() if wires is not None}
