"""A whole core for a test: real services on a temporary SQLite, whose annealing happens where the test asks for it."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self, TypeVar

from click.testing import Result
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Change, Cluster, Hammer, Intent, Jig, Json, NodeRoleView, NodeView, RunView, serving
from crowbar_core.errors import BarclampError, NotFound
from crowbar_core.services.annealing.sweeping import sweep
from crowbar_core.services.build import build_parts
from crowbar_core.services.cluster import binding, deployments, nodes, powering, steering
from crowbar_core.services.cluster.planning import Plan
from crowbar_core.services.data.views import node_role_views, node_views, run_views
from crowbar_core.services.engine import housekeeping
from crowbar_core.services.engine.marks import look_for_marks
from crowbar_core.services.engine.reactions import Reactions
from crowbar_core.services.engine.runner import Runner
from crowbar_core.services.engine.seat import LiveCluster
from crowbar_core.services.people import users
from crowbar_core.services.turns.turn import Actor
from crowbar_core.services.values import attributes
from crowbar_core.services.watch import settling
from crowbar_core.services.watch.settling import Settled
from crowbar_core.services.watch.workers import has_died
from crowbar_core.settings import load_settings
from crowbar_core.store import catalogue, node_fields
from crowbar_core.store import runs as store_runs
from crowbar_core.store.catalogue import HookFailure
from crowbar_core.store.models import Deployment, DeploymentRole, Node, NodeRole, RoleRow, Run, RunLog, table
from crowbar_core.testing.at_work import NotQuiet, call_periodic, service_at_work
from crowbar_core.testing.browser import Browser
from crowbar_core.testing.clock import FakeClock
from crowbar_core.testing.commandline import CommandLine
from crowbar_core.testing.given import jigs_of, named
from crowbar_core.testing.jigs import FakeJig
from crowbar_core.testing.restless import next_moment, what_goes_on
from crowbar_core.web.app import create_app

DOMAIN = "example.test"
MAX_STEPS = 10_000
"""Runs and deliveries after which ``anneal_until_quiet`` takes it, unless told otherwise, that they go round."""
_BATCH = 500
_T = TypeVar("_T")

node_rows, node_role_rows, role_rows, run_rows = table(Node), table(NodeRole), table(RoleRow), table(Run)
deployment_rows, deployment_role_rows, log_rows = table(Deployment), table(DeploymentRole), table(RunLog)


class Testbed:
    """A core with the barclamps given, and no others; ``close`` it, or use it in ``with``.

    ``barclamps`` are modules, plugin objects or names of installed entry points. ``jigs`` stand in for jigs of their
    names; any other that a role names and the core does not bring is ``jig``, one ``FakeJig`` for all of them.
    ``hammers`` (name -> class) can be given to nodes beside those that are installed. Time stands still (``clock``).
    ``database_url`` names an empty database; without one it is a temporary SQLite. Nodes may be called by the first
    label of their names: ``n1`` is ``n1.example.test``. ``config`` are the tables ``[plugins.NAME]``, ``settings`` the
    other settings. ``installed`` loads all that is installed, too, with the jigs that it brings. ``revisions``
    (barclamp -> revision) are the migrations at which their tables stop, as those that an earlier version left.
    """

    __test__ = False  # pytest: not a class of tests

    def __init__(
        self, *barclamps: ModuleType | object | str, jigs: Mapping[str, Jig] | None = None, jig: Jig | None = None,
        hammers: Mapping[str, type[Hammer]] | None = None, clock: Callable[[], datetime] | None = None,
        database_url: str = "", installed: bool = False, config: Mapping[str, Mapping[str, Json]] | None = None,
        revisions: Mapping[str, str] | None = None, **settings: Any,
    ) -> None:  # fmt: skip
        self.clock = clock or FakeClock()
        self.jig = jig or FakeJig()
        self.actor = Actor("tester")
        self._closing = ExitStack()
        self._tokens: dict[str, str] = {}
        self._commands: CommandLine | None = None
        if "data_dir" not in settings:
            made = tempfile.TemporaryDirectory(prefix="crowbar-testbed-", ignore_cleanup_errors=True)
            settings["data_dir"] = self._closing.enter_context(made)
        self._barclamps = barclamps
        self._given: dict[str, Any] = {
            "jigs": jigs, "jig": self.jig, "hammers": hammers, "clock": self.clock, "database_url": database_url,
            "installed": installed, "config": config, "revisions": revisions, **settings,
        }  # fmt: skip
        loaded = [named(barclamp) for barclamp in barclamps]
        try:
            chosen = load_settings(environ={}, database_url=database_url, **settings)
            chosen = replace(chosen, plugins=config or {})
            stand_ins = {} if installed else dict.fromkeys(jigs_of(loaded), self.jig)
            self.parts = build_parts(
                chosen, extra_plugins=loaded, clock=self.clock, jigs=stand_ins | dict(jigs or {}), hammers=hammers,
                installed=installed, revisions=revisions,
            )  # fmt: skip
        except BaseException:
            self._closing.close()
            raise
        self._closing.callback(self.parts.close)
        self.runner = Runner(self.parts)
        self._left = 0
        self._reactions = Reactions(self.parts, go_on=self._step)
        self._closing.callback(self._reactions.close)
        for one in self.parts.registry.barclamps:
            if one.state == "failed" and one.name in dict(loaded):
                self.close()
                raise BarclampError(f"Barclamp {one.name} cannot be loaded: {one.error.strip()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back, its twins too; an SQLite database is gone with it."""
        self._closing.close()

    def twin(self, *barclamps: ModuleType | object | str, **changed: Any) -> Testbed:
        """A second core on the same database, as another process of the installation is one: with the same barclamps,
        jigs, hammers, clock and settings, unless others are given. It ends with this one, or before.
        """
        return self._closing.enter_context(Testbed(*(barclamps or self._barclamps), **{**self._given, **changed}))

    # ------------------------------------------------------------ making

    def add_node(self, name: str = "n1", *, alive: bool = True, available: bool = True, **values: Any) -> NodeView:
        """Register a node; ``values`` are those of the API (``admin``, ``hint``, ``discovery``, ...)."""
        full = name if "." in name else f"{name}.{DOMAIN}"
        if isinstance(home := values.pop("deployment", None), str):
            values["deployment_id"] = self._deployment_id(home)
        nodes.create_node(self.parts, self.actor, name=full, alive=alive, available=available, **values)
        return self.node(full)

    def change_node(self, name: str, **changes: Any) -> NodeView:
        """Change a node's fields: ``alive=False`` is its death, ``deployment="d1"`` moves it."""
        if isinstance(home := changes.pop("deployment", None), str):
            changes["deployment_id"] = self._deployment_id(home)
        nodes.change_node(self.parts, self.actor, self.node(name).id, changes)
        return self.node(changes.get("name", name))

    def delete_node(self, name: str) -> None:
        nodes.delete_node(self.parts, self.actor, self.node(name).id)

    def add_deployment(self, name: str, *, parent: str = "system") -> None:
        deployments.create_deployment(
            self.parts, self.actor, name=name, parent_id=self._deployment_id(parent)
        )  # fmt: skip

    def delete_deployment(self, name: str) -> None:
        deployments.delete_deployment(self.parts, self.actor, self._deployment_id(name))

    def bind(self, role: str, node: str | None = None, *, deployment: str | None = None) -> NodeRoleView:
        """Bind a role to a node; without a node, a service role to the deployment's system node."""
        home = self._deployment_id(deployment) if deployment else None
        node_id = self.node(node).id if node is not None else self._system_node(home or self._deployment_id("system"))
        made = binding.bind(
            self.parts, self.actor, node_id=node_id, role_id=self._role_id(role), deployment_id=home
        )  # fmt: skip
        return self._node_role_views([made.node_role_id])[0]

    def unbind(self, role: str, node: str) -> None:
        binding.unbind(self.parts, self.actor, self.node_role(role, node).id)

    def plan(self, deployment: str = "system") -> Plan:
        return deployments.plan(self.parts, self._deployment_id(deployment))

    def commit(self, deployment: str = "system") -> None:
        """Commit a deployment with all that is proposed in it."""
        deployments.commit(self.parts, self.actor, self._deployment_id(deployment))

    def set(
        self, attribute: str, value: Json, *, node: str | None = None, role: str | None = None,
        deployment: str | None = None, now: bool = True,
    ) -> None:  # fmt: skip
        """Set an attribute of a node, of a ``role`` on it, or of its role in a deployment; with ``now=False`` as a
        draft, which ``commit`` commits.
        """
        target: dict[str, int] = {}
        if deployment is not None:
            target["deployment_role_id"] = self._deployment_role_id(attribute, deployment)
        elif node is not None and role is not None:
            target["node_role_id"] = self.node_role(role, node).id
        elif node is not None:
            target["node_id"] = self.node(node).id
        attributes.set_value(self.parts, self.actor, attribute=attribute, value=value, now=now, **target)

    def apply(self, *intents: Intent) -> None:
        """Apply intents as if a barclamp had returned them."""
        self._cluster().apply(intents)

    def change(self) -> AbstractContextManager[Change]:
        """A change, as ``cluster().change()`` begins one; in its block ``cluster()`` answers."""
        return self._seated(lambda cluster: cluster.change())

    def read(self) -> AbstractContextManager[Session]:
        """A session that reads, as ``cluster().read()`` gives one; in its block ``cluster()`` answers."""
        return self._seated(lambda cluster: cluster.read())

    def ask(self, hook: str, **arguments: Any) -> tuple[tuple[str, Any], ...]:
        """Ask all barclamps, as ``cluster().ask()`` does."""
        return self._cluster().ask(hook, **arguments)

    def boots(self, nodes: Sequence[NodeView]) -> Mapping[int, tuple[tuple[str, Any], ...]]:
        """Ask all barclamps what these nodes boot, as ``cluster().boots()`` does."""
        return self._cluster().boots(nodes)

    def service(self, name: str, *, within: float = 10.0) -> AbstractContextManager[None]:
        """Carry out a service in a thread while the block lasts, as `crowbar service NAME` does in a process. Raises
        what the service raises, also when it ends by itself; ``NotQuiet`` when, told to stop, it does not ``within`` so
        many seconds.
        """
        return service_at_work(self.parts, name, within)

    def periodic(self, name: str) -> None:
        """Call a periodic job once, as the process that sweeps does at its interval. Raises what the job raises."""
        call_periodic(self.parts, name)

    def serving(self) -> AbstractContextManager[Cluster]:
        """Make this what ``cluster()`` answers in the block: for calling a barclamp's own functions."""
        return serving(self._cluster())

    def _cluster(self) -> LiveCluster:
        return LiveCluster(self.parts, self.actor)

    @contextmanager
    def _seated(self, begin: Callable[[LiveCluster], AbstractContextManager[_T]]) -> Iterator[_T]:
        with self.serving(), begin(self._cluster()) as begun:
            yield begun

    def retry(self, role: str, node: str) -> None:
        steering.retry(self.parts, self.actor, self.node_role(role, node).id)

    def finish(self, role: str, node: str, *, succeeded: bool = True, wall: Mapping[str, Json] | None = None) -> None:
        """End the run that waits for something outside (``Pending``), as the API does."""
        run = self.runs(role, node)[-1]
        steering.finish_pending(self.parts, self.actor, run.id, succeeded=succeeded, wall=wall)

    # ------------------------------------------------------------ annealing

    def anneal_until_quiet(self, *, within: float = 30.0, steps: int = MAX_STEPS) -> Settled:
        """Carry out runs and deliver events, each as the real core does, until nothing is left to do; no waiting.

        A ``FakeClock`` is moved on to the next retry when only that is left; what is tried for ever is left to itself
        after its third failure. ``within``: real seconds one run may take
        before it is cancelled. Raises ``NotQuiet``, with the reasons, when a run hangs, or when it goes round in a
        circle: after ``steps`` runs and deliveries.
        What then is not ACTIVE is in ERROR or waits for something that ``why`` names; that is quiet, too.
        """
        self._left = steps
        while self._left > 0:
            ran = self._run_queued(within)
            delivered = self._deliver()
            if not (ran or delivered or self._swept() or self._moved_on()):
                return settling.settled(self.parts)
        raise NotQuiet(f"No rest after {steps} runs and deliveries. {self._what_goes_on()}")

    def deliver(self) -> int:
        """Deliver the events that are due, without carrying out runs. Returns how many were."""
        self._left = MAX_STEPS
        return self._deliver()

    def _step(self) -> bool:
        self._left -= 1
        return self._left > 0

    def _deliver(self) -> int:
        delivered = self._reactions.deliver_due()
        for order in powering.due(self.parts, died=has_died):
            powering.carry_out(self.parts, order, self.runner.worker)
        return delivered

    def _run_queued(self, within: float) -> int:
        with self.parts.store.read() as session:
            queued = store_runs.queued(session, _BATCH)
        for run_id in queued:
            self._left -= 1
            ended, late = threading.Event(), threading.Event()
            threading.Thread(target=self._watch, args=(run_id, within, ended, late), daemon=True).start()
            try:
                self.runner.execute_here([run_id])
            finally:
                ended.set()
            if late.is_set():
                raise NotQuiet(f"Run {run_id} did not end within {within:g} s. {self._what_goes_on()}")
        return len(queued)

    def _watch(self, run_id: int, within: float, ended: threading.Event, late: threading.Event) -> None:
        """Tell a run to stop when its time is over; again and again, because it may only just have been claimed."""
        if ended.wait(within):
            return
        late.set()
        while not ended.wait(0.05):
            self.runner.stop_runs([run_id])

    def _swept(self) -> bool:
        swept = sweep(self.parts)
        return bool(swept.lost or swept.woken or look_for_marks(self.parts))

    def _moved_on(self) -> bool:
        """Move a fake clock on to what is put off until later. False: nothing is, or the time is not ours."""
        if not isinstance(self.clock, FakeClock):
            return False
        later = next_moment(self.parts, self.clock.now)
        if later is None:
            return False
        self.clock.advance((later - self.clock.now).total_seconds())
        return True

    def _what_goes_on(self) -> str:
        return what_goes_on(self.parts, self.hook_failures()[:5])

    # ------------------------------------------------------------ looking

    def node(self, name: str) -> NodeView:
        with self.parts.store.read() as session:
            if (ref := node_fields.first_called(session, name)) is not None:
                return node_views(self.parts.registry, session, self.parts.store, [ref])[ref]
            known = session.scalars(select(node_rows.c.name).order_by(node_rows.c.name)).all()
        raise NotFound(f"There is no node {name!r}; there are: {', '.join(known)}.")

    def node_roles(self, *, role: str | None = None, node: str | None = None) -> tuple[NodeRoleView, ...]:
        full = self.node(node).name if node is not None else None
        return self._cluster().node_roles(role=role, node=full)

    def node_role(self, role: str, node: str) -> NodeRoleView:
        found = self.node_roles(role=role, node=node)
        if not found:
            raise NotFound(f"Role {role} is not bound to node {node}.")
        return found[0]

    def state(self, role: str, node: str) -> str:
        """PROPOSED, BLOCKED, TODO, TRANSITION, ACTIVE or ERROR."""
        return self.node_role(role, node).state

    def states(self) -> dict[tuple[str, str], str]:
        """(role, first label of the node's name) -> state, of everything that is bound."""
        return {(one.role, one.node.name.partition(".")[0]): one.state for one in self.node_roles()}

    def why(self, role: str, node: str) -> str:
        """Why it is not running now, in one or a few sentences."""
        return steering.why_node_role(self.parts, self.node_role(role, node).id).summary

    def runs(self, role: str, node: str) -> list[RunView]:
        """All its runs, oldest first."""
        node_role_id = self.node_role(role, node).id
        with self.parts.store.read() as session:
            ids = session.scalars(
                select(run_rows.c.id).where(run_rows.c.node_role_id == node_role_id).order_by(run_rows.c.id)
            ).all()
            found = run_views(session, self.parts.store, ids)
        return [found[run_id] for run_id in ids]

    def log(self, role: str, node: str) -> list[str]:
        """The lines of its last run's log."""
        runs = self.runs(role, node)
        with self.parts.store.read() as session:
            return list(
                session.scalars(
                    select(log_rows.c.line)
                    .where(log_rows.c.run_id == (runs[-1].id if runs else 0))
                    .order_by(log_rows.c.seq)
                )
            )

    def value(self, attribute: str, node: str, *, role: str | None = None) -> Json:
        """An attribute's value as it stands: of a node, or of a role on it. None when it is not set."""
        if role is None:
            known = attributes.node_values(self.parts, self.node(node).id)
        else:
            known = attributes.node_role_values(self.parts, self.node_role(role, node).id)
        for one in known:
            if one.attribute.name == attribute:
                return one.value
        raise NotFound(f"{f'Role {role}' if role else 'A node'} has no attribute {attribute}.")

    def hook_failures(self, barclamp: str = "") -> list[HookFailure]:
        """Calls of hooks that failed: questions that could not be answered, events given up, and those that wait for
        their next try; newest first.
        """
        housekeeping.note_unanswered(self.parts)
        with self.parts.store.read() as session:
            return catalogue.hook_failures(session, plugin=barclamp)

    def problems(self) -> list[str]:
        """What is wrong with the barclamps themselves, as the dashboard shows it."""
        return [problem.detail for problem in self.parts.registry.problems()]

    def web(self, user: str = "admin") -> FlaskClient:
        """A client of the API (no server, no network), signed in with the token of a user of that role."""
        client = create_app(self.parts.settings, parts=self.parts).test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {self._new_token(user)}"
        return client

    def cli(self, *args: str, user: str = "admin", stdin: str | None = None) -> Result:
        """Call `crowbar ...` as a user of that role types it, in this process; it asks this core over HTTP. The answer
        has ``exit_code``, ``stdout`` and ``stderr``. Of barclamps' own commands those of installed packages are known.
        """
        if self._commands is None:
            app = create_app(self.parts.settings, parts=self.parts)
            self._commands = CommandLine(app, self.parts.settings, Path(self.parts.settings.data_dir))
            self._closing.callback(self._commands.close)
        if user not in self._tokens:
            self._tokens[user] = self._new_token(user)
        return self._commands.call(*args, token=self._tokens[user], stdin=stdin)

    def browser(self, user: str = "admin") -> Browser:
        """A person of that role at the pages, who can send forms."""
        _, name, password = self._user(user)
        return Browser(create_app(self.parts.settings, parts=self.parts).test_client(), name, password)

    def _new_token(self, role: str) -> str:
        user_id, _, _ = self._user(role)
        return users.create_token(self.parts, self.actor, user_id=user_id, name="test")

    def _user(self, role: str) -> tuple[int, str, str]:
        name, password = f"test-{role}-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
        return users.create_user(self.parts, self.actor, name=name, password=password, role=role), name, password

    # ------------------------------------------------------------ parts of the above

    def _node_role_views(self, ids: Sequence[int]) -> list[NodeRoleView]:
        with self.parts.store.read() as session:
            return list(node_role_views(self.parts.registry, session, self.parts.store, ids).values())

    def _deployment_id(self, name: str) -> int:
        return self._one(select(deployment_rows.c.id).where(deployment_rows.c.name == name), f"deployment {name}")

    def _role_id(self, name: str) -> int:
        return self._one(select(role_rows.c.id).where(role_rows.c.name == name), f"role {name}")

    def _system_node(self, deployment_id: int) -> int:
        query = select(node_rows.c.id).where(node_rows.c.system, node_rows.c.deployment_id == deployment_id)
        return self._one(query, "system node")

    def _deployment_role_id(self, attribute: str, deployment: str) -> int:
        owner = self.parts.registry.attribute(attribute).role
        query = (
            select(deployment_role_rows.c.id)
            .join(role_rows, role_rows.c.id == deployment_role_rows.c.role_id)
            .where(
                role_rows.c.name == (owner or ""),
                deployment_role_rows.c.deployment_id == self._deployment_id(deployment),
            )
        )
        return self._one(query, f"role {owner} in deployment {deployment}, which owns {attribute}")

    def _one(self, query: Any, what: str) -> int:
        with self.parts.store.read() as session:
            found = session.scalar(query)
        if found is None:
            raise NotFound(f"There is no {what}.")
        return int(found)
