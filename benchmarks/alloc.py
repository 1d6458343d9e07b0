"""Benchmark ``alloc``: giving nodes addresses of a network that has 16,382 of them.

10,000 nodes get one each, five hundred in a change, on SQLite and on PostgreSQL (durable). Then single ones are given
in changes of their own, of two networks by turns, one with 100 in use and one with 10,000. Printed are the seconds for
the 10,000, and the cost of one at 10,000 in those of one at 100. Run it with ``./dev bench alloc``.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import crowbar_jig_script
import crowbar_network
from crowbar_network import allocating, networks, releasing
from crowbar_network.telling import node_of, row_of
from sqlalchemy import select

from benchmarks.cluster import OPERATOR
from crowbar_core import NodeView
from crowbar_core.services.cluster import registering
from crowbar_core.services.cluster.registering import NewNode
from crowbar_core.tables import deployments
from crowbar_core.testing import Testbed
from tests.services import PostgresServer

MANY = 10_000
FEW = 100
AT_ONCE = 500
SINGLES = 200
LIMIT = 10.0


def _network(bed: Testbed, name: str, second: int) -> int:
    one = {"name": "host", "first": f"10.{second}.0.1/18", "last": f"10.{second}.63.254/18"}
    with bed.change() as change:
        system = change.session.scalar(select(deployments.c.id).where(deployments.c.system))
        values = {"name": name, "description": "", "deployment_id": system, "category": "bench", "group": "default",
                  "v6id": "name", "configure": True, "order": 1000}  # fmt: skip
        return networks.create(change, values, given_ranges=[one])


def _fill(bed: Testbed, network: int, nodes: list[int]) -> float:
    """Seconds for giving each of these nodes an address."""
    begun = time.perf_counter()
    for start in range(0, len(nodes), AT_ONCE):
        with bed.change() as change:
            row = row_of(change.session, network)
            views = [NodeView(id=ref, name=f"n{ref}.alloc.test") for ref in nodes[start : start + AT_ONCE]]
            allocating.allocate_many(change, row, views)
    return time.perf_counter() - begun


def _one(bed: Testbed, network: int, ref: int) -> float:
    """Seconds for one in a change of its own, which is given back afterwards."""
    begun = time.perf_counter()
    with bed.change() as change:
        allocating.allocate(change, row_of(change.session, network), node_of(change.session, ref))
    took = time.perf_counter() - begun
    with bed.change() as change:
        releasing.release_on(change, network, node_of(change.session, ref))
    return took


def one_database(url: str | None) -> dict[str, Any]:
    with Testbed(crowbar_jig_script, crowbar_network, database_url=url) as bed:
        nodes: list[int] = []
        for start in range(0, MANY + 1, 1000):
            names = [NewNode(name=f"n{at:05}.alloc.test") for at in range(start, min(start + 1000, MANY + 1))]
            nodes += registering.create_nodes(bed.parts, OPERATOR, names)
        much, little = _network(bed, "much", 1), _network(bed, "little", 2)
        seconds = _fill(bed, much, nodes[:MANY])
        _fill(bed, little, nodes[:FEW])
        at_many, at_few = [], []
        for _ in range(SINGLES):
            at_few.append(_one(bed, little, nodes[MANY]))
            at_many.append(_one(bed, much, nodes[MANY]))
        return {
            f"{MANY} s": round(seconds, 2),
            "in time": seconds <= LIMIT,
            f"one at {MANY} / at {FEW}": round(statistics.median(at_many) / statistics.median(at_few), 2),
            "one ms": round(statistics.median(at_many) * 1e3, 2),
        }


def main() -> None:
    results: dict[str, Any] = {}
    with PostgresServer(durable=True) as postgres:
        for database in ("sqlite", "postgresql"):
            url = postgres.create_database() if database == "postgresql" else None
            found = one_database(url)
            print(f"{database}: {found}", flush=True)
            results |= {f"{database} {name}": value for name, value in found.items()}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
