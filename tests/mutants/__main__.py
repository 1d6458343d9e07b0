"""``./dev mutants [NAME...]``: plant faults one at a time, and say which of them no test noticed."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

from tests.mutants.faults import BadList, Fault, choose, read_faults
from tests.mutants.planter import (
    NOTICED_AT_LEAST,
    ROOT,
    Copy,
    Findings,
    Result,
    digest_of,
    failing_without_fault,
    plant,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: at least 95 % were noticed. 1: fewer, or an entry is stale or broken. 2: nothing could be planted."""
    parser = argparse.ArgumentParser(prog="./dev mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of names or files, with * and ?; default: all")
    parser.add_argument("--list", action="store_true", help="say what there is and whether it can be planted")
    parser.add_argument("--again", action="store_true", help="do not trust what an earlier round found")
    parser.add_argument("--whole", action="store_true", help="where the nearest tests notice nothing, ask all of them")
    parser.add_argument("--timeout", type=float, default=240.0, metavar="SECONDS", help="per fault (default 240)")
    asked = parser.parse_args(arguments)
    try:
        faults = choose(read_faults(), asked.names)
    except BadList as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    if asked.list:
        return _list(faults)
    os.nice(10)
    # Also when it was started in the background, where Ctrl-C is ignored, and when it is told to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return _round(faults, again=asked.again, whole=asked.whole, seconds=asked.timeout)
    except KeyboardInterrupt:
        print("\nmutants: stopped; the next call goes on from here", file=sys.stderr)
        return 130


def _list(faults: Sequence[Fault]) -> int:
    stale = 0
    for fault in faults:
        reason = fault.stale(ROOT)
        stale += reason is not None
        print(f"{fault.name}: {', '.join(fault.files)}" + (f"  STALE: {reason}" if reason else ""))
    print(f"{len(faults)} faults, {stale} stale")
    return 1 if stale else 0


def _round(faults: Sequence[Fault], *, again: bool, whole: bool, seconds: float) -> int:
    findings = Findings.read()
    results: list[Result] = []
    left: list[tuple[Fault, str]] = []
    for fault in faults:
        if (reason := fault.stale(ROOT)) is not None:
            results.append(Result(name=fault.name, fate="stale", by=reason, seconds=0.0))
            _say(results[-1])
            continue
        digest = digest_of(ROOT, fault)
        found = None if again else findings.still_true(fault.name, digest)
        if found is None or (whole and found.fate == "not noticed"):
            left.append((fault, digest))
        else:
            results.append(found)
    if results:
        print(f"{len(results)} of {len(faults)} are known from before, or stale")
    with Copy.of(ROOT) as copy:
        copy.check()
        for fault, digest in left:
            result = replace(plant(copy, fault, seconds=seconds, whole=whole), digest=digest)
            if result.fate != "broken":
                findings.keep(result)
            results.append(result)
            _say(result)
        always = failing_without_fault(copy, results, seconds=seconds * 10)
    for test in sorted(always):
        print(f"this fails without any fault, too, so what it noticed does not count: {test}")
    return sum_up([replace(one, fate="broken") if one.by in always else one for one in results])


def _say(result: Result) -> None:
    fate = result.fate if result.fate == "noticed" else result.fate.upper()
    print(f"{fate:12} {result.name}  ({result.seconds:g} s)  {result.by}", flush=True)


def sum_up(results: Sequence[Result]) -> int:
    noticed = sum(result.fate == "noticed" for result in results)
    missed = [result.name for result in results if result.fate == "not noticed"]
    unusable = [result.name for result in results if result.fate in ("stale", "broken")]
    planted = noticed + len(missed)
    share = 100 * noticed / planted if planted else 0.0
    for title, names in (("not noticed", missed), ("stale or broken", unusable)):
        if names:
            print(f"{title}: {', '.join(sorted(names))}")
    print(f"{noticed} of {planted} planted faults were noticed: {share:.1f} %")
    return 1 if unusable or share < NOTICED_AT_LEAST else 0


if __name__ == "__main__":
    sys.exit(main())
