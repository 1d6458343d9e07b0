"""Benchmark ``dns-dhcp``: what the cluster is called and told, into real servers, against these servers alone.

Each part is a module of ``benchmarks.sides`` with a function ``measure(quick)`` that prints what it finds and returns
the ratios; ``--only`` picks one. Run it with ``./dev bench dns-dhcp`` (``--quick``: fewer hosts and rounds).
"""

from __future__ import annotations

import argparse
import importlib
import json
from typing import Any

PARTS = ("dns", "dhcp")


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench dns-dhcp", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer hosts, fewer rounds")
    parser.add_argument("--only", choices=PARTS, help="one of the parts")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for name in (options.only,) if options.only else PARTS:
        results |= importlib.import_module(f"benchmarks.sides.{name}").measure(options.quick)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
