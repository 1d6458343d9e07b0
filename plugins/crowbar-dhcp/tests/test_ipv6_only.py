"""DHCP where there is no IPv4 range: the server is reached, and machines are served, over IPv6 alone."""

from __future__ import annotations

from typing import Any

import pytest
from crowbar_dhcp.testing import check_dhcp_driver
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from . import test_dnsmasq, test_on_nodes
from .site import MAC, STRANGER, Site, on_node

pytestmark = pytest.mark.lab

KILL = {"kea": test_on_nodes.KILL, "dnsmasq": test_dnsmasq.KILL}
START = {"kea": test_on_nodes.START, "dnsmasq": f"\n{test_dnsmasq.START}"}


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("program", ["kea", "dnsmasq"])
def test_the_same_in_a_network_of_ipv6_alone_and_nothing_differs_after_changes_at_random_and_kills(
    lab: Lab, pytestconfig: pytest.Config, program: str
) -> None:
    changes, kills = {"few": (15, 1), "full": (1000, 50)}[pytestconfig.getoption("--dhcp-changes")]
    server = lab.nodes[0].name

    def ask6(six: Site) -> dict[str, Any]:
        """dnsmasq says that there are no DNS servers; Kea says nothing of them."""
        return {name: one for name, one in six.ask6(MAC, arch=7).items() if (name, one) != ("dns", [])}

    def work() -> None:
        with Site(lab, families=(6,)) as six:
            six.bed.bind("dhcp-database")
            six.bed.bind("dhcp-server", server)
            six.bed.set("dhcp-program", program, node=server, role="dhcp-server")
            six.bind("network-lab", server)
            if program == "kea":
                assert six.service()._server.url.startswith("http://[fd00:77:")
            six.machine("m6.lab.test", MAC, "fd00:77::606", bootenv="debian-13")
            assert six.served("m6.lab.test") == "debian-13"
            assert ask6(six) == {"ip": "fd00:77::606", "boot": "tftp://[fd00:77::9]/debian-13/ipxe.efi"}
            assert six.ask6(STRANGER, arch=7)["boot"] == "tftp://[fd00:77::9]/discovery/ipxe.efi"
            six.bed.change_node("m6.lab.test", bootenv="local")
            six.settle()
            assert (six.served("m6.lab.test"), ask6(six)) == ("local", {"ip": "fd00:77::606"})
            six.bed.delete_node("m6.lab.test")
            six.settle()
            assert six.ask6(MAC)["ip"].startswith("fd00:77::dcdc:")
            assert six.ask(STRANGER, "-t", "4") == {}
            again = KILL[program] + START[program]
            with six.bed.serving():
                said = check_dhcp_driver(
                    six.driver(), kill=lambda: print(on_node(lab, server, again)), changes=changes, kills=kills,
                    families=(6,),
                )  # fmt: skip
            assert said == []
            six.bed.unbind("dhcp-server", server)
            six.settle()

    inside(lab, work, timeout=3000)
