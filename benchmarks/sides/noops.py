"""One side of the ``anneal`` benchmark, in a process of its own.

Its memory is measured: nothing that only the benchmark needs is imported here.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from typing import Any

from sqlalchemy import select

from benchmarks import ancestor
from benchmarks.cluster import OPERATOR, cluster, load
from crowbar_core.services.build import spare_the_collector
from crowbar_core.services.cluster import deployments
from crowbar_core.services.engine.engine import Engine
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.watch import settling
from crowbar_core.store import runs as store_runs
from crowbar_core.store.models import Run, table

runs = table(Run)

ANCESTOR_RUNS = 300
WARM = 10
"""Nodes that each side works on first, uncounted: a server has made its statements and connections long before."""


def one_side(side: str, url: str, nodes: int, length: int) -> dict[str, Any]:
    """Load, commit and anneal in this process; noderoles per second from the commit to rest, and the
    peak memory in MB.
    """
    with cluster(url or None, length=length, probe_seconds=0.0) as parts:  # there is nobody to probe
        warm = load(parts, nodes=WARM, length=length, name="warm")
        home = load(parts, nodes=nodes, length=length)
        if side == "ancestor":
            ancestor.commit(parts, warm)
            ancestor.anneal(parts, most_runs=WARM * length)
            ancestor.commit(parts, home)
            runs, seconds = ancestor.anneal(parts, most_runs=ANCESTOR_RUNS)
            return {"rate": runs / seconds, "seconds": seconds, "megabytes": _peak()}
        spare_the_collector()  # as crowbar serve does
        engine = Engine(parts)
        engine.start()
        _converge(parts, warm, look=0.02)
        begun = time.perf_counter()
        _converge(parts, home, look=0.02 if nodes < 1000 else 0.2)
        seconds = time.perf_counter() - begun
        now = settling.settled(parts)
        engine.stop()
        if now.active != (WARM + nodes) * length:
            raise SystemExit(f"only {now.active} of {(WARM + nodes) * length} noderoles became ACTIVE: {now}")
        return {"rate": nodes * length / seconds, "seconds": seconds, "megabytes": _peak()}


def _converge(parts: Parts, deployment_id: int, *, look: float) -> None:
    deployments.commit(parts, OPERATOR, deployment_id)
    while _any_open_run(parts):  # cheap at any size, and each change that leaves work leaves an open run
        time.sleep(look)


def _any_open_run(parts: Parts) -> bool:
    with parts.store.read() as session:
        return session.scalar(select(runs.c.id).where(runs.c.state.in_(store_runs.OPEN)).limit(1)) is not None


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.sides.noops")
    parser.add_argument("--side", choices=("crowbar", "ancestor"), required=True)
    parser.add_argument("--url", default="", help="an empty database; none: SQLite in a temporary folder")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--length", type=int, default=10)
    options = parser.parse_args()
    print(json.dumps(one_side(options.side, options.url, options.nodes, options.length)))


if __name__ == "__main__":
    main()
