"""The pages of machines in Chromium: each fits, one in quarantine is accepted by a click, and a page that is open
follows what its machine says, while what was typed on it stays.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, opens_and_fits
from tests.services import wait_until

pytestmark = pytest.mark.browser
PAGES = ("/machines", "/machines/join", "/accept-rules", "/oses", "/oses/debian-12", "/erasures", "/burn-ins")
LONG = 60_000.0  # ms
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm"


class Machine:
    """Says what the discovery image does."""

    def __init__(self, server: Server, mac: str) -> None:
        self.url, self.token = server.boot_url, ""
        wait_until(self.is_there, seconds=90, what="the boot service")
        script = self.ask(f"/ipxe?mac={mac}").decode()
        hit = re.search(r"crowbar\.token=(\S+)", script)
        assert hit, script
        self.token = hit[1]
        disk = {"name": "sda", "size": 1 << 40, "serial": "S-1", "transport": "sata"}
        inventory = {"macs": [mac], "vendor": "Acme", "product": "R640", "disks": [disk]}
        self.name = json.loads(self.ask("/v1/register", {"inventory": inventory, "host_keys": [HOST_KEY]}))["node"]

    def is_there(self) -> bool:
        try:
            return bool(self.ask("/boot.ipxe"))
        except urllib.error.URLError:
            return False

    def ask(self, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: bytes = answer.read()
        return found


def test_each_page_opens_and_fits_a_narrow_screen(page: Page) -> None:
    for width in (400, 1280):
        for path in PAGES:
            opens_and_fits(page, path, width)


def test_a_machine_is_accepted_by_a_click_and_its_page_follows_what_it_says(page: Page, server: Server) -> None:
    machine = Machine(server, "52:54:00:be:00:01")
    page.goto("/machines")
    waiting = page.locator("section").filter(has=page.get_by_role("heading", name="To be accepted"))
    expect(waiting).to_contain_text("Acme R640")
    waiting.get_by_role("button", name="Accept").click()
    expect(page.locator(".flash")).to_contain_text("is accepted")
    page.goto("/machines")
    page.get_by_role("link", name=machine.name).first.click()
    seconds = page.get_by_label("For so many seconds")
    seconds.fill("86400")
    page.get_by_label("Disk, which is erased and read back").select_option("sda")
    happened = page.locator("#live section").filter(has=page.get_by_role("heading", name="What happened"))
    expect(happened).not_to_contain_text("is up")
    machine.ask("/v1/alive", {"alive": True})
    expect(happened).to_contain_text("is up", timeout=LONG)
    expect(seconds).to_have_value("86400")
    expect(page.get_by_label("Disk, which is erased and read back")).to_have_value("sda")
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
