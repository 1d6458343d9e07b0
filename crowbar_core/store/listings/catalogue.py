"""What barclamps bring: barclamps, jigs, roles, attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from crowbar_core.barclamp.declared import FLAGS
from crowbar_core.store.listing import Field, Later, Listing
from crowbar_core.store.listings.fields import derived, field, fields
from crowbar_core.store.models import (
    AttribRow,
    BarclampRow,
    JigRow,
    NodeRole,
    RoleRow,
    table,
)

_barclamps, _jigs, _attribs = table(BarclampRow), table(JigRow), table(AttribRow)
_roles, _node_roles = table(RoleRow), table(NodeRole)
_inner = _node_roles.alias("inner")

BARCLAMPS: Final = Listing(
    noun="barclamp",
    plural="barclamps",
    source=_barclamps,
    key=_barclamps.c.id,
    name=_barclamps.c.name,
    fields=fields(
        BarclampRow,
        "id",
        "name",
        "description",
        "distribution",
        "version",
        "package",
        "enabled",
        "state",
        "error",
        "quarantine",
        "left_behind",
        "created_at",
        "updated_at",
        filter=("name", "enabled", "state"),
        sort=("name",),
    ),
)

JIGS: Final = Listing(
    noun="jig",
    plural="jigs",
    source=_jigs,
    key=_jigs.c.id,
    name=_jigs.c.name,
    fields=fields(
        JigRow, "id", "name", "description", "distribution", "installed", filter=("name", "installed"), sort=("name",)
    ),
)


def _flags_of(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    rows = session.execute(select(_roles.c.id, *(_roles.c[flag] for flag in FLAGS)).where(_roles.c.id.in_(ids)))
    return {row["id"]: [flag for flag in FLAGS if row[flag]] for row in rows.mappings()}


ROLES: Final = Listing(
    noun="role",
    plural="roles",
    source=_roles.join(_barclamps, _barclamps.c.id == _roles.c.barclamp_id),
    key=_roles.c.id,
    name=_roles.c.name,
    fields=(
        *fields(RoleRow, "id", "name", "description", "barclamp_id", filter=("name", "barclamp_id"), sort=("name",)),
        field(_barclamps.c.name, "barclamp", filter=True),
        field(_roles.c.like_name, "like", filter=True),
        *fields(RoleRow, "jig_name", "ready", *FLAGS, filter=("jig_name", "ready", *FLAGS)),
        *fields(
            RoleRow,
            "requires",
            "wants",
            "provides",
            "conflicts",
            "attaches",
            "precedes",
            "template",
            "on_change",
            "timeout",
            "max_attempts",
            "created_at",
            "updated_at",
        ),
        derived(
            "cohort",
            func.coalesce(
                select(func.max(_inner.c.cohort)).where(_inner.c.role_id == _roles.c.id).scalar_subquery(),
                1,
            ),
            int,
            help="The highest cohort of its noderoles: how late it comes.",
        ),
    ),
    later=(
        Later(name="flags", type=list, fetch=_flags_of, missing=[], example=["destructive"], help="Those that it has."),
    ),
)

ATTRIBS: Final = Listing(
    noun="attribute",
    plural="attribs",
    source=_attribs.join(_barclamps, _barclamps.c.id == _attribs.c.barclamp_id).outerjoin(
        _roles, _roles.c.id == _attribs.c.role_id
    ),
    key=_attribs.c.id,
    name=_attribs.c.name,
    fields=(
        *fields(
            AttribRow,
            "id",
            "name",
            "description",
            "barclamp_id",
            "role_id",
            filter=("name", "barclamp_id", "role_id"),
            sort=("name",),
        ),
        field(_barclamps.c.name, "barclamp", filter=True),
        Field(name="role", column=_roles.c.name, type=str, nullable=True, filter=True),
        *fields(
            AttribRow,
            "map",
            "schema",
            "writable",
            "secret",
            "required",
            "generate",
            filter=("writable", "secret", "required"),
        ),
        Field(
            name="default",
            column=case((_attribs.c.secret.is_(True), None), else_=_attribs.c.default),
            type=dict,
            nullable=True,
            help="Any JSON value; null for a secret.",
        ),
        *fields(AttribRow, "order", sort=("order",)),
    ),
)
