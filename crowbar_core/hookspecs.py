"""The contract between the core and barclamps: every hook, in one file.

Five kinds, told apart by name. **register_…**: once, at start-up; an error stops the start of that barclamp (the core
runs on without it and shows the traceback). **check_…** and ``on_node_bind``/``on_commit``: inside the transaction,
quick and local, in the ``session`` of the change, which is also what ``cluster().read()`` gives there; the ``change``
writes. **compute** (``node_role_data``, ``data_of``, ``node_addresses``, ``addresses_of``, ``node_boot``,
``boots_of``, ``probe_node``, ``status_checks``, ``plan_lines``): questions to plugins. **on_…**: after the
commit, from the outbox, at least once, in order for each subject; they return intents. **jig_run**: carries out a run.
Arguments may be added to a hook later, never renamed; an implementation takes those it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from crowbar_core.barclamp import (
    Barclamp,
    Change,
    Cluster,
    Declared,
    DeploymentRoleView,
    DeploymentView,
    Intent,
    Json,
    NavItem,
    NodeRoleView,
    NodeView,
    Outcome,
    Panel,
    Periodic,
    Probe,
    Problem,
    Role,
    RunView,
    Schema,
    Service,
    Task,
    hookspec,
)

# ---------------------------------------------------------------- registration


@hookspec
def register_barclamp() -> Barclamp:  # type: ignore[empty-body]
    """The barclamp's name, roles and attributes. The only hook that every barclamp must implement. Called once."""


@hookspec
def register_blueprints() -> Iterable[Any]:  # type: ignore[empty-body]
    """Flask blueprints. Every view carries ``@requires(permission)``; no rule may shadow one of the core's; else they
    are left out. Called once.
    """


@hookspec
def register_nav() -> Iterable[NavItem]:  # type: ignore[empty-body]
    """Entries of the pages' navigation. Called once."""


@hookspec
def register_panels() -> Iterable[Panel]:  # type: ignore[empty-body]
    """Parts of the pages of nodes and deployments, and of the dashboard. Called once."""


@hookspec
def register_declared() -> Iterable[Declared]:  # type: ignore[empty-body]
    """Collections of the barclamp's API that `crowbar export` writes into a file and `crowbar apply` makes true.
    Called for each of these commands.
    """


@hookspec
def register_schema() -> Schema:  # type: ignore[empty-body]
    """Where the migrations of the barclamp's own tables are. Called by ``crowbar db upgrade`` and at start-up."""


@hookspec
def register_periodic() -> Iterable[Periodic]:  # type: ignore[empty-body]
    """Jobs called at an interval, in the one process that sweeps. A raising job is logged, shown, and called again."""


@hookspec
def register_services() -> Iterable[Service]:  # type: ignore[empty-body]
    """What works all the time, each in a process of its own: `crowbar serve` starts them, and again when they end;
    `crowbar service NAME` does that elsewhere. Of two services of one name the first counts. Called once a process.
    """


@hookspec
def register_hookspecs() -> ModuleType:  # type: ignore[empty-body]
    """A module with hooks of the barclamp's own, that other barclamps may implement. Called before
    ``check_pending``.
    """


# ---------------------------------------------------------------- in the transaction


@hookspec
def check_node(node: NodeView, session: Any) -> Iterable[Problem]:  # type: ignore[empty-body]
    """Objections to a node about to be created or changed, which ``node`` shows as it would be. ``session`` reads the
    barclamp's own tables. All are collected and shown together; any one vetoes. A value that is set as a draft is asked
    about when it is committed.
    """


@hookspec
def check_binding(node: NodeView, role: Role, session: Any) -> Iterable[Problem]:  # type: ignore[empty-body]
    """Objections to binding the role to the node. ``session`` reads. All are collected and shown together; any one
    vetoes.
    """


@hookspec
def check_commit(deployment: DeploymentView, session: Any) -> Iterable[Problem]:  # type: ignore[empty-body]
    """Objections to committing the deployment. ``session`` reads. All are collected and shown together; any one
    vetoes.
    """


@hookspec
def on_node_bind(node_role: NodeRoleView, session: Any, change: Change) -> None:
    """A noderole was just made, in the same transaction. May write the barclamp's own tables (``session``), and do more
    in the same change; refuses by raising ``Veto``.
    """


