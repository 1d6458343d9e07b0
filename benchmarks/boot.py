"""Benchmark ``boot``: a thousand machines in one minute ask for what they boot, and the API is asked meanwhile.

Each asks as iPXE does, one after another and each over a connection of its own: for the first script, for its own
script (with which a boot begins, and a token is made), for the kernel and the initrd, of 64 KiB each. They come evenly,
and what the first request of one took counts from when it was due. The other side is nginx with four static files of
these sizes. The API and the boot service are processes of their own, on SQLite, as `crowbar serve` starts them. Run it
with ``./dev bench boot`` (``--quick``: 15 seconds of it, one round).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.queue import percentile
from crowbar_core.client import Client, Target
from tests.services import NginxServer, free_port, wait_until

MACHINES, SECONDS, ROUNDS = 1000, 60.0, 3
FILE = os.urandom(64 * 1024)
API_PAUSE = 0.2
CROWBAR = [sys.executable, "-m", "crowbar_core.cli"]
TOKEN = re.compile(rb"/b/([A-Za-z0-9_-]{43})/vmlinuz")


class Static(NginxServer):
    """nginx with the files of a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        super().__init__(upstream="")

    def _command(self) -> list[str]:
        command = super()._command()
        conf = self.directory / "nginx.conf"
        before, _, rest = conf.read_text().partition("location / {")
        conf.write_text(f"{before}root {self.root};\n{rest.partition('}')[2]}")
        return command


async def asked(port: int, path: str) -> bytes:
    """The body of an answer; a connection each, as machines have."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise SystemExit(f"{path} was answered with {head.decode(errors='replace')}")
        return await reader.read()
    finally:
        writer.close()


async def crowbars(port: int, number: int, ask: Callable[[str], Awaitable[bytes]]) -> None:
    await ask("/boot.ipxe")
    mac = f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    script = await ask(f"/ipxe?mac={mac}&uuid=&serial=BENCH-{number}&platform=pcbios")
    hit = TOKEN.search(script)
    if hit is None:
        raise SystemExit(f"no token is in {script.decode()}")
    for name in ("vmlinuz", "initrd.img"):
        await ask(f"/b/{hit[1].decode()}/{name}")


async def nginxs(port: int, number: int, ask: Callable[[str], Awaitable[bytes]]) -> None:
    for name in ("boot.ipxe", "ipxe", "vmlinuz", "initrd.img"):
        await ask(f"/{name}")


async def arrivals(port: int, machine: Callable[..., Awaitable[None]], machines: int, seconds: float) -> list[float]:
    """Seconds that each request took, of the first one of a machine from when it was due."""
    taken: list[float] = []
    begun = time.perf_counter() + 0.5

    async def boot(number: int) -> None:
        due = begun + number * seconds / machines
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        since = due

        async def ask(path: str) -> bytes:
            nonlocal since
            body = await asked(port, path)
            taken.append(time.perf_counter() - since)
            since = time.perf_counter()
            return body

        await machine(port, number, ask)

    await asyncio.gather(*(boot(number) for number in range(machines)))
    return taken


@contextmanager
def api_asked(api: Client) -> Iterator[list[float]]:
    """Milliseconds of lists of nodes, asked for all the while."""
    taken: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(API_PAUSE):
            begun = time.perf_counter()
            api.get("nodes", query={"limit": "20"})
            taken.append(1000 * (time.perf_counter() - begun))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield taken
    finally:
        over.set()
        thread.join()


def surroundings(home: Path, listen: str, others: Mapping[str, str]) -> dict[str, str]:
    """The environment of a Crowbar of one's own below ``home``, whose boot service listens there."""
    return {
        **{name: value for name, value in others.items() if not name.startswith("CROWBAR_")},
        "CROWBAR_DATA_DIR": str(home / "data"), "CROWBAR_LOG_LEVEL": "warning",
        "CROWBAR_PLUGINS__PROVISIONER__LISTEN": listen, "CROWBAR_PLUGINS__PROVISIONER__FILES": str(home / "files"),
    }  # fmt: skip


@contextmanager
def server(home: Path) -> Iterator[tuple[int, Client]]:
    """The port of the boot service, and the API: a web process and a service, as `crowbar serve` has them."""
    (home / "files" / "sledgehammer").mkdir(parents=True)
    for name in ("vmlinuz", "initrd.img"):
        (home / "files" / "sledgehammer" / name).write_bytes(FILE)
    port, boot_port = free_port(), free_port()
    environment = surroundings(home, f"127.0.0.1:{boot_port}", os.environ)
    made = subprocess.run(
        [*CROWBAR, "db", "upgrade", "--format", "json"], env=environment, capture_output=True, text=True, timeout=120,
        check=True,
    )  # fmt: skip
    password = json.loads(made.stdout)["admin_password"]
    with ExitStack() as stack, (home / "log").open("ab") as log:
        for words in (["web", "--listen", f"127.0.0.1:{port}"], ["service", "provisioner-boot"]):
            one = subprocess.Popen([*CROWBAR, *words], env=environment, stdout=log, stderr=log)
            stack.callback(one.wait, 20)
            stack.callback(one.terminate)
        api = Client(Target(url=f"http://127.0.0.1:{port}", user="admin", password=password, direct=True))
        stack.callback(api.close)

        def answers() -> bool:
            try:
                asyncio.run(asked(boot_port, "/boot.ipxe"))
            except OSError:
                return False
            return api.outside("readyz", accept=(503,))[0] in (200, 503)

        wait_until(answers, seconds=60, what="the API and the boot service")
        yield boot_port, api


def compare(machines: int, seconds: float, rounds: int) -> dict[str, float]:
    ours, others, slower = [], [], []
    with tempfile.TemporaryDirectory(prefix="crowbar-bench-") as folder:
        home = Path(folder)
        static = home / "static"
        static.mkdir()
        home.chmod(0o755)
        for name, content in (("boot.ipxe", FILE[:400]), ("ipxe", FILE[:600]), ("vmlinuz", FILE), ("initrd.img", FILE)):
            (static / name).write_bytes(content)
        with server(home) as (port, api), Static(static) as nginx:
            for number in range(rounds):
                with api_asked(api) as alone:
                    theirs = asyncio.run(arrivals(nginx.port, nginxs, machines, seconds))
                with api_asked(api) as beside:
                    mine = asyncio.run(arrivals(port, crowbars, machines, seconds))
                ours.append(_p99(mine))
                others.append(_p99(theirs))
                slower.append(statistics.median(beside) / statistics.median(alone))
                print(
                    f"round {number + 1}: p99 {ours[-1]:.1f} ms, p50 {1000 * percentile(mine, 0.5):.1f} ms; nginx p99"
                    f" {others[-1]:.1f} ms; API {statistics.median(beside):.1f} ms beside it,"
                    f" {statistics.median(alone):.1f} ms beside nginx; load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
    return {
        f"p99 ms, {machines} machines in {seconds:g} s": round(statistics.median(ours), 1),
        "p99/nginx's": round(statistics.median(a / b for a, b in zip(ours, others, strict=True)), 2),
        "API beside it/beside nginx": round(statistics.median(slower), 2),
    }


def _p99(taken: Sequence[float]) -> float:
    return 1000 * percentile(taken, 0.99)


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench boot", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of a minute, once")
    options = parser.parse_args()
    results = compare(MACHINES // 4, SECONDS / 4, 1) if options.quick else compare(MACHINES, SECONDS, ROUNDS)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
