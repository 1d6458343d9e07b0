"""What machines of a lab boot from in tests: DHCP, router advertisements and TFTP (dnsmasq), and files over HTTP.

    with NetBoot(lab) as boot:
        boot.files["/boot.ipxe"] = f"#!ipxe\\nkernel {boot.url}/vmlinuz\\nboot\\n"
        boot.files["/vmlinuz"] = Path("/boot/vmlinuz")
        lab.vm("vm-1").power("on")
        boot.await_request("/vmlinuz")

Firmware gets iPXE by TFTP, iPXE the script ``/boot.ipxe`` by HTTP, in both families. It is no more than that: what a
cluster boots from is the work of a provisioner and a DHCP server of its own.
"""

from __future__ import annotations

import http.server
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from crowbar_lab.errors import LabError, LabUnavailable
from crowbar_lab.host import find_tool
from crowbar_lab.lab import Lab
from crowbar_lab.plan import subnets
from crowbar_lab.testing import inside

IPXE = (Path("/usr/lib/ipxe/ipxe.efi"), Path("/usr/lib/ipxe/undionly.kpxe"))
SCRIPT = "/boot.ipxe"
END_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a machine asked over HTTP. ``query`` is of the URL; the names of ``headers`` are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class NetBoot:
    """``files`` are given by their path; a ``Path`` is a file of this host's. What is posted is taken with an empty
    answer. Each request is kept in ``requests``. ``families`` are 4, 6 or both."""

    def __init__(self, lab: Lab, *, families: tuple[int, ...] = (4, 6)) -> None:
        self.lab = lab
        self.files: dict[str, str | bytes | Path] = {}
        self.families = families
        self.requests: list[Request] = []
        described = lab.describe()
        self._nets = subnets(described["ipv4"], described["ipv6"])
        self._bridge = described["bridge"]
        self._came = threading.Condition()
        self._place = tempfile.TemporaryDirectory(prefix="crowbar-netboot-")
        self._dnsmasq: subprocess.Popen[bytes] | None = None
        self._http: _Http | None = None

    @property
    def url(self) -> str:
        host = self._nets.server_ipv4 if 4 in self.families else f"[{self._nets.server_ipv6}]"
        assert self._http is not None
        return f"http://{host}:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        self._http = inside(self.lab, lambda: _Http(self))
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        root = Path(self._place.name) / "tftp"
        root.mkdir()
        for file in IPXE:
            if not file.exists():
                raise LabUnavailable(f"Network boot takes {file}, which is not here: apt-get install ipxe.")
            shutil.copy(file, root)
        self._dnsmasq = self.lab.popen(self._command(root), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._dnsmasq is not None:
            self._dnsmasq.kill()
            self._dnsmasq.wait(END_SECONDS)
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
        self._place.cleanup()

    def log(self) -> str:
        """What dnsmasq has said, a line for each option of each DHCP message."""
        return (Path(self._place.name) / "dnsmasq.log").read_text(errors="replace")

    def await_request(self, path: str, *, mac: str = "", seconds: float = 240.0) -> Request:
        """The first request for this path, with this ``mac`` in its query if one is given. ``LabError`` when none
        comes."""
        deadline = time.monotonic() + seconds
        with self._came:
            while True:
                for one in self.requests:
                    if one.path == path and one.query.get("mac", "") == mac:
                        return one
                if not self._came.wait(max(0.0, deadline - time.monotonic())):
                    last = self.log().splitlines()[-3:]
                    raise LabError(f"No machine {mac} asked for {path} within {seconds:g} s; dnsmasq said: {last}")

    def note(self, request: Request) -> None:
        with self._came:
            self.requests.append(request)
            self._came.notify_all()

    def _command(self, root: Path) -> list[str]:
        four, six, bridge = self._nets.ipv4, self._nets.ipv6, self._bridge
        place = self._place.name
        line = [find_tool("dnsmasq", "dnsmasq-base"), "--keep-in-foreground", "--conf-file=/dev/null", "--port=0"]
        line += ["--user=root", f"--interface={bridge}", "--bind-interfaces", "--log-dhcp", f"--pid-file={place}/pid"]
        line += [f"--log-facility={place}/dnsmasq.log", f"--dhcp-leasefile={place}/leases"]
        line += ["--enable-tftp", f"--tftp-root={root}"]
        if 4 in self.families:
            line += [f"--dhcp-range={four[-250]},{four[-130]},{four.netmask},1h", "--dhcp-match=set:ipxe,175"]
            line += [f"--dhcp-match=set:uefi,option:client-arch,{arch}" for arch in (7, 9)]
            line += ["--dhcp-match=set:bios,option:client-arch,0", f"--dhcp-boot=tag:ipxe,{self.url}{SCRIPT}"]
            line += ["--dhcp-boot=tag:uefi,tag:!ipxe,ipxe.efi", "--dhcp-boot=tag:bios,tag:!ipxe,undionly.kpxe"]
        if 6 in self.families:
            server = f"[{self._nets.server_ipv6}]"
            port = self.url.rpartition(":")[2]
            line += [f"--dhcp-range={six[0xC000]},{six[0xCFFF]},slaac,{six.prefixlen},1h", "--enable-ra"]
            line += [f"--ra-param={bridge},5", "--dhcp-userclass=set:ipxe6,iPXE", "--dhcp-match=set:uefi6,option6:61,7"]
            line += [f"--dhcp-option=tag:ipxe6,option6:59,http://{server}:{port}{SCRIPT}"]
            line += [f"--dhcp-option=tag:uefi6,tag:!ipxe6,option6:59,tftp://{server}/ipxe.efi"]
        return line


class _Http(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True

    def __init__(self, boot: NetBoot) -> None:
        self.boot = boot
        super().__init__(("::", 0), _Asked)


class _Asked(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        found = self.server.boot.files.get(parts.path)
        if (found is None and self.command != "POST") or (isinstance(found, Path) and not found.is_file()):
            self.send_response(404)
            content = b""
        else:
            self.send_response(200)
            content = found.read_bytes() if isinstance(found, Path) else _bytes(found or b"")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.boot.note(Request(method=self.command, path=parts.path, query=query, headers=headers, body=body))

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the requests are kept."""


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
