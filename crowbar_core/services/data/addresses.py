"""Who has which address: what operators gave and nodes reported, kept as claims, and which of them count.

A node that reports another one's address would have that one's roles run in its name, or its own as root over there. So
an address that only the node itself reports counts only in ``admin_ranges``, and only when nobody else has it: what an
operator gave goes before what was reported, and the older claim before the younger.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from crowbar_core.barclamp import NodeView
from crowbar_core.domain import addresses as rules
from crowbar_core.plugins import Failure, Registry
from crowbar_core.services.data import questions
from crowbar_core.services.data.questions import tells_addresses
from crowbar_core.services.turns.parts import Parts
from crowbar_core.settings import Settings
from crowbar_core.store import claims, node_fields
from crowbar_core.store.db import Store

MOST_CONTESTED = 100
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Claim:
    """A node's claim to an address. ``source``: ``hint`` (an operator gave it) or ``report`` (the node says so).

    ``refused`` says why it does not count; empty when it does.
    """

    address: str
    source: str
    since: datetime
    holder: str
    """The node that has the address: the claimant, or the one that goes before it."""
    refused: str = ""


def keep_claims(registry: Registry, session: Session, store: Store, now: datetime, node_ids: Collection[int]) -> None:
    """Bring these nodes' claims in line with their hints and reports. A claim that stays keeps its age."""
    rows = node_fields.said(session, store, node_ids)
    there = claims.kept(session, store, node_ids)
    gone: list[tuple[int, str]] = []
    moved: dict[str, list[tuple[int, str]]] = defaultdict(list)
    new: list[dict[str, Any]] = []
    for row in rows:
        wanted = dict.fromkeys(rules.reported(row.discovery), "report")
        wanted |= dict.fromkeys(registry.hints.addresses(row.hint), "hint")
        old = there.get(row.id, {})
        gone += [(row.id, address) for address in old if address not in wanted]
        for address, source in wanted.items():
            if address not in old:
                new.append({"node_id": row.id, "address": address, "source": source, "since": now})
            elif old[address] != source:
                moved[source].append((row.id, address))
    claims.remove(session, gone)
    for source, ones in moved.items():
        claims.move(session, now, ones, source)
    claims.add(session, new)


def claims_for_views(
    registry: Registry, session: Session, store: Store, node_ids: Collection[int]
) -> Mapping[int, Sequence[Claim]]:
    """The same as ``claims_of``, but none where no barclamp tells of addresses: then nobody looks at them."""
    return claims_of(session, store, registry.settings, node_ids) if tells_addresses(registry) else {}


def claims_of(
    session: Session, store: Store, settings: Settings, node_ids: Collection[int]
) -> Mapping[int, Sequence[Claim]]:
    """The claims of these nodes, each judged; in one statement."""
    found: dict[int, list[Claim]] = defaultdict(list)
    for row in claims.of_nodes(session, store, node_ids):
        claim = Claim(row.address, row.source, row.since, row.holder)
        found[row.node_id].append(replace(claim, refused=_refusal(claim, settings, mine=row.first == row.node_id)))
    return found


def claims_of_node(parts: Parts, node_id: int) -> Sequence[Claim]:
    """One node's claims, those from an operator first."""
    with parts.store.read() as session:
        return claims_of(session, parts.store, parts.settings, [node_id]).get(node_id, ())


def contested(session: Session, settings: Settings) -> Mapping[str, Sequence[str]]:
    """Address -> nodes that claim it, the one that has it first, where these are several and it matters: an operator
    gave it, or it lies in ``admin_ranges``. (What every node calls its own, as that of a bridge for containers, is
    nobody's on the admin network.) Of very many, some.
    """
    found: dict[str, list[str]] = defaultdict(list)
    sources: dict[str, str] = {}
    for row in claims.contested(session, most=MOST_CONTESTED, shown=SHOWN):
        sources.setdefault(row.address, row.source)
        found[row.address].append(row.name)
    return {
        address: names
        for address, names in found.items()
        if sources[address] == "hint"
        or any(ipaddress.ip_address(address) in network for network in settings.admin_networks)
    }


def _refusal(claim: Claim, settings: Settings, *, mine: bool) -> str:
    address = rules.parse_address(claim.address)
    by_itself = claim.source == "report"
    if kind := rules.never_reported(address) if by_itself else rules.no_node_has(address):
        return f"it is {kind}"
    if not mine:
        return f"node {claim.holder} has it"
    if not by_itself:
        return ""
    if not any(address in network for network in settings.admin_networks):
        where = "it lies outside admin_ranges" if settings.admin_networks else "no admin_ranges are set"
        return f"{where}, and only the node itself says so: give it as a hint"
    if is_own(claim.address):
        return "it is an address of this machine"
    return ""


def is_own(address: str) -> bool:
    """Whether an address is this machine's own: then, and only then, it would also be the sender's. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.connect((address, 9))
        return ipaddress.ip_address(asking.getsockname()[0]) == ipaddress.ip_address(address)
    return False


def with_addresses(
    registry: Registry, session: Session, bare: Sequence[NodeView], known: Mapping[int, Sequence[Claim]]
) -> dict[int, NodeView]:
    """The views, by id, with the admin addresses that the barclamps know, best first, and those among them that count.

    Whatever a barclamp answers, it is an address when it gets here, and nobody else's.
    """
    if not tells_addresses(registry):
        return {one.id: one for one in bare}
    answers = questions.addresses(registry, session, [one for one in bare if not one.system])
    return {one.id: _with_addresses(registry, one, known.get(one.id, ()), answers.get(one.id, ())) for one in bare}


def _with_addresses(
    registry: Registry, bare: NodeView, known: Sequence[Claim], answers: Sequence[questions.Answer]
) -> NodeView:
    claimed = {claim.address: claim for claim in known}
    found: dict[str, None] = {}
    for answer in answers:
        if isinstance(answer.said, Failure):
            continue
        for said in answer.said or ():
            try:
                address = rules.parse_address(said)
            except ValueError:
                wrong = f"{answer.hook} answered something that is no address (without zone and prefix length)"
                registry.note_unanswered(Failure(answer.plugin, answer.hook, wrong, ""), node=bare)
                continue
            claim = claimed.get(str(address))
            if not (rules.no_node_has(address) or (claim is not None and claim.refused)):
                found[str(address)] = None
    if not found:
        return bare
    own = tuple(one for one in found if one in claimed and claimed[one].source == "report")
    return replace(bare, addresses=tuple(found), reported_addresses=own)
