"""A core in this process with the boot service in a thread, on both databases; machines that speak to it over HTTP."""

from __future__ import annotations

import http.server
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import crowbar_jig_script
import crowbar_provisioner
import paramiko
import pytest
from crowbar_bmc.ipmi import IpmiHammer
from crowbar_bmc.redfish import RedfishHammer
from crowbar_jig_script.hammer import SshHammer
from crowbar_provisioner.sledgehammer.build import PROGRAMS

from crowbar_core import CancelFlag, Hammer, SetHammer, TemporaryError
from crowbar_core.testing import Browser, FakeJig, PostgresServer, Testbed, free_port

from .light import Machine, listening, served

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


class Bmc(Hammer):
    """Notes what it is told."""

    told: ClassVar[list[tuple[str, str]]] = []
    broken: ClassVar[bool] = False
    writes: ClassVar[list[bytes]] = []
    """What machines write to their consoles from now on, whoever they are."""

    def console(self, heard: Callable[[bytes], None], stopped: CancelFlag) -> bool:
        passed = 0
        while not stopped.wait(0.02):
            for said in self.writes[passed:]:
                heard(said)
                passed += 1
        return True

    def actions(self) -> tuple[str, ...]:
        return ("reset", "on", "off")

    def perform(self, action: str) -> str:
        if self.broken:
            raise TemporaryError("the BMC does not answer")
        self.told.append((self.node.name, action))
        return "reset"


@dataclass
class Site:
    bed: Testbed
    port: int
    root: Path
    numbers: Iterator[int]

    def machine(self, *, macs: list[str] | None = None, **more: Any) -> Machine:
        number = next(self.numbers)
        made = [f"52:54:00:00:{number // 256:02x}:{number % 256:02x}"]
        return Machine(
            ("127.0.0.1", self.port), macs or made, **{"source": f"127.1.{number // 200}.{number % 200 + 1}", **more}
        )  # fmt: skip

    def managed(self, *, hammer: bool = True, **more: Any) -> Iterator[Machine]:
        """For a fixture: a machine that is accepted and managed, until its node is deleted."""
        made = self.machine(**more)
        made.power_on()
        name = made.registered()["node"]
        made.ask("POST", "/v1/alive", {"alive": True})
        self.accept(name)
        if hammer:
            self.bed.apply(SetHammer(node=name, name="bmc"))
        self.bed.anneal_until_quiet()
        Bmc.told.clear()
        yield made
        self.web.delete(f"/api/v2/nodes/{name}?force=true")

    @cached_property
    def web(self) -> Any:
        return self.bed.web("operator")

    @cached_property
    def browser(self) -> Browser:
        return self.bed.browser("operator")

    def dashboard(self) -> str:
        """As it is now: a server asks barclamps for what it shows every fifteen seconds at most."""
        return self.bed.browser("operator").open("/")

    def machines(self, **filters: str) -> list[dict[str, Any]]:
        query = "&".join(f"{name}={value}" for name, value in {"limit": "1000", **filters}.items())
        found: list[dict[str, Any]] = self.web.get(f"/api/v2/machines?{query}").json
        return found

    def accept(self, node: str) -> None:
        answer = self.web.put(f"/api/v2/machines/{node}/accept")
        assert answer.status_code == 200, answer.json


@pytest.fixture(scope="module", params=DATABASES)
def database(request: pytest.FixtureRequest) -> Iterator[Callable[[], str | None]]:
    if request.param == "sqlite":
        yield lambda: None
        return
    with PostgresServer() as server:
        yield server.create_database


@pytest.fixture(scope="module")
def site(database: Callable[[], str | None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all tests of a module: machines are as many as there are."""
    home = tmp_path_factory.mktemp("boot")
    root = home / "files"
    (root / "sledgehammer").mkdir(parents=True)
    (root / "sledgehammer" / "vmlinuz").write_bytes(bytes(range(256)) * 64)
    (root / "sledgehammer" / "initrd.img").write_bytes(b"initrd" * 5000)
    (root / "loaders").mkdir()
    (root / "loaders" / "ipxe.efi").write_bytes(b"MZ loader")
    (root / "images").mkdir()
    paramiko.RSAKey.generate(2048).write_private_key_file(str(home / "key"))
    port = free_port()
    config = {
        "provisioner": {
            "listen": [f"127.0.0.1:{port}"], "files": str(root), "domain": "example.org",
            "kernel_arguments": ["console=ttyS0"],
        },
        "jig-script": {"key_file": str(home / "key"), "ping": False},
    }  # fmt: skip
    made: list[Any] = [crowbar_jig_script, crowbar_provisioner]
    url = database()
    with (
        Testbed(
            *made,
            config=config,
            jigs={"script": FakeJig()},
            hammers={"bmc": Bmc, "ipmi": IpmiHammer, "redfish": RedfishHammer, "ssh": SshHammer},
            **({"database_url": url} if url else {}),
        ) as bed,
        bed.service("provisioner-boot"),
    ):
        listening(port)
        yield Site(bed=bed, port=port, root=root, numbers=itertools.count(1))


def script_of_the_image(name: str) -> str:
    """With all that it reads there."""
    here = resources.files("crowbar_provisioner").joinpath("sledgehammer", "root", "sbin")
    text = here.joinpath(name).read_text()
    return re.sub(r"^\. /sbin/(.+)\n", lambda found: here.joinpath(found[1]).read_text(), text, flags=re.MULTILINE)


def programs_of_the_image(home: Path) -> Path:
    """A directory with the programs that the discovery image has, and no others: busybox's and those of packages."""
    home.mkdir()
    busybox = shutil.which("busybox")
    assert busybox is not None
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, timeout=60, check=True).stdout
    known = dict.fromkeys(listed.split(), busybox)
    for name in (Path(one).name for one in PROGRAMS):
        if (found := shutil.which(name)) is not None:
            known[name] = found
    for name, program in known.items():
        (home / name).symlink_to(program)
    return home


class Ear(http.server.ThreadingHTTPServer):
    """Hears what scripts of the discovery image tell, whatever it is."""

    heard: list[dict[str, Any]]


class Hears(http.server.BaseHTTPRequestHandler):
    server: Ear

    def do_POST(self) -> None:
        self.server.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def ear() -> Iterator[Ear]:
    with served(Ear(("127.0.0.1", 0), Hears)) as server:
        server.heard = []
        yield server
