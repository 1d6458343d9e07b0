"""A Kea of one's own that is named after dhcp-database has run: it has its turn, and is told, also after a slip."""

from __future__ import annotations

import crowbar_dhcp
import crowbar_network
import pytest
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from crowbar_core.testing import FakeClock, FakeJig, Testbed

from .servers import PORT, KeaHere
from .site import API, MAC, ask

pytestmark = pytest.mark.lab

OTHER = "52:54:00:00:00:02"
PHANTOM = "system-phantom.internal.local"
NAMED = {"user": "crowbar", "password": "secret", "interfaces": []}


def test_a_server_that_is_named_after_dhcp_database_has_its_turn_and_is_told_also_when_its_url_was_wrong(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def states(bed: Testbed) -> list[str]:
        return [bed.state(role, PHANTOM) for role in ("dhcp-database", "dhcp-service")]

    def work() -> None:
        with Testbed("jig-script", crowbar_network, crowbar_dhcp, jigs={"network": FakeJig()}) as bed:
            ranges = [{"name": "host", "first": "10.77.0.1/16", "last": "10.77.0.250/16"}]
            made = bed.web("operator").post(f"{API}/networks", json={
                "name": "lab", "category": "admin", "conduit": "?1g1", "ranges": ranges,
            })  # fmt: skip
            assert made.status_code == 201, made.json
            bed.add_node("m1.lab.test", hint={"hint-admin-macs": [MAC], "hint-lab-v4addr": "10.77.0.101"})
            bed.bind("network-lab", "m1.lab.test")
            bed.bind("dhcp-database")
            bed.commit()
            bed.anneal_until_quiet(within=60)
            assert bed.state("dhcp-database", PHANTOM) == "ACTIVE"
            bed.bind("dhcp-service")
            for what, value in {**NAMED, "url": f"http://127.0.0.1:{PORT + 99}/"}.items():
                bed.set(f"dhcp-service-{what}", value, node=PHANTOM, role="dhcp-service")
            bed.commit()
            bed.anneal_until_quiet(within=60)
            assert states(bed) == ["ACTIVE", "TODO"]
            assert "does not answer: Connection refused" in bed.why("dhcp-service", PHANTOM)
            bed.set("dhcp-service-url", f"http://127.0.0.1:{PORT}/", node=PHANTOM, role="dhcp-service")
            bed.anneal_until_quiet(within=60)
            assert states(bed) == ["ACTIVE", "ACTIVE"], bed.why("dhcp-service", PHANTOM)
            assert ask(lab, MAC)["ip"] == "10.77.0.101"
            half_down(bed)

    def half_down(bed: Testbed) -> None:
        """Its server of IPv6 is gone for five minutes."""
        assert isinstance(bed.clock, FakeClock)

        def later(times: int) -> int:
            before = len(bed.runs("dhcp-database", PHANTOM))
            for _ in range(times):
                bed.clock.advance(5)
                bed.periodic("dhcp-watch")
                bed.anneal_until_quiet(within=60)
            return len(bed.runs("dhcp-database", PHANTOM)) - before

        there.running[1].kill()
        there.running[1].wait(timeout=30)
        bed.add_node("m2.lab.test", hint={"hint-admin-macs": [OTHER], "hint-lab-v4addr": "10.77.0.102"})
        bed.bind("network-lab", "m2.lab.test")
        bed.commit()
        bed.anneal_until_quiet(within=60)
        assert ask(lab, OTHER)["ip"] == "10.77.0.102"
        assert "its server for DHCPv6 does not run" in bed.web().get("/").text
        assert 3 <= later(60) <= 8
        there.restart()
        assert 1 <= later(60) <= 2
        assert "is not told" not in bed.web().get("/").text

    with KeaHere(lab, tmp_path_factory.mktemp("kea")) as there:
        inside(lab, work)


def test_a_server_looks_again_at_its_addresses_when_its_network_has_put_them_there() -> None:
    node = "admin.lab.test"
    with Testbed("jig-script", crowbar_network, crowbar_dhcp, jigs={"network": FakeJig(), "dhcp": FakeJig()}) as bed:
        ranges = [{"name": "host", "first": "10.77.0.1/16", "last": "10.77.0.250/16"}]
        made = bed.web("operator").post(f"{API}/networks", json={
            "name": "lab", "category": "admin", "conduit": "?1g1", "v6prefix": "fd00:77::/64", "ranges": ranges,
        })  # fmt: skip
        assert made.status_code == 201, made.json
        bed.add_node(node, admin=True)
        bed.bind("dhcp-server", node)
        bed.bind("network-lab", node)
        bed.commit()
        bed.anneal_until_quiet(within=60)
        [first, *again] = bed.runs("dhcp-server", node)
        [network] = bed.runs("network-lab", node)
        assert first.id < network.id < again[-1].id
