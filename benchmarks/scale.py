"""Benchmark ``scale``: what one transition costs at 200,000 noderoles against 2,000, on SQLite and on PostgreSQL.

A transition here is a run that ends: claimed, finished, its children released, the next runs made. Both sizes are
loaded once; then the same number of runs is ended on each, one by one and in batches of 100, turn about, in five
rounds. An idle sweep is timed too. Run it with ``./dev bench scale``.
"""

from __future__ import annotations

import json
import statistics
import time
from contextlib import ExitStack

from benchmarks.cluster import OPERATOR, cluster, load
from crowbar_core.services.annealing.claiming import claim
from crowbar_core.services.annealing.outcomes import Outcome, finish
from crowbar_core.services.annealing.sweeping import sweep
from crowbar_core.services.cluster import deployments
from crowbar_core.services.turns.parts import Parts
from crowbar_core.store import runs as store_runs
from tests.services import PostgresServer

LENGTH = 20
SMALL, LARGE = 100, 10_000
ROUNDS = 5
SINGLES, BATCH = 40, 100


def queued(parts: Parts, most: int) -> list[int]:
    with parts.store.read() as session:
        return store_runs.queued(session, most)


def end_runs(parts: Parts, count: int, size: int) -> float:
    """Claim and finish ``count`` runs, ``size`` in each transaction. Returns seconds per run."""
    ids = queued(parts, count)
    begun = time.perf_counter()
    for start in range(0, len(ids), size):
        held = claim(parts, ids[start : start + size], "benchmark")
        finish(parts, [Outcome(run_id=run_id, kind="succeeded", worker="benchmark") for run_id in held])
    return (time.perf_counter() - begun) / max(len(ids), 1)


def idle_sweep(parts: Parts) -> float:
    begun = time.perf_counter()
    sweep(parts)
    return time.perf_counter() - begun


def compare(name: str, small: Parts, large: Parts) -> dict[str, float]:
    found: dict[str, list[float]] = {"one by one": [], "in batches": [], "idle sweep ms at 200,000": []}
    for number in range(ROUNDS):
        sides = (small, large) if number % 2 == 0 else (large, small)
        one = {id(side): end_runs(side, SINGLES, 1) for side in sides}
        many = {id(side): end_runs(side, BATCH, BATCH) for side in sides}
        found["one by one"].append(one[id(large)] / one[id(small)])
        found["in batches"].append(many[id(large)] / many[id(small)])
        found["idle sweep ms at 200,000"].append(1000 * idle_sweep(large))
        print(
            f"{name} round {number + 1}: one by one {1e6 * one[id(small)]:.0f} and {1e6 * one[id(large)]:.0f} us, "
            f"in batches {1e6 * many[id(small)]:.0f} and {1e6 * many[id(large)]:.0f} us at "
            "2,000 and 200,000 noderoles; "
            f"idle sweep {found['idle sweep ms at 200,000'][-1]:.1f} ms",
            flush=True,
        )
    return {f"{name} {what}": round(statistics.median(values), 2) for what, values in found.items()}


def main() -> None:
    results: dict[str, float] = {}
    with PostgresServer(durable=True) as postgres:
        for database in ("sqlite", "postgresql"):
            with ExitStack() as stack:
                sides = []
                for nodes in (SMALL, LARGE):
                    url = postgres.create_database() if database == "postgresql" else None
                    parts = stack.enter_context(cluster(url, length=LENGTH))
                    deployments.commit(parts, OPERATOR, load(parts, nodes=nodes, length=LENGTH))
                    sides.append(parts)
                results |= compare(database, sides[0], sides[1])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
