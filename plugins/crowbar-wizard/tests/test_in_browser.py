"""From an empty database to a machine that was discovered, in Chromium alone: no command, no file."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crowbar_provisioner.sledgehammer import build
from playwright.sync_api import Page, expect, sync_playwright

from .conftest import Place, place_in

pytestmark = [pytest.mark.vms, pytest.mark.timeout(2400)]
LONG = 1_200_000.0  # ms; images are made of packages, and a machine starts
OWN = "chosen in the browser"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    mine = "CROWBAR_PLUGINS__PROVISIONER__"
    (tmp_path / "boot/sledgehammer").mkdir(parents=True)  # in a lab there is no mirror of packages to make it of
    build.build(tmp_path / "boot/sledgehammer", kernel="cloud", cache=Path(".cache/packages").absolute())
    settings = {f"{mine}LISTEN": "0.0.0.0:8091,[::]:8091", f"{mine}FILES": str(tmp_path / "boot")}
    with place_in(tmp_path, **settings, **{f"{mine}KERNEL_ARGUMENTS": "console=ttyS0,quiet"}) as made:
        yield made


@pytest.fixture
def page(place: Place) -> Iterator[Page]:
    chromium = shutil.which("chromium")
    assert chromium, "apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        made = browser.new_page(base_url=place.environment["CROWBAR_URL"], viewport={"width": 1280, "height": 1000})
        yield made
        browser.close()


def log_in(page: Page, password: str) -> None:
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def go_on(page: Page, title: str, *shown: str) -> None:
    """Answered, and tried, the step leads to the one of this title."""
    for one in shown:
        expect(page.locator("#tried")).to_contain_text(one, timeout=30_000)
    picture(page)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", name=title)).to_be_visible()


def picture(page: Page) -> None:
    """Kept where ``CROWBAR_TEST_PICTURES`` says, to be looked at."""
    if there := os.environ.get("CROWBAR_TEST_PICTURES"):
        page.screenshot(path=f"{there}/{time.monotonic():.0f}.png", full_page=True)


def test_the_first_questions_end_with_a_machine_that_was_discovered(place: Place, page: Page) -> None:
    node, subnet = place.lab.nodes[0], str(place.lab.describe()["ipv4"])
    page.goto("/wizard")
    log_in(page, place.environment["CROWBAR_PASSWORD"])
    expect(page.get_by_role("heading", name="Who administers")).to_be_visible()
    page.get_by_label("New password").fill(OWN)
    go_on(page, "This machine", "A new password for the user admin")
    page.get_by_label("Full name").fill(node.name)
    page.get_by_label("Its address on the admin network").fill(f"{node.ipv4}/{subnet.partition('/')[2]}")
    go_on(page, "How Crowbar logs in", f"reached at {node.ipv4}")
    go_on(page, "The admin network")
    go_on(page, "Names", "(host)")
    go_on(page, "Addresses for machines that boot")
    go_on(page, "Machines that boot")
    page.get_by_label("Accept those in this subnet").fill(subnet)
    go_on(page, "What will be made", "provisioner-server")
    picture(page)
    page.get_by_role("button", name="Carry it out").click()
    expect(page.get_by_label("Password")).to_be_visible()  # the printed one is of no use any more
    page.goto("/wizard")
    log_in(page, OWN)
    page.goto("/wizard")
    expect(page.get_by_role("heading", name="This server is ready")).to_be_visible(timeout=LONG)
    picture(page)
    machines = page.locator("#machines")
    expect(machines).to_contain_text("It boots from the network and appears here.")
    [vm] = place.lab.add_vms(1, firmware="uefi", disks=(1,))
    vm.power("on")
    name = f"d{vm.plan.macs[0].replace(':', '-')}.{node.name.partition('.')[2]}"
    expect(machines).to_contain_text(name, timeout=LONG)
    expect(machines).not_to_contain_text("waits to be accepted")
    expect(machines).to_contain_text("alive", timeout=LONG)
    picture(page)
