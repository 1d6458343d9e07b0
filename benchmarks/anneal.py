"""Benchmark ``anneal``: convergence of ``noop`` noderoles, against the ancestor's loop on the same database.

200 nodes x 10 and 10,000 x 20, on SQLite and on PostgreSQL (durable), interleaved, three rounds. Each side runs in a
process of its own on a freshly loaded database. The ancestor's rate at the large size is taken from its first runs
only. Run it with ``./dev bench anneal`` (``-- --quick`` leaves the large size out).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select

from benchmarks import ancestor
from benchmarks.cluster import OPERATOR, cluster, load
from crowbar_core.services import deployments, steering
from crowbar_core.services.build import spare_the_collector
from crowbar_core.services.engine import Engine
from crowbar_core.services.parts import Parts
from crowbar_core.store import runs as store_runs
from crowbar_core.store.models import Run, table

runs = table(Run)

SIZES = {"200x10": (200, 10), "10000x20": (10_000, 20)}
ROUNDS = 3
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
        now = steering.settled(parts)
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


def _in_process(side: str, url: str, nodes: int, length: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.anneal", "--side", side, "--url", url, "--nodes", str(nodes)]
    answer = subprocess.run(
        [*command, "--length", str(length)], check=True, capture_output=True, text=True, timeout=1800
    )
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench anneal", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only 200 x 10")
    parser.add_argument("--side", choices=("crowbar", "ancestor"), help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--nodes", type=int, default=200, help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, default=10, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(one_side(options.side, options.url, options.nodes, options.length)))
        return
    from tests.services import PostgresServer  # noqa: PLC0415  not in the processes whose memory is measured

    sizes = {"200x10": SIZES["200x10"]} if options.quick else SIZES
    results: dict[str, Any] = {}
    with PostgresServer(durable=True) as postgres:
        for size, (nodes, length) in sizes.items():
            for database in ("sqlite", "postgresql"):
                ratios, rates, megabytes = [], [], []
                for number in range(ROUNDS):
                    both = {}
                    for side in ("crowbar", "ancestor") if number % 2 == 0 else ("ancestor", "crowbar"):
                        url = postgres.create_database() if database == "postgresql" else ""
                        both[side] = _in_process(side, url, nodes, length)
                        if url:
                            postgres.drop_database(url)
                    ours, theirs = both["crowbar"], both["ancestor"]
                    ratios.append(ours["rate"] / theirs["rate"])
                    rates.append(ours["rate"])
                    megabytes.append(ours["megabytes"])
                    print(
                        f"{size} {database} round {number + 1}: {ours['rate']:.0f} noderoles/s "
                        f"({ours['seconds']:.1f} s, "
                        f"{ours['megabytes']:.0f} MB), the ancestor's loop "
                        f"{theirs['rate']:.0f}/s, ratio {ratios[-1]:.1f}",
                        flush=True,
                    )
                results[f"{size} {database} vs ancestor"] = round(statistics.median(ratios), 2)
                results[f"{size} {database} noderoles/s"] = round(statistics.median(rates))
                results[f"{size} {database} MB"] = round(max(megabytes))
    print(json.dumps(results))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main()
