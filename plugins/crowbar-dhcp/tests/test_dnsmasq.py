"""dnsmasq on a lab's node, set up by dhcp-server, told by its files, asked by real clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from crowbar_dhcp.program import PLACE
from crowbar_dhcp.testing import check_dhcp_driver
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from .site import API, MAC, STRANGER, Site, ask_pxe, foreign_server, on_node, served

pytestmark = pytest.mark.lab

OTHER = "52:54:00:00:00:02"
KILL = f"pid=$(cat {PLACE}/pid); kill -9 $pid; while kill -0 $pid 2>/dev/null; do sleep 0.02; done"
START = f"{PLACE}/restart </dev/null >/dev/null 2>&1"
HTTP = ("-x", "0x5d:0010")
FOUR = {
    "bios": (("-x", "0x5d:0000"), {"bootfile": "{}/undionly.kpxe", "siaddr": "10.77.0.9", "tftp": "10.77.0.9"}),
    "uefi": (("-x", "0x5d:0007"), {"bootfile": "{}/ipxe.efi", "siaddr": "10.77.0.9"}),
    "uefi-http": (HTTP, {"bootfile": "http://10.77.0.9:8080/{}/ipxe.efi", "vendor": "HTTPClient"}),
    "ipxe": (("-x", "0x5d:0000", "-x", "0x4d:69505845"), {"bootfile": "http://10.77.0.9:8080/{}/boot.ipxe"}),
    "an operating system": ((), {"bootfile": None, "boot_file": None, "tftp": None}),
}
SIX = {
    "bios": ({"arch": 0}, "tftp://[fd00:77::9]/{}/undionly.kpxe"),
    "uefi": ({"arch": 7}, "tftp://[fd00:77::9]/{}/ipxe.efi"),
    "uefi-http": ({"arch": 16}, "http://[fd00:77::9]:8080/{}/ipxe.efi"),
    "ipxe": ({"arch": 7, "ipxe": True}, "http://[fd00:77::9]:8080/{}/boot.ipxe"),
}


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    with served(lab, program="dnsmasq") as made:
        yield made


@pytest.mark.parametrize("who", ["node", "stranger"])
def test_each_firmware_is_told_its_boot_file_over_both_families(lab: Lab, site: Site, who: str) -> None:
    mac, bootenv = {"node": (MAC, "debian-13"), "stranger": (STRANGER, "discovery")}[who]

    def work() -> None:
        site.bed.change_node("m1.lab.test", bootenv="debian-13")
        site.settle()
        assert site.served("m1.lab.test") == "debian-13"
        for firmware, (options, wanted) in FOUR.items():
            told = site.ask(mac, *options, "-O", "60")
            for name, value in wanted.items():
                assert told.get(name) == (value and value.format(bootenv)), (firmware, name, told)
            assert told["ip"] == "10.77.0.101" if who == "node" else told["ip"].startswith("10.77.4.")
            assert (told["mtu"], told["domain"]) == ("1450", "lab.test")
        for firmware, (options6, url) in SIX.items():
            assert site.ask6(mac, **options6)["boot"] == url.format(bootenv), firmware
        assert "boot" not in site.ask6(mac)

    inside(lab, work)


def test_a_node_that_comes_moves_boots_otherwise_and_goes_is_followed(lab: Lab, site: Site) -> None:
    def work() -> None:
        assert site.ask(OTHER)["ip"].startswith("10.77.4.")
        site.machine("m2.lab.test", OTHER, "10.77.0.102")
        assert site.ask(OTHER)["ip"] == "10.77.0.102"
        site.bed.change_node("m2.lab.test", bootenv="rescue")
        site.settle()
        assert site.served("m2.lab.test") == "rescue"
        assert site.ask(OTHER, "-x", "0x5d:0000")["bootfile"] == "rescue/undionly.kpxe"
        with site.bed.serving():
            leases = {one.mac: one for one in site.driver().leases() if ":" not in one.address}
        assert (leases[OTHER].address, leases[OTHER].hostname) == ("10.77.0.102", "m2")
        site.bed.delete_node("m2.lab.test")
        site.settle()
        assert site.ask(OTHER)["ip"].startswith("10.77.4.")

    inside(lab, work)


def test_one_that_is_killed_is_said_and_told_when_it_is_back_and_what_hands_have_changed_is_put_right(
    lab: Lab, site: Site
) -> None:
    def work() -> None:
        server = lab.nodes[0].name
        on_node(lab, server, KILL)
        site.bed.change_node("m1.lab.test", bootenv="rescue")
        site.settle()
        assert "does not run: start it." in site.dashboard()
        assert site.served("m1.lab.test") != "rescue"
        on_node(lab, server, f"echo 'no such thing' >>{PLACE}/hosts/{MAC.replace(':', '')}; {START}")
        site.bed.periodic("dhcp-watch")
        site.settle()
        assert site.served("m1.lab.test") == "rescue"
        assert site.ask(MAC, "-x", "0x5d:0000")["bootfile"] == "rescue/undionly.kpxe"
        assert "does not run" not in site.dashboard()
        assert "no such thing" not in on_node(lab, server, f"cat {PLACE}/hosts/*")

    inside(lab, work)


TIGHT = f"""
    kept=$(mktemp -d); cp -a {PLACE}/. $kept/; mount -t tmpfs -o size=512k,mode=755 none {PLACE}
    cp -a $kept/. {PLACE}/; rm -r $kept; {START}
    rm -rf {PLACE}/incoming/*; cat /dev/zero >{PLACE}/filler 2>/dev/null || true
"""  # what is left in incoming would be room enough for a node
ROOMY = f"kept=$(mktemp -d); cp -a {PLACE}/. $kept/; umount -l {PLACE}; cp -a $kept/. {PLACE}/; rm -r $kept; {START}"


def test_one_whose_disk_is_full_says_so_serves_what_it_did_and_is_told_when_there_is_room(lab: Lab, site: Site) -> None:
    def work() -> None:
        server = lab.nodes[0].name
        on_node(lab, server, TIGHT)
        try:
            site.machine("full.lab.test", OTHER, "10.77.0.120")
            assert f"{PLACE} has no room for its files: " in site.dashboard()
            assert site.served("full.lab.test") == ""
            assert site.ask(MAC)["ip"] == "10.77.0.101"
            on_node(lab, server, f"rm {PLACE}/filler")
            site.bed.periodic("dhcp-compare")
            site.settle()
            assert "has no room" not in site.dashboard()
            assert site.served("full.lab.test") == "local"
            assert site.ask(OTHER)["ip"] == "10.77.0.120"
        finally:
            on_node(lab, server, ROOMY)
        site.bed.delete_node("full.lab.test")
        site.settle()
        assert site.ask(OTHER)["ip"].startswith("10.77.4.")

    inside(lab, work)


FIRMWARES = {
    "bios": ((0, False), {"boot": "{}/undionly.kpxe", "next": "10.77.0.9", "class": "PXEClient"}),
    "uefi": ((7, False), {"boot": "{}/ipxe.efi", "next": "10.77.0.9", "class": "PXEClient"}),
    "uefi-http": ((16, False), {"boot": "http://10.77.0.9:8080/{}/ipxe.efi", "class": "HTTPClient"}),
    "ipxe": ((0, True), {"boot": "http://10.77.0.9:8080/{}/boot.ipxe", "class": "PXEClient"}),
    "an operating system": ((None, False), {"boot": "", "boot by": ""}),
}


def test_beside_another_server_firmware_has_its_address_of_that_and_its_boot_file_of_crowbar(
    lab: Lab, site: Site, tmp_path: Path
) -> None:
    ours = lab.nodes[0].ipv4

    def serve(way: str) -> None:
        assert site.web.patch(f"{API}/networks/lab", json={"dhcp": way}).status_code == 200
        site.settle()

    def work() -> None:
        site.bed.change_node("m1.lab.test", bootenv="debian-13")
        serve("proxy")
        assert site.served("m1.lab.test") == "debian-13"
        several = {MAC: ("debian-13", FIRMWARES), STRANGER: ("discovery", ("bios", "ipxe"))}
        for mac, (bootenv, firmwares) in several.items():
            for firmware in firmwares:
                (arch, ipxe), wanted = FIRMWARES[firmware]
                told = ask_pxe(lab, mac, arch, ipxe=ipxe)
                assert told["ip"].startswith("10.77.9."), (firmware, told)
                assert told["by"] == "10.77.0.1"
                assert told["boot by"] == (ours if told["boot"] else "")
                for name, value in wanted.items():
                    assert told[name] == value.format(bootenv), (firmware, name, told)
        site.bed.change_node("m1.lab.test", bootenv="rescue")
        site.settle()
        assert site.served("m1.lab.test") == "rescue"
        assert ask_pxe(lab, MAC, 7)["boot"] == "rescue/ipxe.efi"
        assert on_node(lab, lab.nodes[0].name, "pidof radvd || echo none") == "none\n"
        site.bed.periodic("dhcp-foreign")
        assert "not Crowbar&#39;s" not in site.dashboard()
        serve("none")
        told = ask_pxe(lab, MAC, 0)
        assert (told["by"], told["boot"]) == ("10.77.0.1", "")
        assert site.served("m1.lab.test") == ""  # others tell all machines what strangers boot
        site.bed.change_node("m1.lab.test", bootenv="discovery")
        site.settle()
        assert site.served("m1.lab.test") == "discovery"

    with foreign_server(lab, tmp_path):
        inside(lab, work)

    def back() -> None:
        serve("own")
        assert site.ask(MAC)["ip"] == "10.77.0.101"
        assert on_node(lab, lab.nodes[0].name, "pidof radvd >/dev/null && echo advertised") == "advertised\n"

    inside(lab, back)


@pytest.mark.timeout(3000)
def test_nothing_differs_after_changes_at_random_and_kills(lab: Lab, site: Site, pytestconfig: pytest.Config) -> None:
    changes, kills = {"few": (30, 2), "full": (1000, 50)}[pytestconfig.getoption("--dhcp-changes")]

    def kill() -> None:
        on_node(lab, lab.nodes[0].name, f"{KILL}; {START}")

    def work() -> None:
        with site.bed.serving():
            assert check_dhcp_driver(site.driver(), kill=kill, changes=changes, kills=kills) == []
        site.bed.periodic("dhcp-compare")
        site.settle()
        assert site.ask(MAC)["ip"] == "10.77.0.101"

    inside(lab, work, timeout=3000)


def test_a_server_changes_its_program_and_is_as_it_was_before_when_it_is_unbound(lab: Lab, site: Site) -> None:
    def work() -> None:
        server = lab.nodes[0].name
        site.bed.set("dhcp-program", "kea", node=server, role="dhcp-server")
        site.bed.commit()
        site.settle()
        assert site.ask(MAC)["ip"] == "10.77.0.101"
        assert on_node(lab, server, "pidof dnsmasq || echo none") == "none\n"
        site.bed.set("dhcp-program", "dnsmasq", node=server, role="dhcp-server")
        site.bed.commit()
        site.settle()
        assert site.ask(MAC)["ip"] == "10.77.0.101"
        assert on_node(lab, server, "pidof kea-dhcp4 || echo none") == "none\n"
        site.bed.unbind("dhcp-server", server)
        site.settle()
        assert on_node(lab, server, f"pidof dnsmasq radvd || ls {PLACE} || echo none") == "none\n"
        site.bed.bind("dhcp-server", server)
        site.bed.set("dhcp-program", "dnsmasq", node=server, role="dhcp-server")
        site.bed.commit()
        site.settle()
        assert site.ask(MAC)["ip"] == "10.77.0.101", "bound again, it serves again"

    inside(lab, work)
