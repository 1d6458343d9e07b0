"""DHCP where there is no IPv4 range: the server is reached, and machines are served, over IPv6 alone."""

from __future__ import annotations

import pytest
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from .site import MAC, STRANGER, Site

pytestmark = pytest.mark.lab


def test_the_same_in_a_network_of_ipv6_alone(lab: Lab) -> None:
    def work() -> None:
        with Site(lab, families=(6,)) as six:
            six.bed.bind("dhcp-database")
            six.bed.bind("dhcp-server", lab.nodes[0].name)
            six.bind("network-lab", lab.nodes[0].name)
            assert six.service()._server.url.startswith("http://[fd00:77:")
            six.machine("m6.lab.test", MAC, "fd00:77::606", bootenv="debian-13")
            assert six.served("m6.lab.test") == "debian-13"
            assert six.ask6(MAC, arch=7) == {"ip": "fd00:77::606", "boot": "tftp://[fd00:77::9]/debian-13/ipxe.efi"}
            assert six.ask6(STRANGER, arch=7)["boot"] == "tftp://[fd00:77::9]/discovery/ipxe.efi"
            six.bed.change_node("m6.lab.test", bootenv="local")
            six.settle()
            assert (six.served("m6.lab.test"), six.ask6(MAC, arch=7)) == ("local", {"ip": "fd00:77::606"})
            six.bed.delete_node("m6.lab.test")
            six.settle()
            assert six.ask6(MAC)["ip"].startswith("fd00:77::dcdc:")
            assert six.ask(STRANGER) == {}

    inside(lab, work)
