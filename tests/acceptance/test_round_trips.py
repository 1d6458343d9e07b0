"""The round-trip time of the benchmark ``ssh`` where no netem makes it: it is taken, and nothing is lost."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from crowbar_lab.lab import Lab

from benchmarks.delaying import relayed

MILLISECONDS = 150
MEGABYTES = 4
CONNECT = """
import socket, sys, time
for _ in range(5):
    begun = time.monotonic()
    with socket.create_connection((sys.argv[1], 22), timeout=60):
        print(time.monotonic() - begun)
"""


def test_a_round_trip_takes_as_long_as_was_asked_for_and_a_stream_stays_whole(tmp_path: Path) -> None:
    with Lab.create(f"rtt-{os.getpid()}", nodes=2, state_dir=tmp_path / "lab", owner=os.getpid()) as lab:
        node = lab.nodes[1]

        def connecting() -> list[float]:
            asked = [sys.executable, "-c", CONNECT, node.ipv4]
            said = lab.exec(asked, capture_output=True, text=True, timeout=120, check=True).stdout
            return [float(line) * 1000 for line in said.splitlines()]

        with relayed(lab, MILLISECONDS):
            times = connecting()
            assert min(times) >= MILLISECONDS, times
            sent = os.urandom(MEGABYTES << 20)
            through = lab.exec(lab.ssh(node.name, ["cat"]), input=sent, capture_output=True, timeout=240, check=False)
            assert through.stdout == sent, through.stderr[-300:]
        giving_up = time.monotonic() + 60
        while min(connecting()) >= MILLISECONDS:
            assert time.monotonic() < giving_up, "the time is still taken"


def test_a_round_trip_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Lab.create(f"rtt-{os.getpid()}", nodes=1, state_dir=tmp_path / "lab", owner=os.getpid()) as lab:
        elsewhere = lab.describe() | {"bridge": "nowhere0"}
        monkeypatch.setattr(lab, "describe", lambda: elsewhere)
        with pytest.raises(SystemExit, match="no round-trip time"), relayed(lab, 5):
            raise AssertionError("there is no such bridge")
