"""A server where a real one is: on the admin node of a lab, with an empty database."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from crowbar_lab import server
from crowbar_lab.lab import Lab
from crowbar_provisioner.images import build as images
from crowbar_provisioner.sledgehammer import build

from crowbar_core.client import Client, Target


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the boot service serves: the discovery image, made of packages."""
    root = tmp_path_factory.mktemp("files")
    (root / "sledgehammer").mkdir()
    build.build(root / "sledgehammer", kernel="cloud", cache=Path(".cache/packages").absolute())
    return root


@pytest.fixture(scope="session")
def with_image(files: Path) -> Path:
    """And the image of Debian, with its tarball."""
    images.build(files / "images", kernel="cloud")
    return files


@dataclass
class Place:
    lab: Lab
    api: Client
    environment: dict[str, str]
    directory: Path
    settings: dict[str, str]
    process: subprocess.Popen[bytes]

    def log_in(self, password: str) -> None:
        """From now on with another password."""
        self.environment["CROWBAR_PASSWORD"] = password
        self.api.close()
        self.api = Client(Target(url=self.environment["CROWBAR_URL"], user="admin", password=password, direct=True))

    def kill_server(self) -> None:
        """kill -9, all of it at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def start_server(self) -> None:
        """Returns when it is at work again."""
        port = int(self.environment["CROWBAR_URL"].rpartition(":")[2])
        await_free(port)
        where = {"settings": self.settings, "at": self.lab.nodes[0].name}
        self.process, url = server.start(self.lab, self.directory, port=port, **where)
        assert url == self.environment["CROWBAR_URL"]
        server.wait_ready(self.process, self.api, self.directory)

    def crowbar(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "crowbar_core.cli", *args], env=self.environment, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip


def await_free(port: int) -> None:
    """Until the last process that listened there has gone."""
    until = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return
        assert time.monotonic() < until, f"something still listens at port {port}"
        time.sleep(0.05)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_in(tmp_path) as made:
        yield made


@contextlib.contextmanager
def place_in(tmp_path: Path, **settings: str) -> Iterator[Place]:
    """``settings``: by the names that they have in the environment."""
    with contextlib.ExitStack() as made:
        database = server.begin_database(tmp_path)
        made.callback(server.end, database)
        lab = made.enter_context(
            Lab.create(f"wizard-{os.getpid()}", nodes=1, state_dir=tmp_path / "lab", owner=os.getpid())
        )
        password = server.admin_password(database)
        process, url = server.start(lab, tmp_path, settings=settings, at=lab.nodes[0].name)
        made.callback(server.end, process)
        api = Client(Target(url=url, user="admin", password=password, direct=True))
        server.wait_ready(process, api, tmp_path)
        environment = {
            **os.environ, "CROWBAR_URL": url, "CROWBAR_USER": "admin", "CROWBAR_PASSWORD": password,
            "HOME": str(tmp_path), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
        }  # fmt: skip
        place = Place(lab=lab, api=api, environment=environment, directory=tmp_path, settings=settings, process=process)
        made.callback(lambda: place.api.close())
        made.callback(lambda: server.end(place.process))
        yield place
