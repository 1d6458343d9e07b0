"""Benchmark ``anneal``: convergence of ``noop`` noderoles, against the ancestor's loop on the same database.

200 nodes x 10 and 10,000 x 20, on SQLite and on PostgreSQL (durable), interleaved, three rounds. Each side runs in a
process of its own on a freshly loaded database. The ancestor's rate at the large size is taken from its first runs
only. Run it with ``./dev bench anneal`` (``--quick`` leaves the large size out).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.services import PostgresServer

SIZES = {"200x10": (200, 10), "10000x20": (10_000, 20)}
ROUNDS = 3


def _in_process(side: str, url: str, nodes: int, length: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.sides.noops", "--side", side, "--url", url, "--nodes", str(nodes)]
    answer = subprocess.run(
        [*command, "--length", str(length)], check=True, capture_output=True, text=True, timeout=1800
    )
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench anneal", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only 200 x 10")
    options = parser.parse_args()
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
