"""From power-on to an installed, managed machine: boot files, discovery, operating systems."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import ModuleType

from flask import Blueprint
from sqlalchemy import func, select

from crowbar_core import Barclamp, NavItem, Panel, Periodic, Problem, Schema, Service, cluster, hookimpl
from crowbar_provisioner import boots, catalogue, hammers, hooks, powers, standing
from crowbar_provisioner.answering import addresses_of as addresses_of
from crowbar_provisioner.answering import boots_of as boots_of
from crowbar_provisioner.answering import data_of as data_of
from crowbar_provisioner.answering import dhcp_strangers as dhcp_strangers
from crowbar_provisioner.answering import on_active as on_active
from crowbar_provisioner.answering import on_node_change as on_node_change
from crowbar_provisioner.answering import on_node_create as on_node_create
from crowbar_provisioner.boot import server
from crowbar_provisioner.boot.loading import missing
from crowbar_provisioner.burning.pages import pages as burning_pages
from crowbar_provisioner.burning.rest import rest as burning_rest
from crowbar_provisioner.choosing import QUARANTINED
from crowbar_provisioner.erasing.pages import pages as erasing_pages
from crowbar_provisioner.erasing.rest import rest as erasing_rest
from crowbar_provisioner.failing import on_blocked as on_blocked
from crowbar_provisioner.failing import on_error as on_error
from crowbar_provisioner.failing import on_todo as on_todo
from crowbar_provisioner.first_questions import wizard_steps as wizard_steps
from crowbar_provisioner.installed import on_node_bind as on_node_bind
from crowbar_provisioner.installed import on_node_unbind as on_node_unbind
from crowbar_provisioner.joining.join import check_binding as check_binding
from crowbar_provisioner.joining.pages import pages as joining_pages
from crowbar_provisioner.joining.rest import rest as joining_rest
from crowbar_provisioner.pages import PANEL, pages
from crowbar_provisioner.plans import plan_lines as plan_lines
from crowbar_provisioner.rest import rest
from crowbar_provisioner.roles import ROLES
from crowbar_provisioner.settings import Settings
from crowbar_provisioner.sleeping import sleep
from crowbar_provisioner.sleeping.sleep import on_machine_claim as on_machine_claim
from crowbar_provisioner.sleeping.sleep import on_nodes_bind as on_nodes_bind
from crowbar_provisioner.tables import machines

LATE_TOLD = timedelta(days=1)
"""For so long the dashboard says who came late."""


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(
        name="provisioner",
        help="From power-on to an installed, managed machine: boot files, discovery, operating systems.",
        requires=("jig-script",),
        after=("network", "dhcp"),
        roles=ROLES,
        settings=Settings,
    )


@hookimpl
def register_schema() -> Schema:
    return Schema(migrations="crowbar_provisioner.migrations")


@hookimpl
def register_hookspecs() -> ModuleType:
    return hooks


@hookimpl
def register_blueprints() -> Iterable[Blueprint]:
    return [rest, pages, joining_rest, joining_pages, erasing_rest, erasing_pages, burning_rest, burning_pages]


@hookimpl
def register_nav() -> Iterable[NavItem]:
    return [NavItem(label="Machines", url="/machines", order=90)]


@hookimpl
def register_panels() -> Iterable[Panel]:
    return [PANEL]


@hookimpl
def register_periodic() -> Iterable[Periodic]:
    return [
        Periodic(name="provisioner-power", seconds=60, run=powers.read_due),
        Periodic(name="provisioner-hammers", seconds=60, run=hammers.give_due),
        Periodic(name="provisioner-sleep", seconds=60, run=sleep.look),
        Periodic(name="provisioner-kexec", seconds=60, run=standing.look),
        Periodic(name="provisioner-tokens", seconds=60, run=boots.end_old),
    ]


@hookimpl
def register_services() -> Iterable[Service]:
    if not cluster().settings(Settings).listen:
        return []
    return [Service(name=server.NAME, run=server.run)]


@hookimpl
def status_checks() -> Iterable[Problem]:
    """Somebody is to look at machines that wait to be accepted; or what machines boot is not there."""
    settings = cluster().settings(Settings)
    for problem in (*catalogue.problems(settings.root), *(missing(settings.root) if settings.listen else ())):
        yield Problem(detail=problem, severity="warning")
    with cluster().read() as session:
        counted = {
            where: (session.scalar(select(func.count()).select_from(machines).where(waiting)), how)
            for waiting, where, how in (
                (machines.c.state == QUARANTINED, "state=quarantined", ""),
                (machines.c.claim_id.is_not(None), "claimed=true", " again, which booted unexpectedly"),
            )
        }
        late = boots.late_ones(session, datetime.now(UTC) - LATE_TOLD)
        lost = standing.problems(session, datetime.now(UTC))
    for where, (count, how) in counted.items():
        if count:
            said = f"{count} machine{'' if count == 1 else 's'} to be accepted{how}: see /machines?{where}."
            yield Problem(detail=said, severity="warning")
    for told in lost:
        yield Problem(detail=told, severity="error")
    if late:
        more = f" and {len(late) - 3} more" if len(late) > 3 else ""
        said = f"{', '.join(late[:3])}{more} came later than expected, and passed by UUID, serial number and card."
        yield Problem(detail=f"{said} If that was not to be, refuse it: see its page.", severity="warning")
