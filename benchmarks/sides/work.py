"""What every side of the benchmark ``ssh`` is told, what it has to do on each node, and what it answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

SCRIPTS = 10
WRITTEN = "/var/tmp/crowbar-bench"
"""The file on each node to which every script adds its line."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A node to work on."""

    name: str
    address: str
    host_key: str


@dataclass(frozen=True, kw_only=True)
class Order:
    """One side's work of one round."""

    targets: tuple[Target, ...]
    key_file: str
    """Root's private key on the nodes."""
    concurrency: int
    mark: str
    """What the lines of this side and round begin with."""
    folder: str
    """An empty directory for whatever the side needs to write."""

    @property
    def scripts(self) -> tuple[str, ...]:
        """The text of each script, for ``sh``."""
        return tuple(
            f"echo {self.mark} {number} >>{WRITTEN}\necho script {number} is done\n" for number in range(SCRIPTS)
        )

    @property
    def lines(self) -> list[str]:
        """What the file on a node holds of this side and round when all was done once, and in order."""
        return [f"{self.mark} {number}" for number in range(SCRIPTS)]

    def write_known_hosts(self) -> str:
        """The host keys as OpenSSH reads them. Returns the file's path."""
        path = Path(self.folder) / "known_hosts"
        path.write_text("".join(f"{one.address} {one.host_key}\n" for one in self.targets))
        return str(path)

    def dump(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What it cost: seconds of wall time, and of the controller's processors."""

    seconds: float
    cpu: float


def answer(side: Callable[[Order], Figures]) -> None:
    """The main program of a side: its order comes on standard input, its figures are the last line on
    standard output.
    """
    told = json.load(sys.stdin)
    told["targets"] = tuple(Target(**target) for target in told["targets"])
    print(json.dumps(asdict(side(Order(**told)))))
