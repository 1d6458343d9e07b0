"""Pages, routes, tables, periodic jobs: what a barclamp brings beside roles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])

Permission = Literal["public", "viewer", "operator", "admin", "node"]


def requires(permission: Permission) -> Callable[[_F], _F]:
    """Declare who may call a route of a barclamp's blueprint. The routes of a blueprint with one
    that does not are left out, and that is shown."""

    def mark(view: _F) -> _F:
        view.crowbar_permission = permission  # type: ignore[attr-defined]
        return view

    return mark


@dataclass(frozen=True, kw_only=True)
class NavItem:
    label: str
    url: str
    order: int = 1000


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A part that a barclamp adds to a page of the core's: of each node, of each deployment, or to the dashboard.

    ``render`` is called whenever that page is shown, also while somebody watches it, with the ``NodeView`` or the
    ``DeploymentView`` (its noderoles left out) that it is about; without anything on the dashboard. It gives back HTML
    as ``markupsafe.Markup`` (``crowbar_core.pages.fragment`` makes it), or text, or a mapping, shown as facts; None:
    nothing is shown. One that raises shows a line that says so.
    """

    on: Literal["node", "deployment", "dashboard"]
    title: str
    render: Callable[..., Any]
    order: int = 1000


@dataclass(frozen=True, kw_only=True)
class Schema:
    """A barclamp's own tables: ``migrations`` is an importable package of Alembic versions. Version table:
    ``alembic_version_<name>``.
    """

    migrations: str


@dataclass(frozen=True, kw_only=True)
class Periodic:
    """A job that the one sweeping process calls every ``seconds``."""

    name: str
    seconds: float
    run: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An objection (``check_…``) or something an operator should see (``status_checks``)."""

    detail: str
    severity: Literal["warning", "error"] = "error"
