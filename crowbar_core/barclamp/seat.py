"""The cluster, as a barclamp reads and changes it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Protocol, TypeVar

from crowbar_core.barclamp.intents import Intent
from crowbar_core.barclamp.jigs import CancelFlag
from crowbar_core.barclamp.views import Json, NodeRoleView, NodeView

S = TypeVar("S")


class Change(Protocol):
    """One turn of the core, as a barclamp takes part in it: the lock of all changes, one transaction, events, and at
    its end the runs that became possible. All of it happens, or nothing.
    """

    session: Any
    """SQLAlchemy's session. ``commit``, ``rollback`` and ``close`` raise: whoever opened the change ends it."""
    now: datetime
    """The database's time at the beginning; aware, UTC."""

    def apply(self, *intents: Intent) -> None:
        """Do what these intents say, now. Raises ``Refused`` or ``NotFound``, which undoes the whole change."""

    def publish(self, hook: str, subject: str, **arguments: Any) -> None:
        """Tell a hook ``on_…`` that a barclamp publishes (``register_hookspecs``) to all who implement it: after the
        commit, at least once, and of one ``subject`` (``"network 3"``, at most 64 characters) in order. Arguments are
        kept as JSON; those annotated with a dataclass are made again for whoever listens. Raises ``BarclampError`` for
        a hook that nobody publishes and for arguments that it does not have, or that have no form in JSON.
        """

    def audit(self, action: str, subject: str, /, **detail: Any) -> None:
        """Write a line of the audit trail, as ``"network.change"``, ``"network admin"``. ``detail`` is JSON;
        of a change it has ``changed=differences(old, new)``.
        """

    def create_node(
        self, name: str, *, description: str = "", admin: bool = False, deployment: str | None = None,
        hint: Mapping[str, Json] | None = None, discovery: Mapping[str, Json] | None = None,
        host_keys: Sequence[str] = (), bootenv: str = "local", alive: bool = False, available: bool = False,
    ) -> NodeView:  # fmt: skip
        """Register a machine, in ``system`` unless a deployment is named; not ``available``, it waits to be accepted.
        Raises ``Refused`` when there is a node of that name, ``BadInput``.
        """

    def node_token(self, node: str, *, purpose: str, seconds: float) -> str:
        """A bearer token with which the node reaches its own endpoints for so many seconds; shown only here. It takes
        the place of the node's older one of that purpose. One for ``boot`` vouches for the host keys that the node
        brings with it.
        """

    def put_user(self, name: str, *, password: str, role: str = "admin") -> bool:
        """A person who comes in with this password: made with that role (viewer, operator or admin), or, when there is
        one of that name, given it; whoever is logged in with the old one logs in anew. Returns whether one was made.
        Raises ``BadInput`` with ``/name``, ``/password`` or ``/role``.
        """

    def seal(self, text: str) -> str:
        """The text encrypted with the installation's key, for a column of one's own."""

    def unseal(self, sealed: str) -> str:
        """What ``seal`` was given. Raises ``ConfigError`` when it was sealed with another key."""


class Cluster(Protocol):
    """The cluster from a barclamp's hooks, runs, pages, jobs and services."""

    def nodes(self, ids: Collection[int] | None = None) -> tuple[NodeView, ...]:
        """All nodes, or those of these ids that there are; by their names."""

    def node(self, name: str) -> NodeView: ...

    def settings(self, kind: type[S]) -> S:
        """The barclamp's settings, which it declared as this dataclass. Raises ``LookupError`` for another."""

    def node_roles(self, *, role: str | None = None, node: str | None = None) -> tuple[NodeRoleView, ...]: ...

    def apply(self, intents: Sequence[Intent]) -> None:
        """Do what these intents say, in a change of their own: all or none."""

    def read(self) -> AbstractContextManager[Any]:
        """A session that reads: one consistent picture of the barclamp's own tables and of ``crowbar_core.tables``.
        Nothing that is written there stays. Inside a change it reads what that has written so far.
        """

    def change(self) -> AbstractContextManager[Change]:
        """Begin a change; it ends, and all of it stays, with the block; what the block raises undoes it. Raises
        ``BarclampError`` at once where one is open already: in hooks of the transaction, take their ``change``.
        """

    def ask(self, hook: str, **arguments: Any) -> tuple[tuple[str, Any], ...]:
        """Ask all barclamps that answer a question (``node_boot``, or a published hook): (barclamp, answer), in their
        order; of a hook with ``firstresult`` only the first. One that raises is left out, and shown. Raises
        ``NotFound`` for a hook that nobody has published.
        """

    def boots(self, nodes: Sequence[NodeView]) -> Mapping[int, tuple[tuple[str, Any], ...]]:
        """What these nodes should boot, as all barclamps say that answer ``node_boot`` or ``boots_of``: node id ->
        (barclamp, answer), in their order. Of what they raise as ``ask``.
        """

    def power(self, node: str, action: str) -> str:
        """Perform an action through the node's best hammer, at once, outside any change. Returns one line for a person.
        Raises ``Refused`` when no hammer of the node can.
        """

    def power_actions(self, node: str) -> tuple[str, ...]:
        """What the node's hammers can do, all of them together."""

    def console(self, node: str, heard: Callable[[bytes], None], stopped: CancelFlag) -> bool:
        """Hear what the node's console shows, through the best of its hammers that can, until ``stopped`` is set or it
        breaks off; outside any change. It is a machine's text, with all that a machine writes: whoever shows it takes
        out control characters and secrets. False where no hammer knows of a console. Raises what the last one did.
        """


_cluster: ContextVar[Cluster] = ContextVar("crowbar_cluster")


def cluster() -> Cluster:
    """The cluster that the current hook, run, request, job or service belongs to. Raises ``LookupError`` outside: in a
    command, too, which asks the server instead (``connect()`` of ``crowbar_core.commands``).
    """
    try:
        return _cluster.get()
    except LookupError:
        raise LookupError(
            "There is no cluster here: cluster() answers in hooks, runs, requests, periodic jobs and services, in the "
            "thread in which they are called. A command runs where an operator is, without the database: it asks the "
            "server, with connect() of crowbar_core.commands."
        ) from None


@contextmanager
def serving(current: Cluster) -> Iterator[Cluster]:
    """Make ``current`` what ``cluster()`` answers inside the block (the core does this around all that it calls)."""
    token = _cluster.set(current)
    try:
        yield current
    finally:
        _cluster.reset(token)
