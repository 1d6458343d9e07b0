"""DHCP servers that are not Crowbar's: each node with dhcp-server asks every minute, as a new machine would, who else
offers addresses on its networks.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from crowbar_jig_script.remote import Remote
from sqlalchemy import delete, insert, select

from crowbar_core import CrowbarError, NodeRoleView, Problem, cluster
from crowbar_dhcp import facts, program, services
from crowbar_dhcp.serving import OWN
from crowbar_dhcp.tables import foreign

EVERY = 60
_TIMEOUT = 15.0
_AT_ONCE = 8
_log = logging.getLogger(__name__)


def observe() -> None:
    """Have all servers ask, and keep what they hear: who is not heard any more is gone. A node that cannot be reached
    says nothing, and what it heard last stays.
    """
    here = cluster()
    servers = [one for one in here.node_roles(role=services.SERVER) if one.state == "ACTIVE" and one.node.addresses]
    if not servers:
        _keep([], heard_by=None)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = [(one, pool.submit(copy_context().run, _ask, one)) for one in servers]
        heard = [(one, said) for one, future in asked if (said := future.result()) is not None]
    ours = _ours([said for _, said in heard])
    found = [
        {"node_id": one.node.id, "network": _network(each, said["cards"]), **each}
        for one, said in heard
        for each in said["offers"]
        if each["mac"] not in ours and each["address"] not in ours
    ]
    _keep(found, heard_by=[one.node.id for one, _ in heard])


def _ask(one: NodeRoleView) -> Mapping[str, Any] | None:
    """What it hears, with its cards' addresses; None where that cannot be found out."""
    remote, address = Remote.of_cluster(), one.node.addresses[0]
    probe = resources.files("crowbar_dhcp").joinpath("node", "probe.py").read_text(encoding="utf-8")
    try:
        there = program.interfaces(remote.ask(one.node, address, program.LOOK, timeout=_TIMEOUT).out)
        cards = " ".join(shlex.quote(card) for card in sorted({card for card, _ in there}))
        answer = remote.ask(one.node, address, f"python3 - {cards} <<'END'\n{probe}END\n", timeout=_TIMEOUT)
        said: dict[str, Any] = json.loads(answer.out)
    except (CrowbarError, ValueError) as problem:
        _log.info("%s does not say which DHCP servers it hears: %s", one.node.name, problem)
        return None
    said["cards"] = there
    said["own"] += [each.partition("/")[0] for _, each in there]
    return said


def _ours(heard: Sequence[Mapping[str, Any]]) -> set[str]:
    """MACs and addresses of Crowbar's servers, and of those of one's own; whoever has such an address has the MAC."""
    known = {each for said in heard for each in said["own"]}
    with cluster().read() as session:
        for one in services.all_services(session):
            known.add(urlsplit(one.url).hostname or "")
            known |= {str(address).partition("/")[0] for _, address in one.options.get("interfaces", ())}
    offers = [each for said in heard for each in said["offers"]]
    return known | {each["mac"] for each in offers if each["address"] in known}


def _network(offer: Mapping[str, Any], cards: Sequence[tuple[str, str]]) -> str:
    """The network of that card; the card itself where it has an address of none."""
    mine = [ipaddress.ip_interface(address).ip for card, address in cards if card == offer["card"]]
    mine.sort(key=lambda one: one.version != offer["family"])
    for address in mine:
        for _, answer in facts.ask(facts.SUBNETS) or ():
            for one in answer:
                if address in ipaddress.ip_network(one["subnet"]):
                    return str(one["network"])
    return str(offer["card"])


def _keep(found: Sequence[Mapping[str, Any]], *, heard_by: Sequence[int] | None) -> None:
    """``heard_by``: the nodes that say all that they hear; None: all."""
    with cluster().change() as change:
        session = change.session
        known = {_key(one._mapping): one.id for one in session.execute(select(foreign)).all()
                 if heard_by is None or one.node_id in heard_by}  # fmt: skip
        new = {_key(one): one for one in found}
        gone = [ref for key, ref in known.items() if key not in new]
        if gone:
            session.execute(delete(foreign).where(foreign.c.id.in_(gone)))
        rows = [{**one, "since": change.now} for key, one in new.items() if key not in known]
        if rows:
            session.execute(insert(foreign), rows)


def _key(one: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(one[name] for name in ("node_id", "card", "family", "mac", "address", "network"))


def problems(session: Any) -> Iterable[Problem]:
    """One for each server and network, however many nodes hear it; none where others are to give addresses."""
    otherwise = facts.mode()
    ways = {one["network"]: one["dhcp"] for one in facts.admin_subnets(otherwise)}
    heard: dict[tuple[str, str, str], datetime] = {}
    for one in session.execute(select(foreign).order_by(foreign.c.since, foreign.c.id)).all():
        heard.setdefault((one.address, one.mac, one.network), one.since)
    for (address, mac, network), since in heard.items():
        if ways.get(network, otherwise) != OWN:
            continue
        yield Problem(
            detail=f"A DHCP server that is not Crowbar's answers in network {network} since "
            f"{since:%Y-%m-%d %H:%M:%S} UTC: {address} ({mac}). Switch it off, or let it "
            "give the addresses there (the network's dhcp: proxy or none)."
        )
