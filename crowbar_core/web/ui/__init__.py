"""The pages: Flask's blueprint ``ui``, useful without JavaScript and alive with it."""

from crowbar_core.web.ui import (
    acts,
    annealer,
    attributes,
    catalogue,
    dashboard,
    deployments,
    history,
    noderoles,
    nodes,
    processes,
    runs,
    session,
    users,
)
from crowbar_core.web.ui.shell import error_page, ui

__all__ = [
    "acts",
    "annealer",
    "attributes",
    "catalogue",
    "dashboard",
    "deployments",
    "error_page",
    "history",
    "noderoles",
    "nodes",
    "processes",
    "runs",
    "session",
    "ui",
    "users",
]
