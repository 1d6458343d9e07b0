"""What the author of a barclamp sees: the words of the plugin contract, as frozen data and a few small protocols.

Standard library and pluggy only, so that importing ``crowbar_core`` costs a barclamp's tests nothing.
"""

from crowbar_core.barclamp.declared import Attribute, Barclamp, Require, Role, Want
from crowbar_core.barclamp.extras import (
    Declared,
    NavItem,
    Panel,
    Periodic,
    Permission,
    Problem,
    Schema,
    requires,
    setting,
)
from crowbar_core.barclamp.hammers import Hammer, Probe
from crowbar_core.barclamp.hooks import PROJECT, hookimpl, hookspec
from crowbar_core.barclamp.intents import (
    Bind,
    DefineRole,
    Intent,
    MarkAlive,
    Power,
    Refresh,
    RemoveRole,
    Rerun,
    SetAttribute,
    SetBootEnv,
    Unbind,
    Wake,
)
from crowbar_core.barclamp.jigs import CancelFlag, Done, Jig, LogWriter, Outcome, Pending, Task
from crowbar_core.barclamp.seat import Change, Cluster, cluster, serving
from crowbar_core.barclamp.views import (
    DeploymentRoleView,
    DeploymentView,
    Json,
    NodeRoleView,
    NodeView,
    RunView,
    utc_iso,
)

__all__ = [
    "PROJECT",
    "Attribute",
    "Barclamp",
    "Bind",
    "CancelFlag",
    "Change",
    "Cluster",
    "Declared",
    "DefineRole",
    "DeploymentRoleView",
    "DeploymentView",
    "Done",
    "Hammer",
    "Intent",
    "Jig",
    "Json",
    "LogWriter",
    "MarkAlive",
    "NavItem",
    "NodeRoleView",
    "NodeView",
    "Outcome",
    "Panel",
    "Pending",
    "Periodic",
    "Permission",
    "Power",
    "Probe",
    "Problem",
    "Refresh",
    "RemoveRole",
    "Require",
    "Rerun",
    "Role",
    "RunView",
    "Schema",
    "SetAttribute",
    "SetBootEnv",
    "Task",
    "Unbind",
    "Wake",
    "Want",
    "cluster",
    "hookimpl",
    "hookspec",
    "requires",
    "serving",
    "setting",
    "utc_iso",
]
