"""Benchmark ``plan``: the plan of a commit, against that commit itself, on the same database.

100 nodes x 10 and 1,000 nodes x 10 noderoles, on SQLite and on PostgreSQL (durable), three rounds; each round plans
three times and commits once. Run it with ``./dev bench plan``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.cluster import OPERATOR, cluster, load
from crowbar_core.services.cluster import deployments
from tests.services import PostgresServer

SIZES = {"1000": (100, 10), "10000": (1000, 10)}
ROUNDS = 3


def _took(act: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    answer = act()
    return time.perf_counter() - begun, answer


def one_round(url: str, nodes: int, length: int) -> tuple[float, float]:
    """(seconds of a plan, the median of three; seconds of the commit that insists on it)."""
    with cluster(url or None, length=length, probe_seconds=0.0) as parts:
        home = load(parts, nodes=nodes, length=length)
        planned = [_took(lambda: deployments.plan(parts, home)) for _ in range(3)]
        plan = planned[-1][1]
        if len(plan.runs) != nodes * length:
            raise SystemExit(f"the plan lists {len(plan.runs)} runs instead of {nodes * length}")
        committed, _ = _took(lambda: deployments.commit(parts, OPERATOR, home))
        return statistics.median(seconds for seconds, _ in planned), committed


def main() -> None:
    argparse.ArgumentParser(prog="./dev bench plan", description=__doc__).parse_args()
    results: dict[str, Any] = {}
    with PostgresServer(durable=True) as postgres:
        for size, (nodes, length) in SIZES.items():
            for database in ("sqlite", "postgresql"):
                plans, ratios = [], []
                for number in range(ROUNDS):
                    url = postgres.create_database() if database == "postgresql" else ""
                    plan, commit = one_round(url, nodes, length)
                    if url:
                        postgres.drop_database(url)
                    plans.append(plan)
                    ratios.append(plan / commit)
                    print(
                        f"{size} {database} round {number + 1}: planned in {plan:.2f} s, committed in {commit:.2f} s, "
                        f"ratio {ratios[-1]:.2f}",
                        flush=True,
                    )
                results[f"{size} {database} s"] = round(statistics.median(plans), 2)
                results[f"{size} {database} plan / commit"] = round(statistics.median(ratios), 2)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
