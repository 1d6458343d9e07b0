"""A real server as its own process, with a barclamp installed beside it, and Chromium that looks at its pages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.outside import python_path
from tests.services import find_program, free_port, wait_until

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NODES = ("anna.stage.example", "berta.stage.example", "carla.stage.example")


@dataclass
class Server:
    """``crowbar serve`` with an embedded database of its own."""

    room: Path
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    url: str = ""
    password: str = ""
    boot_url: str = ""

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        session = requests.Session()
        session.trust_env = False
        answer = session.request(
            method, f"{self.url}/api/v2/{path}", json=body, auth=("admin", self.password), timeout=30
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def make_nodes(self, deployment: str) -> int:
        deployment_id: int = self.ask("POST", "deployments", {"name": deployment})["id"]
        for name in NODES:
            self.ask(
                "POST",
                "nodes",
                {
                    "name": f"{deployment}-{name}",
                    "deployment_id": deployment_id,
                    "alive": True,
                    "available": True,
                },
            )
        return deployment_id

    def tail(self) -> str:
        return "".join(self.said[-60:])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of the pages; each makes a deployment and nodes of its own."""
    home = tmp_path_factory.mktemp("pages")
    site, room = home / "site", home / "room"
    info = site / "rehearsal-1.0.dist-info"
    info.mkdir(parents=True)
    room.mkdir()
    shutil.copy(Path(__file__).parent / "rehearsal.py", site / "rehearsal.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rehearsal\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[crowbar.barclamps]\nrehearsal = rehearsal\n[crowbar.hammers]\nlever = rehearsal:Lever\n"
    )
    boot = f"127.0.0.1:{free_port()}"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / "key"], check=True, timeout=60)
    process = subprocess.Popen(
        [
            sys.executable, "-m", "crowbar_core.cli", "serve",
            "--data-dir", str(home / "data"), "--listen", "127.0.0.1:0",
        ],
        env={
            **os.environ, "PYTHONPATH": python_path(site), "REHEARSAL_ROOM": str(room), "HOME": str(home),
            "CROWBAR_PLUGINS__PROVISIONER__LISTEN": boot, "CROWBAR_PLUGINS__PROVISIONER__FILES": str(home / "boot"),
            "CROWBAR_JIG_SCRIPT_KEY_FILE": str(home / "key"),
        },
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=home,
    )  # fmt: skip
    one = Server(room=room, process=process, boot_url=f"http://{boot}")
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: one.said.extend(process.stdout or ()), daemon=True)
    reader.start()

    def find(pattern: str) -> str:
        hit = re.search(pattern, "".join(one.said))
        assert process.poll() is None, f"the server ended with {process.returncode}:\n{one.tail()}"
        return hit.group(1) if hit else ""

    try:
        one.url = wait_until(lambda: find(r"Crowbar is at (http://\S+)"), seconds=120, what="the server's address")
        one.password = wait_until(lambda: find(r"with the password (\S+)"), seconds=120, what="the password")
        one.url = one.url.rstrip("/.")
        yield one
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)
        reader.join(5)
        process.stdout.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_program("chromium"), args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Watch:
    """What a page said on its console, and where its requests went."""

    complaints: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)


@pytest.fixture
def open_page(server: Server, chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages, each in a context of its own; at the end, none of them may have complained or looked elsewhere."""
    watch = Watch()
    contexts = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            watch.complaints.append(f"{message.type}: {message.text} at {message.location}")

    def follow(request: Request) -> None:
        if not request.url.startswith((f"{server.url}/", "data:")):
            watch.strays.append(request.url)

    def make(**options: Any) -> Page:
        context = chromium.new_context(base_url=server.url, **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: watch.complaints.append(f"exception: {error}"))
        page.on("request", follow)
        return page

    yield make
    for context in contexts:
        context.close()
    assert watch.complaints == []
    assert watch.strays == []


@pytest.fixture
def page(server: Server, open_page: Callable[..., Page]) -> Page:
    """A page on which admin has logged in."""
    found = open_page(viewport={"width": 1280, "height": 900})
    log_in(found, server)
    return found


def log_in(page: Page, server: Server) -> None:
    page.goto("/login")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(server.password)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Dashboard").wait_for()


def opens_and_fits(page: Page, path: str, width: int) -> None:
    """The page opens, and nothing of it lies beyond the right edge of a window that is ``width`` wide."""
    page.set_viewport_size({"width": width, "height": 800})
    answer = page.goto(path)
    assert answer is not None
    assert answer.status == 200, path
    expect(page.locator("h1")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} at {width} is too wide"
