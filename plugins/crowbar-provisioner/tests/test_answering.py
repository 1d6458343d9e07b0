"""Who serves DHCP states what is served; where nobody does, what is wanted is served at once."""

from __future__ import annotations

import crowbar_dhcp
import crowbar_jig_script
import crowbar_network
import crowbar_provisioner

from crowbar_core.testing import FakeJig, Testbed


def test_what_is_wanted_is_served_at_once_unless_servers_of_dhcp_are_told() -> None:
    barclamps = (crowbar_jig_script, crowbar_network, crowbar_dhcp, crowbar_provisioner)
    with Testbed(*barclamps, jigs={name: FakeJig() for name in ("network", "script", "dhcp")}) as bed:
        bed.add_node("n1", bootenv="sledgehammer")
        bed.anneal_until_quiet()
        assert bed.node("n1").served_bootenv == "sledgehammer"
        bed.change_node("n1", bootenv="windows")
        bed.anneal_until_quiet()
        assert bed.node("n1").served_bootenv == "sledgehammer", "nobody here knows what that is"
        bed.bind("dhcp-database")
        bed.commit()
        bed.change_node("n1", bootenv="local")
        bed.anneal_until_quiet()
        assert bed.node("n1").served_bootenv == "sledgehammer", "no server has confirmed it"
        assert dict(bed.ask("dhcp_strangers")) == {"provisioner": {}}, "there is no boot server yet"
