"""A round-trip time to the nodes of a lab where the kernel has no netem: what leaves for them goes through this
program.

Run inside the lab's network as ``python -m benchmarks.delaying MILLISECONDS BRIDGE SUBNET OUR-ADDRESS``; it ends with
its standard input. It has two devices of the kind TUN: each packet for a node is routed into the one, and is put into
the other when its time has come, in order and however many there are. That is below TCP, so connections are made later,
too. What the nodes answer comes at once: the whole round trip is held back on the way there, as netem in its place does
it.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crowbar_lab.lab import Lab

READY = "ready"
_SET_INTERFACE, _TUN, _NO_HEADER = 0x400454CA, 0x0001, 0x1000
_TABLE, _MTU, _ROOM = "1005", 1500, 10_000
_START_SECONDS = 30


def main() -> None:
    seconds, (bridge, subnet, own) = float(sys.argv[1]) / 1000, sys.argv[2:5]
    there, back = _open("delay-there"), _open("delay-on")
    for device in ("delay-there", "delay-on"):
        _ip("link", "set", device, "mtu", str(_MTU), "txqueuelen", str(_ROOM), "up")
    # What it puts back is from an address of this very namespace, and is routed on.
    ipv4 = Path("/proc/sys/net/ipv4")
    for setting in ("ip_forward", "conf/delay-on/accept_local"):
        (ipv4 / setting).write_text("1")
    for device in ("all", bridge, "delay-on"):
        (ipv4 / "conf" / device / "rp_filter").write_text("0")
    _ip("route", "add", subnet, "dev", "delay-there", "src", own, "table", _TABLE)
    _ip("rule", "add", "iif", "lo", "to", subnet, "lookup", _TABLE)
    with suppress(PermissionError):  # what waits for a processor here would be told as the network's time
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    print(READY, flush=True)
    _pass_on(there, back, seconds)


def _pass_on(there: int, back: int, seconds: float) -> None:
    waiting: deque[tuple[float, bytes]] = deque()
    while True:
        left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([there, sys.stdin], [], [], left)
        if sys.stdin in ready:
            return
        if there in ready:
            with suppress(BlockingIOError):
                while True:
                    packet = os.read(there, _MTU)
                    waiting.append((time.monotonic() + seconds, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            os.write(back, waiting.popleft()[1])


def _open(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _SET_INTERFACE, struct.pack("16sH22x", name.encode(), _TUN | _NO_HEADER))
    return device


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def delayed(lab: Lab, milliseconds: float) -> Iterator[str]:
    """So much time to each node and back, inside the block; says by what."""
    bridge = str(lab.describe()["bridge"])
    netem = ["tc", "qdisc", "add", "dev", bridge, "root", "netem", "delay", f"{milliseconds:g}ms", "limit", "100000"]
    if lab.exec(netem, capture_output=True, timeout=_START_SECONDS).returncode:
        with relayed(lab, milliseconds):
            yield "by a relay: this kernel has no netem"
        return
    try:
        yield "by netem"
    finally:
        lab.exec(["tc", "qdisc", "del", "dev", bridge, "root"], capture_output=True, timeout=_START_SECONDS)


@contextmanager
def relayed(lab: Lab, milliseconds: float) -> Iterator[None]:
    """The same by this program."""
    described = lab.describe()
    where = [str(described[name]).partition("/")[0] for name in ("bridge", "server_ipv4")]
    command = [sys.executable, "-m", __name__, f"{milliseconds:g}", where[0], str(described["ipv4"]), where[1]]
    with lab.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as relay:
        assert relay.stdin is not None
        assert relay.stdout is not None
        if relay.stdout.readline().strip() != READY:
            raise SystemExit("no round-trip time can be made here: neither netem nor a relay (see above)")
        try:
            yield
        finally:
            relay.stdin.close()
            relay.wait(timeout=_START_SECONDS)


if __name__ == "__main__":
    main()
