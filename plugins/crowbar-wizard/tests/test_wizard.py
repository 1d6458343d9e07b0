"""The wizard on a core in this process: answers, what is wrong with them, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterator

import crowbar_dhcp
import crowbar_dns
import crowbar_jig_script
import crowbar_network
import crowbar_wizard
import pytest

from crowbar_core.testing import Testbed, check_barclamp

ADMIN = "admin.rack2.example.com"
WIZARD = "/api/v2/wizard"
ANSWERS = {
    "machine": {"name": ADMIN, "address": "10.124.0.2/24"},
    "network": {"first": "10.124.0.16/24", "last": "10.124.0.99/24", "dhcp_first": "10.124.0.100/24",
                "dhcp_last": "10.124.0.200/24", "router": "10.124.0.1/24"},
    "dns": {"forwarders": "192.0.2.53"},
    "dhcp": {},
}  # fmt: skip


@pytest.fixture
def bed() -> Iterator[Testbed]:
    with Testbed(crowbar_jig_script, crowbar_network, crowbar_dns, crowbar_dhcp, crowbar_wizard) as made:
        yield made


def test_nothing_is_wrong_with_the_barclamp() -> None:
    assert check_barclamp(crowbar_wizard) == []


def test_answers_in_one_go_make_the_admin_node_its_network_and_its_servers(bed: Testbed) -> None:
    web = bed.web("admin")
    made = web.post(f"{WIZARD}/answers", json={"answers": ANSWERS, "carry_out": True})
    assert made.status_code == 200, made.text
    print(made.json)
    assert made.json["made"][0] == f"The admin node {ADMIN}, reached at 10.124.0.2."
    roles = {one["role"]: one["state_name"] for one in web.get(f"/api/v2/node_roles?node={ADMIN}").json}
    assert {"network-server", "network-admin", "dns-server", "dhcp-server"} <= set(roles)
    assert "PROPOSED" not in roles.values()
    system = {one["role"]: one["state_name"] for one in web.get("/api/v2/node_roles").json}
    assert {"dns-database", "dhcp-database"} <= set(system)
    assert "PROPOSED" not in system.values()
    allocations = {one["address"] for one in web.get(f"/api/v2/network_allocations?node={ADMIN}").json}
    assert "10.124.0.2/24" in allocations
    again = web.post(f"{WIZARD}/answers", json={"answers": ANSWERS})
    assert (again.status_code, "were answered, and carried out" in again.json["detail"]) == (409, True)
