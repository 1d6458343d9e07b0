"""The nouns of the API: the listings of the store, and what of them only services can say (drafts, who is alive)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy.orm import Session

from crowbar_core.services.cluster.hammers import shown_configs
from crowbar_core.services.data.views import node_views
from crowbar_core.services.values.drafts import Draft, drafts_in, drafts_of
from crowbar_core.services.watch.processes import Process, judged
from crowbar_core.store.db import now_of
from crowbar_core.store.drafts import DIFFERS, Kind
from crowbar_core.store.listing import Later, Listing
from crowbar_core.store.listings import deployments, groups, noderoles, nodes
from crowbar_core.store.listings.catalogue import ATTRIBS, BARCLAMPS, JIGS, ROLES
from crowbar_core.store.listings.fields import fields
from crowbar_core.store.listings.groups import GROUPS
from crowbar_core.store.listings.history import AUDITS, DELIVERIES, EVENTS, JOBS
from crowbar_core.store.listings.people import TOKENS, USERS
from crowbar_core.store.listings.runs import RUNS
from crowbar_core.store.models import ProcessRow, table
from crowbar_core.store.processes import seen
from crowbar_core.web.auth import parts

__all__ = [
    "ALL",
    "ATTRIBS",
    "AUDITS",
    "BARCLAMPS",
    "DELIVERIES",
    "DEPLOYMENTS",
    "DEPLOYMENT_ROLES",
    "EVENTS",
    "GROUPS",
    "HAMMERS",
    "JIGS",
    "JOBS",
    "NODES",
    "NODE_ROLES",
    "PROCESSES",
    "ROLES",
    "RUNS",
    "TOKENS",
    "USERS",
]

_processes = table(ProcessRow)


def _drafts_of(kind: Kind) -> Later:
    def fetch(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
        found = drafts_of(parts(), session, kind, ids)
        return {ref: [_draft(one) for one in drafts] for ref, drafts in found.items()}

    return Later(
        name="drafts", type=list, fetch=fetch, missing=[], only_on_request=False, only=DIFFERS[kind],
        example=[{"attribute": "ntp-servers", "path": "ntp/servers", "old": None, "new": ["10.0.0.1"]}],
        help="Values that were set and are not committed yet, old and new.",
    )  # fmt: skip


def _configs(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    return shown_configs(parts(), session, ids)


def _drafts_in(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    found = drafts_in(parts(), session, ids)
    return {ref: [{"on": one.name, **_draft(one)} for one in drafts] for ref, drafts in found.items()}


def _draft(one: Draft) -> dict[str, Any]:
    return {"attribute": one.attribute, "path": one.path, "old": one.old, "new": one.new}


def _with(listing: Listing, *later: Later) -> Listing:
    return replace(listing, later=(*listing.later, *later))


def _addresses_of(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    found = node_views(parts().registry, session, parts().store, ids)
    return {node_id: list(view.addresses) for node_id, view in found.items()}


NODES: Final = _with(
    nodes.NODES,
    Later(
        name="addresses", type=list, fetch=_addresses_of, missing=[], example=["192.0.2.10"],
        help="Its addresses on the admin network, best first.",
    ),
    _drafts_of("node"),
)  # fmt: skip
HAMMERS: Final = _with(
    groups.HAMMERS,
    Later(
        name="config", type=dict, fetch=_configs, missing={}, example={"address": "192.0.2.7", "password": "***"},
        help="What this kind of hammer needs, secrets masked.",
    ),
)  # fmt: skip
NODE_ROLES: Final = _with(noderoles.NODE_ROLES, _drafts_of("node_role"))
DEPLOYMENT_ROLES: Final = _with(deployments.DEPLOYMENT_ROLES, _drafts_of("deployment_role"))
DEPLOYMENTS: Final = _with(
    deployments.DEPLOYMENTS,
    Later(
        name="drafts", type=list, fetch=_drafts_in, missing=[],
        example=[{"on": "ntp in web", "attribute": "ntp-servers", "path": "ntp/servers", "old": None, "new": []}],
        help="All drafts in it: of its nodes, noderoles and roles.",
    ),
)  # fmt: skip


def _of_processes(show: Callable[[Process], Any]) -> Callable[[Session, Sequence[int]], Mapping[int, Any]]:
    def fetch(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
        now = now_of(session)
        return {one.id: show(judged(one, now)) for one in seen(session, ids)}

    return fetch


PROCESSES: Final = Listing(
    noun="process",
    plural="processes",
    source=_processes,
    key=_processes.c.id,
    fields=(
        *fields(ProcessRow, "id", "name", "host", "pid", "version", "kinds", filter=("host", "version")),
        *fields(ProcessRow, "concurrency", "started_at", "beat_at"),
    ),
    later=(
        Later(
            name="state", type=str, fetch=_of_processes(lambda one: one.state), missing="dead", only_on_request=False,
            help="alive; or dead, for a day, when it is known to be gone or gives no sign of life.",
        ),
        Later(
            name="runs", type=int, fetch=_of_processes(lambda one: one.seen.runs), missing=0, only_on_request=False,
            help="How many runs it carries out now.",
        ),
        Later(
            name="leads", type=bool, fetch=_of_processes(lambda one: one.seen.leads), missing=False,
            only_on_request=False, help="Whether it is the one that sweeps, probes and delivers events.",
        ),
    ),
)  # fmt: skip


ALL: Final = (
    NODES,
    ROLES,
    NODE_ROLES,
    DEPLOYMENTS,
    DEPLOYMENT_ROLES,
    RUNS,
    ATTRIBS,
    BARCLAMPS,
    JIGS,
    HAMMERS,
    GROUPS,
    PROCESSES,
    JOBS,
    USERS,
    TOKENS,
    EVENTS,
    DELIVERIES,
    AUDITS,
)
