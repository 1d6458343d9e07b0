"""The first questions, in Chromium: what is typed is tried, and nothing is made before the last button."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server

pytestmark = pytest.mark.browser


def test_each_step_is_tried_as_it_is_typed_and_fits_on_narrow_screens(page: Page, server: Server) -> None:
    before = len(server.ask("GET", "nodes?limit=1000"))
    assert f"Set this server up at {server.url}/wizard." in "".join(server.said), "it was started for the first time"
    page.goto("/wizard")
    page.get_by_role("button", name="Skip").click()
    page.get_by_label("Full name").fill("admin.rack7.example.com")
    page.get_by_label("Its address on the admin network").fill("127.0.0.1")
    expect(page.locator("#tried")).to_contain_text("no address that other machines can reach")
    page.get_by_label("Its address on the admin network").fill("10.77.0.2/24")
    expect(page.locator("#tried")).to_contain_text("reached at 10.77.0.2")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", name="How Crowbar logs in")).to_be_visible()
    page.get_by_role("button", name="Go on").click()
    last = page.get_by_label("Last address for nodes")
    expect(last).to_have_value("10.77.0.191/24")
    last.fill("10.77.0.240/24")
    expect(page.locator("#tried")).to_contain_text("overlaps")
    last.fill("10.77.0.191/24")
    expect(page.locator("#tried svg rect")).to_have_count(2)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_load_state()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", name="Names")).to_be_visible()
    while page.get_by_role("button", name="Skip").count():
        page.get_by_role("button", name="Skip").click()
        page.wait_for_load_state()
    expect(page.get_by_role("heading", name="What will be made")).to_be_visible()
    expect(page.locator("#all")).to_contain_text("10.77.0.64 to 10.77.0.191/24 (host)")
    assert len(server.ask("GET", "nodes?limit=1000")) == before
    page.get_by_role("button", name="Begin anew").click()
    expect(page.get_by_role("heading", name="Who administers")).to_be_visible()
