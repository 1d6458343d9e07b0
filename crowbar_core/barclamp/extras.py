"""Pages, routes, tables, periodic jobs: what a barclamp brings beside roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from crowbar_core.barclamp.jigs import CancelFlag

_F = TypeVar("_F", bound=Callable[..., Any])

Permission = Literal["public", "viewer", "operator", "admin", "node"]


def requires(permission: Permission) -> Callable[[_F], _F]:
    """Declare who may call a route of a barclamp's blueprint. The routes of a blueprint with one
    that does not are left out, and that is shown."""

    def mark(view: _F) -> _F:
        view.crowbar_permission = permission  # type: ignore[attr-defined]
        return view

    return mark


def setting(default: Any, help: str, *, above: float | None = None, secret: bool = False) -> Any:
    """A field of a barclamp's settings, which are a frozen dataclass that ``Barclamp(settings=Settings)`` names. Its
    type is that of ``default``: bool, int, float, str or tuple (of texts). ``help`` says in a sentence what it does. A
    number is more than ``above``; a ``secret`` one is shown masked. ``cluster().settings(Settings)`` gives them back::

        from dataclasses import dataclass

        from crowbar_core import setting


        @dataclass(frozen=True, kw_only=True)
        class Settings:
            keep_days: int = setting(365, "Days after which a label is forgotten.", above=0)
    """
    return field(default=default, metadata={"help": help, "above": above, "secret": secret})


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
    as ``markupsafe.Markup``, or text, or a mapping, shown as facts; None: nothing is shown. One that raises shows a
    line that says so. HTML is made by ``crowbar_core.pages.fragment`` of a template, and stands in a card below the
    title, at its full width: a table (``m.table(rows, columns)``) as it is, words in ``<p class="body">``, other things
    in ``<div class="body">``.
    """

    on: Literal["node", "deployment", "dashboard"]
    title: str
    render: Callable[..., Any]
    order: int = 1000


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What `crowbar export` writes and `crowbar apply` makes true: the objects of one collection of the API.

    An object is found by its ``key``; one that is missing is made with a POST, one that differs changed with a PATCH.
    In the file a field that refers to another collection holds a name, and is called without its ``_id``.
    """

    noun: str
    """The collection, as ``"networks"``, which is the section of the file, too."""
    order: int
    """Sections with a lower one are applied first; the core's own have 10 to 50."""
    key: tuple[str, ...] = ("name",)
    """The fields by which an object is found."""
    fields: tuple[str, ...] = ()
    """The fields that are carried beside."""
    fixed: tuple[str, ...] = ()
    """Those among them that are given when it is made and cannot be changed."""
    refers: Mapping[str, str] = field(default_factory=dict)
    """Field -> collection in which the API's id is found: ``{"deployment_id": "deployments"}``."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """Field -> the field that shows it, where the API takes and shows it under two names."""
    where: Mapping[str, str] = field(default_factory=dict)
    """Filters of the list: what they leave out is carried neither way."""
    merges: tuple[str, ...] = ()
    """Trees of which a PATCH takes the keys to change: those that a file does not name stay."""


@dataclass(frozen=True, kw_only=True)
class Schema:
    """A barclamp's own tables: ``migrations`` is an importable package of Alembic versions. Version table:
    ``alembic_version_<name>``.
    """

    migrations: str


@dataclass(frozen=True, kw_only=True)
class Periodic:
    """A job that the one sweeping process calls every ``seconds``, the first time so long after it has begun to sweep:
    what should not wait until then is done where it arises, or in ``on_install``. What it raises is shown, and the
    next call is made all the same.
    """

    name: str
    seconds: float
    run: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Service:
    """Something that works all the time, in a process of its own: serving files, listening to machines.

    ``run`` is called with a flag (``is_set()``, ``wait(seconds)``) that says when to stop, and should return within ten
    seconds of that; what has not is ended, with all processes that it has started. One that returns before, or raises,
    is begun again after a delay that grows from half a second to a minute, and shown. ``cluster()`` answers in it.
    ``leader``: of all processes of the installation one at a time carries it out; the others stand by.
    """

    name: str
    run: Callable[[CancelFlag], None]
    leader: bool = False


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An objection (``check_…``) or something an operator should see (``status_checks``)."""

    detail: str
    severity: Literal["warning", "error"] = "error"