@hookspec
def on_nodes_bind(node_roles: Sequence[NodeRoleView], change: Change) -> None:
    """As ``on_node_bind``, of many noderoles that were made at once (with ``roles``, those of these roles), what others
    need first. For what is kept in tables: a few statements for all. A large binding comes in several portions.
    """


@hookspec
def on_node_unbind(node_role: NodeRoleView, change: Change) -> None:
    """A noderole is about to go, in the same transaction: it is unbound, or its node or deployment is deleted. Reverse
    dependency order, children first. May write the barclamp's own tables, and do more in the same change; refuses by
    raising ``Veto``.
    """


@hookspec
def on_node_leave(node: NodeView, change: Change) -> None:
    """A node is about to go, in the same transaction; nothing is bound to it any more. What the barclamp's own tables
    have of it, beside what goes along by itself, is given back here. Reverse dependency order. May do more in the same
    change; refuses by raising ``Veto``, though ``check_delete`` is asked earlier.
    """


@hookspec
def check_delete(subject: NodeView | DeploymentView, session: Any) -> Iterable[Problem]:  # type: ignore[empty-body]
    """Objections to deleting a node or a deployment, asked before anything of it goes. ``session`` reads. All are
    collected and shown together; any one vetoes.
    """


@hookspec
def on_deployment_commit(deployment: DeploymentView, change: Change) -> None:
    """A deployment was just committed, in the same transaction, before ``on_commit`` of what is in it: drafts that the
    barclamp's own tables keep for it count from now on. May do more in the same change; refuses by raising ``Veto``.
    """


@hookspec
def on_deployment_discard(deployment: DeploymentView, change: Change) -> None:
    """The drafts of a deployment were just thrown away (by themselves, or by ``recall``), in the same transaction:
    those that the barclamp's own tables keep for it go here. May do more in the same change; refuses by raising
    ``Veto``.
    """


@hookspec
def on_commit(obj: DeploymentView | NodeRoleView, session: Any, change: Change) -> None:
    """Something was just committed, in the same transaction. May write the barclamp's own tables (``session``), and do
    more in the same change; refuses by raising ``Veto``.
    """


# ---------------------------------------------------------------- questions


@hookspec
def node_role_data(node_role: NodeRoleView, session: Any) -> Mapping[str, Json]:  # type: ignore[empty-body]
    """What the barclamp knows of one of its own noderoles (sysdata), a tree. Asked at commit, when peers change, and
    before a run, in the transaction of that (``session`` reads).

    Pure and quick. An implementation that raises, or whose answer breaks a schema or has a path that no attribute of
    the role declares, leaves the sysdata as it was and is shown as a problem.
    """


@hookspec
def data_of(  # type: ignore[empty-body]
    node_roles: Sequence[NodeRoleView], session: Any
) -> Mapping[int, Mapping[str, Json]]:
    """As ``node_role_data``, of many noderoles at once: id -> tree; of one that is left out nothing is known. For what
    is kept in tables: one statement of ``session`` for all. With ``roles``, those of these roles. What it raises counts
    for all of them.
    """


@hookspec
def node_addresses(node: NodeView) -> Iterable[str]:  # type: ignore[empty-body]
    """Addresses of the node on the admin network, best first, without prefix length. Answers of all barclamps are
    joined, without repeats.

    Of those that the node itself reports, the core leaves out what does not count; what is no address is left out and
    shown as a problem.
    """


@hookspec
def addresses_of(nodes: Sequence[NodeView], session: Any) -> Mapping[int, Iterable[str]]:  # type: ignore[empty-body]
    """As ``node_addresses``, of many nodes at once: id -> addresses; of one that is left out nothing is known. For what
    is kept in tables: one statement of ``session`` for all. The nodes' own ``addresses`` are not known yet.
    """


@hookspec
def node_boot(node: NodeView, session: Any) -> Mapping[str, Json]:  # type: ignore[empty-body]
    """What the node should boot, a tree. Asked by the barclamp that serves it, which puts the answers together:
    ``cluster().boots([node])``. ``session`` reads. Pure.
    """


