"""Crowbar: racks of bare machines become working clusters, by annealing a graph of roles bound to nodes.

These are the public names. Importing them loads neither Flask nor SQLAlchemy; importing just the package loads nothing,
so that `crowbar` does not wait for words that only barclamps use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crowbar_core.barclamp import (
        POWER_ACTIONS,
        Attribute,
        Barclamp,
        Bind,
        CancelFlag,
        Change,
        ChangeNode,
        Cluster,
        CommitNode,
        CreateNode,
        Declared,
        DefineRole,
        DeploymentRoleView,
        DeploymentView,
        Done,
        Extensions,
        Hammer,
        Intent,
        Jig,
        Json,
        MarkAlive,
        NavItem,
        NodeRoleView,
        NodeView,
        Outcome,
        Panel,
        Pending,
        Periodic,
        Power,
        Probe,
        Problem,
        Refresh,
        RemoveRole,
        Require,
        Rerun,
        Role,
        RunView,
        Schema,
        ServedBootEnv,
        Service,
        SetAttribute,
        SetBootEnv,
        SetHammer,
        Task,
        Unbind,
        Wake,
        Want,
        cluster,
        hookimpl,
        hookspec,
        requires,
        setting,
    )
    from crowbar_core.domain.differences import differences
    from crowbar_core.errors import (
        BadInput,
        ConfigError,
        CrowbarError,
        FieldError,
        Interrupted,
        JigError,
        NodeUnreachable,
        NotFound,
        PermanentError,
        Refused,
        RunCancelled,
        RunTimeout,
        TemporaryError,
        Veto,
    )

__version__ = "0.1.0"

__all__ = [
    "POWER_ACTIONS",
    "Attribute",
    "BadInput",
    "Barclamp",
    "Bind",
    "CancelFlag",
    "Change",
    "ChangeNode",
    "Cluster",
    "CommitNode",
    "ConfigError",
    "CreateNode",
    "CrowbarError",
    "Declared",
    "DefineRole",
    "DeploymentRoleView",
    "DeploymentView",
    "Done",
    "Extensions",
    "FieldError",
    "Hammer",
    "Intent",
    "Interrupted",
    "Jig",
    "JigError",
    "Json",
    "MarkAlive",
    "NavItem",
    "NodeRoleView",
    "NodeUnreachable",
    "NodeView",
    "NotFound",
    "Outcome",
    "Panel",
    "Pending",
    "Periodic",
    "PermanentError",
    "Power",
    "Probe",
    "Problem",
    "Refresh",
    "Refused",
    "RemoveRole",
    "Require",
    "Rerun",
    "Role",
    "RunCancelled",
    "RunTimeout",
    "RunView",
    "Schema",
    "ServedBootEnv",
    "Service",
    "SetAttribute",
    "SetBootEnv",
    "SetHammer",
    "Task",
    "TemporaryError",
    "Unbind",
    "Veto",
    "Wake",
    "Want",
    "__version__",
    "cluster",
    "differences",
    "hookimpl",
    "hookspec",
    "requires",
    "setting",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The first name of a module to be asked for brings them all."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        for module in ("crowbar_core.errors", "crowbar_core.barclamp", "crowbar_core.domain.differences"):
            if name not in globals():
                loaded = vars(importlib.import_module(module))
                globals().update({public: loaded[public] for public in __all__ if public in loaded})
        return globals()[name]
