"""A light machine: says over real HTTP what the agent of the discovery image says, and answers as a node does."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

GIB = 1 << 30
ASKING = """\
set wait:int32 2
:ask
chain --replace --autofree {url} ||
echo {base} gives no script: it is asked again in ${{wait}} s (Ctrl-C: a shell)
sleep ${{wait}} || shell
iseq ${{wait}} 30 || inc wait
goto ask
"""
"""Whoever does not answer is asked for ever, less and less often, and a person sees it."""
LOCAL = """\
#!ipxe
sanboot --no-describe --drive 0x80 ||
sanboot --no-describe --drive 0x81 ||
sanboot --no-describe --drive 0x82 ||
sanboot --no-describe --drive 0x83 ||
sanboot --no-describe --drive 0x84 ||
sanboot --no-describe --drive 0x85 ||
sanboot --no-describe --drive 0x86 ||
sanboot --no-describe --drive 0x87 ||
exit 1
"""
"""What BIOS is told where a machine boots its own disk."""
S = TypeVar("S", bound=socketserver.BaseServer)


def host_key() -> str:
    """One that could be, and is nobody else's."""
    return "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + os.urandom(32)).decode()


@contextlib.contextmanager
def served(server: S) -> Iterator[S]:
    """In a thread of its own, until the block ends."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Heard:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Machine:
    """``source``: the address that it has; on the loopback each machine can have one."""

    where: tuple[str, int]
    macs: list[str]
    uuid: str = ""
    serial: str = ""
    source: str = ""
    platform: str = "pcbios"
    token: str = ""
    script: str = ""
    key: str = field(default_factory=host_key)
    name: str = ""
    disk_key: str = ""
    more: dict[str, Any] = field(default_factory=dict)
    _client: http.client.HTTPConnection | None = field(default=None, repr=False)

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str) -> Heard:
        client = self._client = http.client.HTTPConnection(
            *self.where, timeout=30, source_address=(self.source, 0) if self.source else None
        )  # fmt: skip
        try:
            client.connect()
            client.sock.settimeout(120)
            raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            using = self.token if token is None else token
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            given |= {"Authorization": f"Bearer {using}"} if using else {}
            with contextlib.suppress(BrokenPipeError):  # it may have answered, and closed, before all was sent
                client.request(method, path, raw, given)
            answer = client.getresponse()
            return Heard(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            client.close()

    def hang_up(self) -> None:
        """Whoever waits for an answer waits no more: ``OSError`` or ``HTTPException``."""
        wire = self._client.sock if self._client is not None else None
        if wire is not None:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)

    def power_on(self, *, card: int = 0) -> str:
        """Asks for its script as iPXE does; the token in it is its own from now on."""
        asked = f"mac={self.macs[card]}&uuid={self.uuid}&serial={self.serial}&platform={self.platform}"
        answer = self.ask("GET", f"/ipxe?{asked}", token="")
        assert answer.status == 200, f"{answer.status} {answer.text}"
        self.script = answer.text
        hit = re.search(r"crowbar\.token=([A-Za-z0-9_-]{43}) ", self.script)
        self.token = hit[1] if hit else ""
        self.key = host_key()
        return self.script

    @property
    def env(self) -> str:
        hit = re.search(r"crowbar\.env=(\S+)", self.script)
        return hit[1] if hit else "local"

    def inventory(self) -> dict[str, Any]:
        disk = {"name": "vda", "size": 8 * GIB, "serial": "DISK1", "model": "QEMU", "transport": "virtio"}
        return {
            "macs": self.macs, "uuid": self.uuid, "serial": self.serial, "firmware": "bios", "memory": GIB,
            "disks": [disk], "addresses": [f"{self.source}/24"] if self.source else [], **self.more,
        }  # fmt: skip

    def register(self, *, token: str | None = None) -> Heard:
        return self.ask("POST", "/v1/register", {"inventory": self.inventory(), "host_keys": [self.key]}, token=token)

    def registered(self) -> Any:
        answer = self.register()
        assert answer.status == 200, answer.text
        return answer.json

    def work(self) -> Any:
        return self.ask("GET", "/v1/work").json


def listening(port: int) -> None:
    """Wait until somebody does."""
    until = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            assert time.monotonic() < until, "the boot service does not listen"
            time.sleep(0.02)
        else:
            return
