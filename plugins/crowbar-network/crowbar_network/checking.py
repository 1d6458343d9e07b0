"""Checking cables and ports: all nodes of the networks are asked at once, and what they tell is held against what is
meant.

A check is a row in a table: asked for over REST, carried out by the process that does the periodic jobs, one at a time.
It changes nothing on nodes. What it finds stays in the row; of all rows the last twenty are kept.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from crowbar_jig_script.remote import Remote
from sqlalchemy import delete, insert, select, update

from crowbar_core import Change, Cluster, CrowbarError, NodeView, Refresh, cluster
from crowbar_core.tables import nodes as node_table
from crowbar_network.conduits import Nic, parse
from crowbar_network.layers import Wanted
from crowbar_network.listening import LLDPD, look, told
from crowbar_network.miscabling import Meant, find
from crowbar_network.pinging import Ping, targets
from crowbar_network.resolving import machines
from crowbar_network.tables import accepted_wires, checks, networks
from crowbar_network.telling import OWN_ROLES
from crowbar_network.wanted import ROLE, Config, on_machine, wanted_of
from crowbar_network.wires import Machine

EVERY = 1.0
KEPT = 20
AT_ONCE = 32
LIMIT = 180.0
"""Seconds after which a check says what it has; who has not answered by then is named."""
_EACH = 90.0
_STALE = timedelta(minutes=15)
_USUAL_MTU = 1500


@dataclass(kw_only=True)
class Asked:
    """A node, what the networks mean on it, and whom it is to ask: (own address, other, bytes) -> (network, end)."""

    view: NodeView
    meant: list[Meant] = field(default_factory=list)
    pings: dict[tuple[str, str, int], tuple[str, str]] = field(default_factory=dict)


# ---------------------------------------------------------------- asked for


def ask(change: Change, names: Sequence[str]) -> int:
    """A check of these networks (of all, if none is named) is to be made; its id."""
    rows = checks.c.id.in_(select(checks.c.id).order_by(checks.c.id.desc()).offset(KEPT - 1))
    change.session.execute(delete(checks).where(rows, checks.c.state.in_(("done", "failed"))))
    wanted = sorted(set(names))
    values = {"state": "waiting", "networks": wanted, "asked_at": change.now, "nodes": 0, "pings": 0,
              "findings": [], "unheard": []}  # fmt: skip
    key: int = change.session.scalar(insert(checks).values(**values).returning(checks.c.id))
    change.audit("network.check", f"networks {', '.join(wanted) or 'all'}")
    return key


def accept(change: Change, node_ids: Sequence[int] | None = None) -> int:
    """Where the cards of these nodes (of all, if None) are plugged in now is right. How many nodes have told of it."""
    session = change.session
    there = {key: wires for key, wires in told(session).items() if node_ids is None or key in node_ids}
    rows = []
    for key, wires in there.items():
        places = {one["mac"]: [one["chassis"], one["port"]] for one in wires if one.get("port")}
        if places:
            rows.append({"node_id": key, "places": places})
    session.execute(delete(accepted_wires).where(accepted_wires.c.node_id.in_([one["node_id"] for one in rows])))
    if rows:
        session.execute(insert(accepted_wires), rows)
    change.audit("network.accept_wires", "networks", nodes=len(rows))
    return len(rows)


def accepted(session: Any) -> dict[str, dict[str, tuple[str, str]]]:
    """Node -> MAC -> (chassis, port)."""
    rows = session.execute(
        select(node_table.c.name, accepted_wires.c.places).join(
            accepted_wires, accepted_wires.c.node_id == node_table.c.id
        )
    ).all()
    return {one.name: {mac: (place[0], place[1]) for mac, place in one.places.items()} for one in rows}


# ---------------------------------------------------------------- carried out


def work() -> None:
    """Carry out the check that waits longest, if any. One that was begun and not ended is begun again: whoever was at
    it is no more.
    """
    here = cluster()
    with here.read() as session:
        wanted = select(checks).where(checks.c.state.in_(("waiting", "running"))).order_by(checks.c.id).limit(1)
        row = session.execute(wanted).first()
    if row is None:
        return
    with here.change() as change:
        late = change.now - row.asked_at > _STALE
        _note(change, row.id, state="failed" if late else "running", ended_at=change.now if late else None)
    if late:
        return
    result: dict[str, Any] = {"state": "failed"}
    try:
        result = {"state": "done", **carry_out(here, row.networks)}
    except CrowbarError as problem:
        result["unheard"] = [{"node": "", "why": problem.detail}]
        raise
    finally:
        with here.change() as change:
            _note(change, row.id, ended_at=change.now, **result)


def _note(change: Change, key: int, **values: Any) -> None:
    change.session.execute(update(checks).where(checks.c.id == key).values(**values))


def carry_out(here: Cluster, names: Sequence[str]) -> dict[str, Any]:
    """What a check of these networks finds, as the table has it."""
    with here.read() as session:
        plan, unheard = _asked(here, session, set(names))
        known, right = told(session), accepted(session)
    found, pings, silent = _hear(plan)
    findings = find(found, [meant for one in plan for meant in one.meant], pings, right)
    _tell(here, plan, found, known)
    return {"nodes": len(found), "pings": len(pings), "findings": [asdict(one) for one in findings],
            "unheard": unheard + silent}  # fmt: skip


def _tell(here: Cluster, plan: Sequence[Asked], found: Sequence[Machine], known: Mapping[int, Any]) -> None:
    """What nodes tell otherwise than their role had it, it tells anew."""
    by_name = {one.node: one for one in found}
    other = [
        Refresh(role=LLDPD, node=one.view.name)
        for one in plan
        if one.view.id in known
        and (machine := by_name.get(one.view.name)) is not None
        and [wire.told() for wire in machine.wires] != known[one.view.id]
    ]
    if other:
        here.apply(other)


def _hear(plan: Sequence[Asked]) -> tuple[list[Machine], list[Ping], list[dict[str, str]]]:
    """Ask all of them, many at once: what they told, who answered whom, and whom nobody could ask."""
    remote = Remote.of_cluster()
    deadline = time.monotonic() + LIMIT

    def hear(one: Asked) -> tuple[Machine, list[Ping]]:
        answers: dict[tuple[str, str], str] = {}
        machine = look(
            remote, one.view, one.view.addresses[0], pings=list(one.pings), answers=answers,
            timeout=max(1.0, min(_EACH, deadline - time.monotonic())),
        )  # fmt: skip
        heard = [
            Ping(node=one.view.name, network=network, to=end, small=said != "none", full=said == "whole")
            for (mine, theirs, _), (network, end) in one.pings.items()
            if (said := answers.get((mine, theirs))) is not None
        ]
        return machine, heard

    pool = ThreadPoolExecutor(AT_ONCE)
    futures: dict[Future[tuple[Machine, list[Ping]]], Asked] = {pool.submit(hear, one): one for one in plan}
    finished, _ = wait(futures, timeout=LIMIT)
    pool.shutdown(wait=False, cancel_futures=True)
    found: list[Machine] = []
    pings: list[Ping] = []
    unheard: list[dict[str, str]] = []
    for future, one in futures.items():
        try:
            if future not in finished:
                unheard.append({"node": one.view.name, "why": f"It has not answered within {LIMIT:g} s."})
                continue
            machine, heard = future.result()
        except CrowbarError as problem:
            unheard.append({"node": one.view.name, "why": problem.detail})
        else:
            found.append(machine)
            pings += heard
    silent = {one["node"] for one in unheard}  # that they answer nobody follows from that they cannot be asked
    return found, [one for one in pings if one.to not in silent], unheard


# ---------------------------------------------------------------- what is asked


def _asked(here: Cluster, session: Any, names: set[str]) -> tuple[list[Asked], list[dict[str, str]]]:
    """Who is asked what, and the nodes that nobody can ask, with why."""
    views = [
        one for one in here.node_roles()
        if one.role.startswith(ROLE) and one.role not in OWN_ROLES and one.state == "ACTIVE"
        and (not names or one.role.removeprefix(ROLE) in names)
    ]  # fmt: skip
    first = {view.node.id: view for view in reversed(views)}
    wanted = wanted_of(list(first.values()), session)
    cards = {one.id: one for one in machines(session, ids=list(first))}
    ports = {one.id: one.vlan for one in session.execute(select(networks.c.id, networks.c.vlan)).all()}
    found: list[Asked] = []
    unheard: list[dict[str, str]] = []
    configs: dict[str, list[tuple[Asked, Config]]] = {}
    for key, view in sorted(first.items(), key=lambda pair: cards[pair[0]].key if pair[0] in cards else ""):
        said = wanted.get(view.id, {}).get("network", {})
        mine = [one for each in said.get("wanted-config", []) if (one := Config.of(each)).active]
        mine = [one for one in mine if not names or one.name in names]
        machine = cards.get(key)
        if not mine or machine is None:
            continue
        if not (view.node.alive and view.node.addresses):
            why = "It has no address at which it could be asked." if view.node.alive else "It is not alive."
            unheard.append({"node": view.node.name, "why": why})
            continue
        asked = Asked(view=view.node)
        if machine.nics is not None:
            try:
                meant = on_machine(mine, machine.nics, machine.product, said.get("maps", []))
            except CrowbarError as problem:
                unheard.append({"node": view.node.name, "why": problem.detail})
                continue
            speeds = {one.name: one for one in machine.nics}
            asked.meant = [
                _meant(view.node.name, one, config, ports.get(one.id), speeds)
                for one, config in zip(meant, mine, strict=True)
            ]
        found.append(asked)
        for config in mine:
            configs.setdefault(config.name, []).append((asked, config))
    switches = _switches(session, found)
    for name, several in configs.items():
        _plan_pings(name, several, switches)
    return found, unheard


def _meant(node: str, one: Wanted, config: Config, port_vlan: int | None, cards: Mapping[str, Nic]) -> Meant:
    return Meant(
        node=node, network=one.network, nics=one.nics, vlan=one.vlan if one.vlan is not None else port_vlan,
        tagged=one.vlan is not None, mode=one.team_mode, mtu=one.mtu, speed=_least(config.conduit, one.nics, cards),
    )  # fmt: skip


def _least(conduit: str, nics: Sequence[str], cards: Mapping[str, Nic]) -> int:
    """The slowest that the cards may run: what the conduit names; of cards named otherwise, the most that they can."""
    member = parse(conduit).members[0]
    if member.kind == "speed":
        return 0 if member.sign in ("?", "-") else member.speed
    return min((cards[nic].speed for nic in nics if nic in cards), default=0)


def _switches(session: Any, plan: Sequence[Asked]) -> dict[tuple[str, str], str]:
    """(node, network) -> the switch of its first card there, as was last told."""
    known, found = told(session), {}
    for one in plan:
        at = {wire["nic"]: wire.get("chassis", "") for wire in known.get(one.view.id, [])}
        for meant in one.meant:
            if meant.nics and at.get(meant.nics[0]):
                found[one.view.name, meant.network] = at[meant.nics[0]]
    return found


def _plan_pings(network: str, several: Sequence[tuple[Asked, Config]], switches: Mapping[tuple[str, str], str]) -> None:
    """Between each two an address of one family that both have, IPv4 rather than IPv6."""
    mine = {asked.view.name: _by_family(config.addresses) for asked, config in several}
    names = [asked.view.name for asked, _ in several]
    whom = targets(names, {name: switches.get((name, network), "") for name in names})
    for asked, config in several:
        own, mtu = mine[asked.view.name], config.mtu or _USUAL_MTU
        ends = [(mine[other], other) for other in whom[asked.view.name]]
        ends += [(_by_family([address]), address.partition("/")[0]) for address, _ in config.routers]
        for theirs, end in ends:
            family = next((one for one in (4, 6) if one in own and one in theirs), None)
            if family is not None:
                size = mtu - (28 if family == 4 else 48)
                asked.pings[own[family], theirs[family], size] = (network, end)


def _by_family(addresses: Sequence[str]) -> dict[int, str]:
    """The first of each."""
    found: dict[int, str] = {}
    for one in addresses:
        found.setdefault(6 if ":" in one else 4, one.partition("/")[0])
    return found
