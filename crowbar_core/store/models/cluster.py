"""Deployments, nodes, the roles bound to them, and where values come from."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Index,
    Integer,
    SmallInteger,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from crowbar_core.domain.states import NEEDS_PARENTS_ACTIVE, State
from crowbar_core.store.models.base import (
    NEVER_REUSE_IDS,
    Model,
    flag,
    json_list,
    json_object,
    moment,
    name_key,
    number,
    one_of,
    ref,
    words,
)

_READY = ", ".join(str(int(state)) for state in NEEDS_PARENTS_ACTIVE)
_TODO, _ACTIVE, _BLOCKED = int(State.TODO), int(State.ACTIVE), int(State.BLOCKED)
RUNNABLE_INDEX = f"state = {_TODO} OR (state = {_ACTIVE} AND rerun)"


class Deployment(Model):
    __tablename__ = "deployments"
    __table_args__ = (
        Index("uq_deployments_lower_name", func.lower(text("name")), unique=True),
        Index(
            "uq_deployments_one_system",
            "system",
            unique=True,
            sqlite_where=text("system"),
            postgresql_where=text("system"),
        ),
        CheckConstraint("system = (parent_id IS NULL)", name="only_system_is_root"),
        CheckConstraint("committed OR NOT system", name="system_is_committed"),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = name_key()
    description: Mapped[str] = words()
    system: Mapped[bool] = flag()
    committed: Mapped[bool] = flag()
    parent_id: Mapped[int | None] = ref("deployments.id", "RESTRICT")
    created_at: Mapped[datetime] = moment()
    updated_at: Mapped[datetime] = moment()


class Node(Model):
    __tablename__ = "nodes"
    __table_args__ = (
        Index("uq_nodes_lower_name", func.lower(text("name")), unique=True),
        Index("ix_nodes_name_key", "name_key", "id"),
        CheckConstraint("alive OR NOT system", name="system_is_alive"),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = name_key()
    description: Mapped[str] = words()
    admin: Mapped[bool] = flag()
    system: Mapped[bool] = flag()
    alive: Mapped[bool] = flag()
    switched_off: Mapped[bool] = flag()
    """A hammer was told to power it off: that it is not alive is as it should be."""
    available: Mapped[bool] = flag()
    leaving: Mapped[bool] = flag()
    """It goes when nothing is bound to it any more."""
    allocated: Mapped[bool] = flag()
    bootenv: Mapped[str] = mapped_column(server_default="local")
    served_bootenv: Mapped[str] = words()
    """What the services that boot it say now; ``bootenv`` is what they should say."""
    order: Mapped[int] = mapped_column("order", Integer, server_default=text("1000"))
    deployment_id: Mapped[int] = ref("deployments.id", "RESTRICT")
    target_role_id: Mapped[int | None] = ref("roles.id", "SET NULL")
    discovery: Mapped[dict[str, Any]] = json_object()
    hint: Mapped[dict[str, Any]] = json_object()
    proposed_hint: Mapped[dict[str, Any]] = json_object()
    """The hint with its drafts: what ``hint`` becomes when they are committed."""
    host_keys: Mapped[list[str]] = json_list()
    status: Mapped[str] = words()
    """Why the node is not alive, as the last probe or the node itself said."""
    probed_at: Mapped[datetime | None]
    alive_at: Mapped[datetime | None]
    """When ``alive`` last changed; None: it was never alive."""
    created_at: Mapped[datetime] = moment()
    updated_at: Mapped[datetime] = moment()


class AddressClaim(Model):
    """An address that an operator gave a node (``hint``) or that the node reported (``report``), in canonical text.

    Several nodes may claim one address. It is the first one's, by source (``hint`` sorts before ``report``), age, node.
    """

    __tablename__ = "address_claims"
    __table_args__ = (
        CheckConstraint(one_of("source", ("hint", "report")), name="source"),
        Index("ix_address_claims_first", "address", "source", "since", "node_id"),
    )
    node_id: Mapped[int] = ref("nodes.id", "CASCADE", primary_key=True, index=False)
    address: Mapped[str] = mapped_column(String(45), primary_key=True)
    source: Mapped[str] = mapped_column(String(8))
    since: Mapped[datetime]


class Group(Model):
    __tablename__ = "groups"
    __table_args__ = (
        UniqueConstraint("category", "name"),
        CheckConstraint(one_of("category", ("class", "rack", "tag", "ui")), name="category"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = name_key()
    category: Mapped[str] = mapped_column(String(16), server_default="tag")
    description: Mapped[str] = words()


class NodeGroup(Model):
    __tablename__ = "node_groups"
    node_id: Mapped[int] = ref("nodes.id", "CASCADE", primary_key=True, index=False)
    group_id: Mapped[int] = ref("groups.id", "CASCADE", primary_key=True)


class HammerRow(Model):
    """A way to act on one node. ``config`` is encrypted as a whole, as it holds credentials."""

    __tablename__ = "hammers"
    __table_args__ = (UniqueConstraint("node_id", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    node_id: Mapped[int] = ref("nodes.id", "CASCADE", index=False)
    name: Mapped[str]
    priority: Mapped[int] = number()
    config: Mapped[str] = words()


class PowerOrder(Model):
    """An action that a node's hammers are to perform: begun at most once, by ``worker``, and then never again."""

    __tablename__ = "power_orders"
    __table_args__ = (
        Index(
            "ix_power_orders_open", "id", sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
    )  # fmt: skip
    id: Mapped[int] = mapped_column(primary_key=True)
    node_id: Mapped[int] = ref("nodes.id", "CASCADE")
    action: Mapped[str]
    actor: Mapped[str] = words()
    worker: Mapped[str] = words()
    ordered_at: Mapped[datetime]
    begun_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    result: Mapped[str] = words()
    error: Mapped[str] = words()


class DeploymentRole(Model):
    __tablename__ = "deployment_roles"
    __table_args__ = (UniqueConstraint("deployment_id", "role_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    deployment_id: Mapped[int] = ref("deployments.id", "CASCADE", index=False)
    role_id: Mapped[int] = ref("roles.id", "RESTRICT")
    proposed_data: Mapped[dict[str, Any]] = json_object()
    committed_data: Mapped[dict[str, Any]] = json_object()
    wall: Mapped[dict[str, Any]] = json_object()
    created_at: Mapped[datetime] = moment()
    updated_at: Mapped[datetime] = moment()


class NodeRole(Model):
    """A role bound to a node. ``state`` and ``blockers`` are written by ``store/transitions.py`` and nobody else.

    ``committed``: it was committed at least once. ``blockers`` counts the parents that are not ACTIVE and whose edges
    count. ``goes_back`` marks one whose run is under way and that goes back to work when that has ended: a parent of it
    left ACTIVE, or came to be, meanwhile. ``away``: its run has taken its node away, and when that has ended its
    ancestors on the node go back to work. ``rerun`` marks an ACTIVE noderole that wants a refresh, or one
    in TRANSITION whose input has changed since its run was made. ``done`` marks a destructive role that has succeeded.
    ``attempts`` counts runs since the last success or retry; ``not_before`` delays the next one.

    ``once`` is the random token of this binding, under which a jig marks on the node that destructive work has ended
    well; redeploying makes a new one. ``halfway``: destructive work began and was not seen to end well, so that it is
    not begun again without an operator's word; together with ``done``, its success was found out later and is yet to be
    told. ``look_at``: when to look for its mark next. ``leaving``: it is being taken off its node, once its role has
    torn down what it made there (``torn_down``).
    """

    __tablename__ = "node_roles"
    __table_args__ = (
        UniqueConstraint("node_id", "role_id"),
        CheckConstraint(f"state BETWEEN {min(State).value} AND {max(State).value}", name="state"),
        CheckConstraint("blockers >= 0", name="blockers"),
        CheckConstraint(f"blockers = 0 OR state NOT IN ({_READY})", name="ready_means_parents_active"),
        CheckConstraint(f"blockers > 0 OR state <> {_BLOCKED}", name="blocked_means_blockers"),
        CheckConstraint("cohort >= 1", name="cohort"),
        Index("ix_node_roles_node_state", "node_id", "state", "cohort", "id"),
        Index("ix_node_roles_deployment_state", "deployment_id", "state"),
        Index(
            "ix_node_roles_runnable",
            "node_id",
            "cohort",
            "id",
            sqlite_where=text(RUNNABLE_INDEX),
            postgresql_where=text(RUNNABLE_INDEX),
        ),
        Index(
            "ix_node_roles_look_at",
            "look_at",
            sqlite_where=text("look_at IS NOT NULL"),
            postgresql_where=text("look_at IS NOT NULL"),
        ),
        Index("ix_node_roles_leaving", "id", sqlite_where=text("leaving"), postgresql_where=text("leaving")),
        Index("ix_node_roles_goes_back", "id", sqlite_where=text("goes_back"), postgresql_where=text("goes_back")),
        Index("ix_node_roles_away", "id", sqlite_where=text("away"), postgresql_where=text("away")),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    node_id: Mapped[int] = ref("nodes.id", "CASCADE", index=False)
    role_id: Mapped[int] = ref("roles.id", "RESTRICT")
    deployment_id: Mapped[int] = ref("deployments.id", "RESTRICT", index=False)
    state: Mapped[int] = mapped_column(SmallInteger)
    committed: Mapped[bool] = flag()
    blockers: Mapped[int] = number()
    goes_back: Mapped[bool] = flag()
    away: Mapped[bool] = flag()
    cohort: Mapped[int] = number(1)
    available: Mapped[bool] = flag(True)
    rerun: Mapped[bool] = flag()
    done: Mapped[bool] = flag()
    once: Mapped[str] = words()
    halfway: Mapped[bool] = flag()
    look_at: Mapped[datetime | None]
    leaving: Mapped[bool] = flag()
    torn_down: Mapped[bool] = flag()
    attempts: Mapped[int] = number()
    not_before: Mapped[datetime | None]
    run_count: Mapped[int] = number()
    order: Mapped[int] = mapped_column("order", Integer, server_default=text("1000"))
    status: Mapped[str] = words()
    held_by: Mapped[str] = words()
    held_reason: Mapped[str] = words()
    held_at: Mapped[datetime | None]
    proposed_data: Mapped[dict[str, Any]] = json_object()
    committed_data: Mapped[dict[str, Any]] = json_object()
    sysdata: Mapped[dict[str, Any]] = json_object()
    wall: Mapped[dict[str, Any]] = json_object()
    created_at: Mapped[datetime] = moment()
    updated_at: Mapped[datetime] = moment()


class Edge(Model):
    """The child may run only when the parent is ACTIVE. ``data`` edges also let the child want the
    parent's attributes.

    ``counts`` is false while the parent was never committed, and while a run of the child is under way that began when
    all its parents were ACTIVE.
    """

    __tablename__ = "edges"
    __table_args__ = (
        CheckConstraint("parent_id <> child_id", name="not_itself"),
        CheckConstraint(one_of("kind", ("data", "order")), name="kind"),
    )
    parent_id: Mapped[int] = ref("node_roles.id", "CASCADE", primary_key=True, index=False)
    child_id: Mapped[int] = ref("node_roles.id", "CASCADE", primary_key=True)
    kind: Mapped[str] = mapped_column(String(8), server_default="data")
    counts: Mapped[bool] = flag(True)


class Provenance(Model):
    """Who last set the value at ``path`` in one layer of one object's data, and when."""

    __tablename__ = "provenance"
    subject: Mapped[str] = mapped_column(String(16), primary_key=True)
    subject_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    layer: Mapped[str] = mapped_column(String(16), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    run_id: Mapped[int | None] = mapped_column(Integer)
