"""A cluster of any size for benchmarks: chains of ``noop`` roles on many nodes, with edges across nodes, loaded in
bulk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, text

from crowbar_core import Barclamp, Role, Task, hookimpl
from crowbar_core.domain.states import PROPOSED
from crowbar_core.services.build import build_parts
from crowbar_core.services.cluster import deployments
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor
from crowbar_core.settings import load_settings
from crowbar_core.store.models import Deployment, DeploymentRole, Edge, Node, NodeRole, RoleRow, table

OPERATOR = Actor("benchmark")
CROSS_EVERY = 5
"""Every fifth role of a chain also waits for the role before it on the neighbouring node."""


class Chain:
    """A barclamp with ``length`` roles, each requiring the one before it: noop roles, or of the function ``run``."""

    def __init__(self, length: int, run: Callable[[Task], None] | None = None) -> None:
        self.length = length
        self.work: dict[str, Any] = {"jig": "python", "run": run} if run is not None else {}

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(
            name="chain",
            roles=tuple(
                Role(name=f"step-{n:02}", requires=(f"step-{n - 1:02}",) if n else (), **self.work)
                for n in range(self.length)
            ),
        )


@contextmanager
def cluster(
    database_url: str | None, *, length: int, run: Callable[[Task], None] | None = None, **settings: Any
) -> Iterator[Parts]:
    """A core on a fresh database (None: SQLite in a temporary folder), without nodes, and
    without the barclamps that are installed. ``run`` as in ``Chain``.
    """
    with tempfile.TemporaryDirectory(prefix="crowbar-bench-") as folder:
        made = load_settings(
            environ={}, data_dir=folder, database_url=database_url or f"sqlite:///{Path(folder) / 'bench.sqlite'}",
            log_level="warning", **settings,
        )  # fmt: skip
        parts = build_parts(made, extra_plugins=[("chain", Chain(length, run))], installed=False)
        try:
            yield parts
        finally:
            parts.close()


def load(parts: Parts, *, nodes: int, length: int, name: str = "bench") -> int:
    """``nodes`` nodes with ``length`` noderoles each, all PROPOSED in one deployment. Returns the deployment's id."""
    home = deployments.create_deployment(parts, OPERATOR, name=name)
    with parts.store.write() as session:
        now = parts.store.now(session)
        roles = dict(session.execute(select(RoleRow.name, RoleRow.id)).all())
        root = session.scalars(select(Deployment.id).where(Deployment.system)).one()
        role_ids = [roles[f"step-{n:02}"] for n in range(length)]
        session.execute(
            insert(table(DeploymentRole)), [{"deployment_id": home, "role_id": role_id} for role_id in role_ids]
        )
        before = session.scalars(select(NodeRole.id).order_by(NodeRole.id.desc()).limit(1)).first() or 0

        def ref(node: int, step: int) -> int:
            """The id of a noderole."""
            return before + 1 + node * length + step

        first_node = (session.scalars(select(Node.id).order_by(Node.id.desc()).limit(1)).first() or 0) + 1
        for start in range(0, nodes, 1000):
            count = min(1000, nodes - start)
            session.execute(
                insert(table(Node)),
                [
                    {"id": first_node + start + n, "name": f"n{start + n:05}.{name}.test", "alive": True,
                     "available": True, "deployment_id": root}
                    for n in range(count)
                ],
            )  # fmt: skip
        for start in range(0, nodes, 500):
            rows, links = [], []
            for node in range(start, min(start + 500, nodes)):
                for step in range(length):
                    parents = [ref(node, step - 1)] if step else []
                    if node and step and step % CROSS_EVERY == 0:
                        parents.append(ref(node - 1, step - 1))
                    links += [
                        {"parent_id": parent, "child_id": ref(node, step), "kind": "data", "counts": False}
                        for parent in parents
                    ]
                    rows.append(
                        {"id": ref(node, step), "node_id": first_node + node, "role_id": role_ids[step],
                         "deployment_id": home, "state": int(PROPOSED), "blockers": 0, "cohort": step + 1,
                         "created_at": now, "updated_at": now}
                    )  # fmt: skip
            session.execute(insert(table(NodeRole)), rows)
            session.execute(insert(table(Edge)), links)
    with parts.store.write() as session:
        if parts.store.postgresql:  # its sequences have not seen the ids given here
            for counted in ("nodes", "node_roles"):
                session.execute(
                    text(f"SELECT setval(pg_get_serial_sequence('{counted}', 'id'), (SELECT max(id) FROM {counted}))")
                )
        session.execute(text("ANALYZE"))  # as autovacuum would have done while a cluster of this size came to be
    return home
