"""Tables, constraints and indexes. No behaviour, no ORM events: what a row may be is said here, in the schema."""

from crowbar_core.store.models.base import Base, Data, Model, UtcDateTime, db, table
from crowbar_core.store.models.catalogue import AttribRow, BarclampRow, JigRow, RoleRow
from crowbar_core.store.models.cluster import (
    RUNNABLE_INDEX,
    AddressClaim,
    Deployment,
    DeploymentRole,
    Edge,
    Group,
    HammerRow,
    Node,
    NodeGroup,
    NodeRole,
    PowerOrder,
    Provenance,
)
from crowbar_core.store.models.events import Delivery, Event, HookError
from crowbar_core.store.models.people import Audit, BrowserSession, IdempotencyKey, Token, User
from crowbar_core.store.models.processes import Lease, Meta, PeriodicJob, ProcessRow
from crowbar_core.store.models.runs import OPEN_RUNS, Run, RunLog, RunStep, RunTotal

CORE_TABLES = dict(Base.metadata.tables)
"""The core's own, by name. Those of barclamps are in metadata of theirs (``store/own_tables.py``)."""

__all__ = [
    "CORE_TABLES",
    "OPEN_RUNS",
    "RUNNABLE_INDEX",
    "AddressClaim",
    "AttribRow",
    "Audit",
    "BarclampRow",
    "Base",
    "BrowserSession",
    "Data",
    "Delivery",
    "Deployment",
    "DeploymentRole",
    "Edge",
    "Event",
    "Group",
    "HammerRow",
    "HookError",
    "IdempotencyKey",
    "JigRow",
    "Lease",
    "Meta",
    "Model",
    "Node",
    "NodeGroup",
    "NodeRole",
    "PeriodicJob",
    "PowerOrder",
    "ProcessRow",
    "Provenance",
    "RoleRow",
    "Run",
    "RunLog",
    "RunStep",
    "RunTotal",
    "Token",
    "User",
    "UtcDateTime",
    "db",
    "table",
]
