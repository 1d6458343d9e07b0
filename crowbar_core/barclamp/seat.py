"""The cluster, as a barclamp reads and changes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from crowbar_core.barclamp.intents import Intent
from crowbar_core.barclamp.views import NodeRoleView, NodeView


class Cluster(Protocol):
    """Reading the cluster from a barclamp's own pages and jobs: frozen views, never tables."""

    def nodes(self) -> tuple[NodeView, ...]: ...

    def node(self, name: str) -> NodeView: ...

    def node_roles(self, *, role: str | None = None, node: str | None = None) -> tuple[NodeRoleView, ...]: ...

    def apply(self, intents: Sequence[Intent]) -> None: ...


_cluster: ContextVar[Cluster] = ContextVar("crowbar_cluster")


def cluster() -> Cluster:
    """The cluster that the current request or job belongs to. Raises ``LookupError`` outside of one."""
    return _cluster.get()


@contextmanager
def serving(current: Cluster) -> Iterator[Cluster]:
    """Make ``current`` what ``cluster()`` answers inside the block (the core does this around requests and jobs)."""
    token = _cluster.set(current)
    try:
        yield current
    finally:
        _cluster.reset(token)
