"""dhcp-server whose reservations are in a PostgreSQL of their own on its node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crowbar_dhcp.testing import check_dhcp_driver
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from .site import API, MAC, STRANGER, Site, on_node, served

pytestmark = pytest.mark.lab

CLUSTERS = "pg_lsclusters -h | awk '$2 == \"crowbarkea\" { print $4 }'"
WRITTEN = "stat -c %Y /etc/kea/kea-dhcp4.conf; grep -c CONFIG_COMPLETE /var/log/kea/kea-dhcp4.log"
OTHER = "52:54:00:00:00:02"


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    with served(lab, reservations="database") as made:
        yield made


def test_a_new_node_is_a_row_and_the_configuration_of_kea_stays(lab: Lab, site: Site) -> None:
    def work() -> None:
        server = lab.nodes[0].name
        assert site.ask(MAC)["ip"] == "10.77.0.101"
        assert site.ask(STRANGER)["ip"].startswith("10.77.4.")
        assert "10.77.0.101" not in on_node(lab, server, "cat /etc/kea/kea-dhcp4.conf")
        before = on_node(lab, server, WRITTEN)
        site.machine("m2.lab.test", OTHER, "10.77.0.102")
        assert site.ask(OTHER)["ip"] == "10.77.0.102"
        assert site.ask6(OTHER)["ip"].startswith("fd00:77::")
        assert on_node(lab, server, WRITTEN) == before
        assert "is not told" not in site.dashboard()
        assert on_node(lab, server, "stat -c %a /etc/kea/kea-dhcp4.conf") == "600\n"  # there is a password in it

    inside(lab, work)


def test_it_conforms_as_others_do(lab: Lab, site: Site) -> None:
    def work() -> None:
        assert check_dhcp_driver(site.service(), changes=30, kills=0) == []
        site.bed.periodic("dhcp-compare")
        site.settle()
        assert site.ask(MAC)["ip"] == "10.77.0.101"

    inside(lab, work, timeout=600)


def test_a_database_that_is_gone_is_said_and_made_to_run_again_by_its_role(lab: Lab, site: Site) -> None:
    def work() -> None:
        server = lab.nodes[0].name
        on_node(lab, server, "pkill -9 -u postgres -f crowbarkea; sleep 1; ! pidof postgres")
        site.machine("m3.lab.test", "52:54:00:00:00:03", "10.77.0.103")
        assert "is not told" in site.dashboard()
        again = site.web.put(f"{API}/node_roles/{site.bed.node_role('dhcp-server', server).id}/rerun")
        assert again.status_code == 200, again.json
        site.settle()
        site.bed.periodic("dhcp-watch")
        site.settle()
        assert "is not told" not in site.dashboard()
        assert site.ask("52:54:00:00:00:03")["ip"] == "10.77.0.103"
        assert site.ask(MAC)["ip"] == "10.77.0.101"

    inside(lab, work)


def test_back_in_the_configuration_the_database_is_gone_and_machines_have_what_they_had(lab: Lab, site: Site) -> None:
    def work() -> None:
        server = lab.nodes[0].name
        assert on_node(lab, server, CLUSTERS) == "online\n"
        site.bed.set("dhcp-reservations", "configuration", node=server, role="dhcp-server")
        site.bed.commit()
        site.settle()
        assert on_node(lab, server, CLUSTERS) == ""
        assert "10.77.0.102" in on_node(lab, server, "cat /etc/kea/kea-dhcp4.conf")
        assert site.ask(OTHER)["ip"] == "10.77.0.102"
        site.bed.set("dhcp-reservations", "database", node=server, role="dhcp-server")
        site.bed.commit()
        site.settle()
        assert site.ask(OTHER)["ip"] == "10.77.0.102"
        site.bed.unbind("dhcp-server", server)
        site.settle()
        assert on_node(lab, server, CLUSTERS + "; grep -l crowbar /etc/kea/* || echo none") == "none\n"

    inside(lab, work)
