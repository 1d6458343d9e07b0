"""Benchmark ``ssh``: ten small scripts on each of 100 nodes, by Crowbar, ansible-playbook with and without mitogen,
pyinfra, hussh and a bare asyncssh loop.

The nodes are a lab's, each with an sshd of its own; every side works from inside the lab's network, in a fresh process,
with no connection open, and knows the host keys. After each turn the nodes are asked whether every script was done,
once and in order. Crowbar's side is measured from the commit of a deployment until all is ACTIVE, once with one role of
ten scripts and once with ten roles of one script; that there are nodes, its barclamps have heard before. Ansible's is
the whole command; the time to import a library counts for nobody else. Run it with ``./dev bench ssh`` (``--quick``: 30
nodes, one round; ``--without ansible``: minutes instead of half an hour; ``--rtt 5``: with so many milliseconds of
round-trip time, by the kernel's netem or, where it has none, by ``benchmarks.delaying``).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from crowbar_lab.lab import Lab

from benchmarks.delaying import delayed
from benchmarks.sides.work import SCRIPTS, WRITTEN, Figures, Order, Target

SIDES = {
    "crowbar": ["benchmarks.sides.crowbar"],
    "crowbar 10 roles": ["benchmarks.sides.crowbar", "--role-per-script"],
    "asyncssh": ["benchmarks.sides.bare_asyncssh"],
    "pyinfra": ["benchmarks.sides.pyinfra_operations"],
    "hussh": ["benchmarks.sides.hussh_loop"],
    "ansible": ["benchmarks.sides.ansible_playbook"],
    "mitogen": ["benchmarks.sides.ansible_playbook", "--mitogen"],
}
PEERS = ("ansible", "mitogen", "pyinfra", "hussh")
OURS = ("crowbar", "crowbar 10 roles")
CONCURRENCIES = (10, 50)
NODES, ROUNDS = 100, 3
HANG_SECONDS = 2400.0


class Race:
    """A lab, and the turns that the sides take on its nodes."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.nodes = lab.nodes
        self.targets = tuple(Target(name=one.name, address=one.ipv4, host_key=one.host_key) for one in self.nodes)
        self.turns = 0

    def turn(self, side: str, concurrency: int) -> Figures:
        """One side does all the work once, and the nodes say that it was done."""
        self.turns += 1
        folder = self.folder / str(self.turns)
        folder.mkdir()
        order = Order(
            targets=self.targets, key_file=str(self.lab.private_key), concurrency=concurrency,
            mark=f"turn-{self.turns}", folder=str(folder),
        )  # fmt: skip
        done = self.lab.exec(
            [sys.executable, "-m", *SIDES[side]], input=order.dump(), capture_output=True, text=True,
            timeout=HANG_SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{side} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        self._check(side, order)
        return Figures(**json.loads(done.stdout.splitlines()[-1]))

    def _check(self, side: str, order: Order) -> None:
        for node in self.nodes:
            written = Path(f"/proc/{node.pid}/root{WRITTEN}").read_text().splitlines()
            if (of_this_turn := [line for line in written if line.startswith(f"{order.mark} ")]) != order.lines:
                raise SystemExit(f"{side} did not do its {SCRIPTS} scripts on {node.name}: {of_this_turn}")


def run(race: Race, sides: Sequence[str], rounds: int) -> dict[str, float]:
    """All sides at all concurrencies, round by round; the medians of the ratios."""
    ratios: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        for concurrency in CONCURRENCIES:
            at = f"c{concurrency}"
            # Another one begins each time, and who follows whom is turned around as well.
            order = [sides[(place + number) % len(sides)] for place in range(len(sides))]
            got: dict[str, Figures] = {}
            for side in order if concurrency == CONCURRENCIES[0] else reversed(order):
                got[side] = race.turn(side, concurrency)
                print(
                    f"round {number + 1} {at}: {side}: {got[side].seconds:.2f} s, controller {got[side].cpu:.2f} CPU s"
                    f" (load {os.getloadavg()[0]:.1f})",
                    flush=True,
                )
            for ours in OURS:
                mine, suffix = got[ours], ours.removeprefix("crowbar")
                for peer in PEERS:
                    if peer in got:
                        ratios[f"{peer}/crowbar {at}{suffix}"].append(got[peer].seconds / mine.seconds)
                ratios[f"crowbar/asyncssh {at}{suffix}"].append(mine.seconds / got["asyncssh"].seconds)
                ratios[f"crowbar cpu/asyncssh cpu {at}{suffix}"].append(mine.cpu / got["asyncssh"].cpu)
    return {name: round(statistics.median(values), 2) for name, values in ratios.items()}


def _on(lab: Lab, folder: Path, sides: Sequence[str], rounds: int, rtt: float) -> dict[str, float]:
    with delayed(lab, rtt) if rtt else nullcontext("by nobody's doing") as how:
        print(f"round-trip time: {_round_trip(lab)}, {how}", flush=True)
        return run(Race(lab, folder), sides, rounds)


def _round_trip(lab: Lab) -> str:
    """As ``ping`` finds it."""
    said = lab.exec(
        ["ping", "-q", "-c", "20", "-i", "0.05", lab.nodes[-1].ipv4], capture_output=True, text=True, timeout=60
    )
    figures = said.stdout.rpartition(" = ")[2].split("/")
    return f"{figures[1]} ms on average, {figures[0]} at least" if len(figures) > 2 else "nobody answers ping"


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench ssh", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="30 nodes, one round")
    parser.add_argument("--without", action="append", default=[], choices=PEERS, metavar="PEER")
    parser.add_argument("--nodes", type=int, help=f"how many nodes (default {NODES})")
    parser.add_argument("--rounds", type=int, help=f"how many rounds (default {ROUNDS})")
    parser.add_argument("--rtt", type=float, default=0.0, metavar="MS", help="milliseconds from each node and back")
    options = parser.parse_args()
    nodes = options.nodes or (30 if options.quick else NODES)
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    sides = [side for side in SIDES if side not in options.without]
    # Ended from outside, it still removes the lab.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    # Removed last: the lab, as it goes, ends what a side cut short has left running and writing.
    with tempfile.TemporaryDirectory(prefix="crowbar-bench-") as folder:
        print(f"making {nodes} nodes", flush=True)
        with Lab.create(f"bench-{os.getpid()}", nodes=nodes, state_dir=Path(folder) / "lab") as lab:
            results = _on(lab, Path(folder), sides, rounds, options.rtt)
    print(json.dumps(results))


if __name__ == "__main__":
    try:
        main()
    except subprocess.TimeoutExpired as problem:
        raise SystemExit(f"{problem.cmd[-1]} did not end in {HANG_SECONDS:g} s") from None
