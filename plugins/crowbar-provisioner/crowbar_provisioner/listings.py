"""Machines, rules of acceptance, installations: as they look over REST and on pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import case, func, literal, select
from sqlalchemy.orm import Session

from crowbar_core.rest import NODES, Later, Listing, derived, field, fields
from crowbar_provisioner.choosing import LOCAL
from crowbar_provisioner.consoles.keeping import of_machines
from crowbar_provisioner.installs import DONE
from crowbar_provisioner.machines import macs_of
from crowbar_provisioner.tables import boots, happenings, installs, machines, powers, rescues, rules, sleeps

_nodes = NODES.source


def _timeline(session: Session, keys: Sequence[int]) -> Mapping[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    asked = select(happenings).where(happenings.c.machine_id.in_(keys)).order_by(happenings.c.id)
    for one in session.execute(asked).all():
        line = {"at": one.at.isoformat(), "what": one.what, "detail": one.detail}
        found.setdefault(one.machine_id, []).append(line)
    return found


_LAST = select(func.max(boots.c.id)).where(boots.c.machine_id == machines.c.id).correlate(machines).scalar_subquery()
_BOOTED = select(boots.c.env).where(boots.c.id == _LAST).correlate(machines).scalar_subquery()
_BEGUN = select(boots.c.begun_at).where(boots.c.id == _LAST).correlate(machines).scalar_subquery()
_RUNS_ITS_DISK = (
    select(installs.c.id)
    .where(installs.c.node_id == machines.c.node_id, installs.c.state == DONE, installs.c.ended_at >= _BEGUN)
    .correlate(machines)
    .exists()
)
"""Since it was installed it has booted nothing over the network: its BMC has it boot from its disk."""

_RESCUE = select(rescues.c.state).where(rescues.c.node_id == machines.c.node_id).correlate(machines).scalar_subquery()
_POWER = select(powers.c.state).where(powers.c.node_id == machines.c.node_id).correlate(machines).scalar_subquery()
_ASLEEP = (
    select(sleeps.c.asleep).where(sleeps.c.node_id == machines.c.node_id, sleeps.c.asleep).correlate(machines).exists()
)

MACHINES = Listing(
    noun="machine",
    plural="machines",
    source=machines.join(_nodes, _nodes.c.id == machines.c.node_id),
    key=machines.c.id,
    name=_nodes.c.name,
    fields=(
        *fields(machines, "id"),
        field(_nodes.c.name, "name", filter=True, sort=True, example="d52-54-00-12-34-56.example.com"),
        *fields(machines, "node_id", "state", filter=("node_id", "state"), sort=("state",)),
        *fields(machines, "decided_by", "uuid", "serial", "firmware", "source", filter=("serial", "source")),
        derived(
            "claimed", machines.c.claim_id.is_not(None), bool, filter=True,
            help="A boot that nobody expected says to be this machine, and waits to be accepted.",
        ),
        field(_nodes.c.bootenv, "bootenv", filter=True, example="local"),
        field(_nodes.c.served_bootenv, "served_bootenv", example="local"),
        derived(
            "booted", case((_RUNS_ITS_DISK, literal(LOCAL)), else_=func.coalesce(_BOOTED, literal(""))), str,
            help="What it booted last.",
        ),
        derived(
            "rescue", func.coalesce(_RESCUE, literal("")), str,
            help="Of one in rescue: wanted (from its next boot on), in, or leaving.",
        ),
        derived(
            "power", func.coalesce(_POWER, literal("")), str,
            help="on or off, as its BMC said last; empty without provisioner-bmc, or where it could not be read.",
        ),
        derived(
            "asleep", _ASLEEP, bool, filter=True, help="It was switched off because nothing was to be done on it.",
        ),
        derived(
            "by_kexec", machines.c.kexec_since.is_not(None), bool, filter=True,
            help="It went on by kexec after its installation, and was not yet started from its disk by its firmware.",
        ),
        field(_nodes.c.alive, "alive", filter=True),
        *fields(machines, "joined", "released", filter=("joined",)),
        *fields(machines, "problem", "expected_until", "first_seen", "last_seen", sort=("last_seen",)),
    ),
    later=(
        Later(
            name="macs", type=list[str], fetch=macs_of, missing=[], only_on_request=False, example=["52:54:00:12:34:56"]
        ),
        Later(
            name="timeline", type=list[dict[str, Any]], fetch=_timeline, missing=[],
            help="What happened to it, oldest first.",
        ),
        Later(
            name="console", type=list[dict[str, Any]], fetch=of_machines, missing=[],
            help="Its last lines, from its console as its hammers heard it, and as it sent them itself.",
        ),
    ),
)  # fmt: skip
RULES = Listing(
    noun="accept rule",
    plural="accept_rules",
    source=rules,
    key=rules.c.id,
    name=rules.c.name,
    fields=(
        *fields(rules, "id", "name", filter=("name",), sort=("name",)),
        *fields(rules, "subnet", "mac_prefix", "serials"),
    ),
)
INSTALLS = Listing(
    noun="installation",
    plural="installations",
    source=installs.join(_nodes, _nodes.c.id == installs.c.node_id),
    key=installs.c.id,
    newest_first=True,
    fields=(
        *fields(installs, "id", "node_id", filter=("node_id",)),
        field(_nodes.c.name, "node", filter=True, example="d52-54-00-12-34-56.example.com"),
        *fields(
            installs, "run_id", "os", "state", "step", "percent", "detail", "disk", "kexec", filter=("os", "state")
        ),
        *fields(installs, "begun_at", "ended_at"),
    ),
)
