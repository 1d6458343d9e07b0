"""The pages of networks, in Chromium: a network with ranges, addresses, drafts, on wide and narrow screens."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NODES, Server, opens_and_fits

pytestmark = pytest.mark.browser

NETWORKS = (
    {"name": "net-admin", "category": "admin", "conduit": "1g1", "router": {"address": "10.70.0.1/24", "pref": 10},
     "ranges": [{"name": "dhcp", "first": "10.70.0.10/24", "last": "10.70.0.60/24"},
                {"name": "host", "first": "10.70.0.61/24", "last": "10.70.0.250/24"}]},
    {"name": "net-storage", "category": "storage", "conduit": "10g1,10g2", "use_team": True, "team_mode": 4,
     "use_vlan": True, "vlan": 100, "v6prefix": "auto",
     "ranges": [{"name": "host", "first": "10.71.0.10/20", "last": "10.71.15.250/20"}]},
)  # fmt: skip


@pytest.fixture(scope="module")
def paths(server: Server) -> list[str]:
    """All pages of networks, and those of others that tell of them."""
    ids: dict[str, int] = {}
    for body in NETWORKS:
        ids[str(body["name"])] = server.ask("POST", "networks", body)["id"]
    deployment = server.ask("POST", "deployments", {"name": "net"})["id"]
    nodes = [
        server.ask("POST", "nodes", {"name": f"net-{name}", "deployment_id": deployment, "alive": False})["id"]
        for name in NODES
    ]
    server.ask("POST", "node_roles/bulk", {"nodes": nodes, "roles": [f"network-{name}" for name in ids]})
    server.ask("PUT", "deployments/net/commit")
    server.ask("POST", "networks/net-admin/allocate_ip", {"reserved_for": "the printer", "suggestion": "10.70.0.200"})
    server.ask("PATCH", "networks/net-storage", {"vlan": 200, "mtu": 9000, "use_bridge": True})
    server.ask("POST", "networks/net-storage/network_routers", {"address": "10.71.0.1/20"})
    server.ask("POST", "interface_maps", {"pattern": "PowerEdge R7*", "buses": ["0000:03:00", "0000:01:00"]})
    return [
        "/networks", "/networks/net-admin", "/networks/net-storage", "/network-map", "/network-conduits",
        "/network-wires",
        "/interface-maps", f"/nodes/{nodes[0]}", "/deployments/1",
    ]  # fmt: skip


NAMELESS = """() => [...document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a[href]')]
    .filter((one) => one.offsetParent && !(one.labels?.length || one.getAttribute('aria-label')
        || one.textContent.trim() || one.title))
    .map((one) => one.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_page_of_networks_opens_fits_and_names_what_it_asks_for(
    page: Page, paths: list[str], colours: Any
) -> None:
    page.emulate_media(color_scheme=colours)
    for width in (400, 1280):
        for path in paths:
            opens_and_fits(page, path, width)
            assert page.evaluate(NAMELESS) == [], path
            ids = page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
            assert len(ids) == len(set(ids)), (
                f"{path} has an id twice: {sorted(one for one in ids if ids.count(one) > 1)}"
            )


def test_a_draft_is_planned_and_committed_on_the_page_of_its_network(page: Page, paths: list[str]) -> None:
    page.goto("/networks/net-storage")
    drafts = page.locator("#drafts")
    expect(drafts).to_contain_text("bridge")
    drafts.get_by_role("button", name="Plan").click()
    expect(page.locator("body")).to_contain_text("Commit the drafts of network net-storage")
    page.go_back()
    page.locator("#drafts").get_by_role("button", name="Commit").click()
    expect(page.locator(".flash")).to_contain_text(
        "changes are committed; the nodes that have network net-storage follow"
    )
    expect(page.locator("#drafts")).to_have_count(0)
    expect(page.locator("dl.facts").first).to_contain_text("9000")