@hookspec
def boots_of(nodes: Sequence[NodeView], session: Any) -> Mapping[int, Mapping[str, Json]]:  # type: ignore[empty-body]
    """As ``node_boot``, of many nodes at once: id -> tree; of one that is left out nothing is known. For what is kept
    in tables: one statement of ``session`` for all. What it raises counts for all of them.
    """


@hookspec(firstresult=True)
def probe_node(node: NodeView) -> Probe | None:
    """Is the node alive: does it answer ping and let root in? First answer wins; None if this barclamp cannot tell.

    Called outside any transaction, before each run of a jig that touches nodes and by the periodic probe; may take
    seconds.
    """


@hookspec
def status_checks() -> Iterable[Problem]:  # type: ignore[empty-body]
    """What an operator should see on the dashboard now. Called outside any transaction; a raising one
    is itself shown.
    """


@hookspec
def plan_lines(node_roles: Sequence[NodeRoleView], session: Any) -> Iterable[str]:  # type: ignore[empty-body]
    """What a plan should say beside its runs, one line each: addresses or names that the barclamp will take, and the
    like. ``node_roles`` are those that would run (with ``roles``, those of these roles; without any it is not asked).
    Asked inside the planned change's transaction, which is rolled back:
    the barclamp's own tables are as its ``on_node_bind`` and ``on_commit`` left them. Asked twice for each plan, and
    again at a commit that insists on one: the answers must be alike. Pure and quick.
    """


@hookspec
def defined_roles(session: Any) -> Iterable[Role]:  # type: ignore[empty-body]
    """The roles that the barclamp defined at run time (``DefineRole``), as it would define them now. Asked at start-up:
    a role whose definition is another one than is kept is brought up to date; one of which none is kept is not made.
    ``session`` reads.
    """


# ---------------------------------------------------------------- after the transaction


@hookspec
def on_install(cluster: Cluster) -> Iterable[Intent]:  # type: ignore[empty-body]
    """The barclamp is loaded for the first time, or again after it was missing, disabled or broken. Nobody told it of
    what happened meanwhile: it fills its own tables from what ``cluster`` says is there. At least once.
    """


@hookspec
def on_node_create(node: NodeView) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A node was created. At least once."""


@hookspec
def on_node_change(node: NodeView, changed: frozenset[str]) -> Iterable[Intent]:  # type: ignore[empty-body]
    """Fields of a node changed; ``changed`` names them, merged over several changes: a hint, not a history. At least
    once.
    """


@hookspec
def on_node_delete(node: NodeView) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A node was deleted; the view is its last. Reverse dependency order. At least once."""


@hookspec
def on_deployment_create(deployment_role: DeploymentRoleView) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A role was added to a deployment. At least once."""


@hookspec
def on_deployment_delete(deployment_role: DeploymentRoleView) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A role was taken out of a deployment; the view is its last. Reverse dependency order. At least once."""


@hookspec
def on_proposed(node_role: NodeRoleView) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A noderole became PROPOSED. The view is as things stand when the hook is called. At least once."""


@hookspec
def on_todo(node_role: NodeRoleView) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A noderole became TODO. At least once."""


@hookspec
def on_transition(node_role: NodeRoleView) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A noderole became TRANSITION: a run was made for it. At least once."""


@hookspec
def on_active(node_role: NodeRoleView, refresh: bool) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A noderole became ACTIVE, its run having succeeded; or a refresh of it has succeeded (``refresh``), and it was
    ACTIVE all the time. Not called when a destructive role is passed over. At least once.

    An answer that refreshes the same noderole again goes round for ever, unless it looks at ``refresh``.
    """


@hookspec
def on_blocked(node_role: NodeRoleView) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A noderole became BLOCKED. At least once."""


@hookspec
def on_error(node_role: NodeRoleView) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A noderole became ERROR. At least once."""


@hookspec
def on_run_finished(run: RunView) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A run ended: succeeded, failed, cancelled or lost. At least once."""


# ---------------------------------------------------------------- execution


@hookspec(firstresult=True)
def jig_run(task: Task) -> Outcome | None:
    """Carry out a run. First answer wins; the core's own implementation, last, asks the role's jig. Called in a worker,
    outside any transaction.
    """
