"""Real servers (Kea, radvd) on a lab's node, set up by dhcp-server, told by dhcp-database, asked by real clients."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from crowbar_dhcp.testing import check_dhcp_driver
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from .site import API, CARD, MAC, STRANGER, Site, foreign_server, on_node, served

pytestmark = pytest.mark.lab

OTHER = "52:54:00:00:00:02"
PHANTOM = "system-phantom.internal.local"
BIOS, UEFI, UEFI_HTTP = ("-x", "0x5d:0000"), ("-x", "0x5d:0007"), ("-x", "0x5d:0010")
IPXE = ("-x", "0x5d:0000", "-x", "0x4d:69505845")


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    with served(lab) as made:
        yield made


def database_runs(site: Site) -> int:
    return len(site.bed.runs("dhcp-database", PHANTOM))


def is_active(site: Site) -> bool:
    return site.bed.states()["dhcp-database", "system-phantom"] == "ACTIVE"


def test_a_node_has_its_own_address_and_a_stranger_one_of_the_pool(lab: Lab, site: Site) -> None:
    def work() -> None:
        site.bed.change_node("m1.lab.test", bootenv="local")
        site.settle()
        told = site.ask(MAC)
        assert (told["ip"], told["hostname"], told["mtu"]) == ("10.77.0.101", "m1.lab.test", "1450")
        assert told["domain"] == "lab.test"
        assert "boot_file" not in told
        assert site.ask(STRANGER)["ip"].startswith("10.77.4.")
        [six] = [one["ip"] for one in held(site, "m1.lab.test") if ":" in one["ip"]]
        assert site.ask6(MAC) == {"ip": six}
        assert site.ask6(STRANGER)["ip"].startswith("fd00:77::dcdc:")
        assert is_active(site)
        assert not site.bed.hook_failures()
        assert "is not told" not in site.dashboard()

    inside(lab, work)


def test_machines_are_told_whom_to_ask_for_names_and_the_time(lab: Lab, site: Site) -> None:
    said = {"dns-servers": ["10.77.0.53", "fd00:77::53"], "ntp-servers": ["10.77.0.123"], "domain": "other.test"}

    def say(values: Mapping[str, Any]) -> None:
        for what, value in values.items():
            site.bed.set(f"dhcp-{what}", value, node=PHANTOM, role="dhcp-database")
        site.follow()

    def work() -> None:
        say(said)
        told = site.ask(MAC, "-O", "42")
        assert (told["dns"], told["ntpsrv"], told["domain"]) == ("10.77.0.53", "10.77.0.123", "other.test")
        assert site.ask6(MAC)["dns"] == ["fd00:77::53"]
        say({"dns-servers": [], "ntp-servers": [], "domain": ""})
        told = site.ask(MAC, "-O", "42")
        assert (told.get("dns"), told.get("ntpsrv"), told["domain"]) == (None, None, "lab.test")

    inside(lab, work)


def held(site: Site, node: str) -> list[dict[str, str]]:
    return list(site.web.get(f"{API}/nodes/{node}/network_allocations").json)


FOUR = {
    "bios": (BIOS, {"boot_file": "{}/undionly.kpxe", "bootfile": "{}/undionly.kpxe", "siaddr": "10.77.0.9",
                    "tftp": "10.77.0.9"}),
    "uefi": (UEFI, {"boot_file": "{}/ipxe.efi", "siaddr": "10.77.0.9"}),
    "uefi-http": (UEFI_HTTP, {"boot_file": "http://10.77.0.9:8080/{}/ipxe.efi", "vendor": "HTTPClient"}),
    "ipxe": (IPXE, {"boot_file": "http://10.77.0.9:8080/{}/boot.ipxe"}),
    "an operating system": ((), {"boot_file": None, "bootfile": None, "tftp": None}),
}  # fmt: skip
SIX = {
    "bios": ({"arch": 0}, "tftp://[fd00:77::9]/{}/undionly.kpxe"),
    "uefi": ({"arch": 7}, "tftp://[fd00:77::9]/{}/ipxe.efi"),
    "uefi-http": ({"arch": 16}, "http://[fd00:77::9]:8080/{}/ipxe.efi"),
    "ipxe": ({"arch": 7, "ipxe": True}, "http://[fd00:77::9]:8080/{}/boot.ipxe"),
}


@pytest.mark.parametrize("who", ["node", "stranger"])
def test_each_firmware_is_told_its_boot_file_over_both_families(lab: Lab, site: Site, who: str) -> None:
    mac, bootenv = {"node": (MAC, "debian-13"), "stranger": (STRANGER, "discovery")}[who]

    def work() -> None:
        site.bed.change_node("m1.lab.test", bootenv="debian-13")
        site.settle()
        assert site.served("m1.lab.test") == "debian-13"
        for firmware, (options, wanted) in FOUR.items():
            told = site.ask(mac, *options)
            for name, value in wanted.items():
                assert told.get(name) == (value and value.format(bootenv)), (firmware, name, told)
        for firmware, (options6, url) in SIX.items():
            told6 = site.ask6(mac, **options6)
            assert told6["boot"] == url.format(bootenv), firmware
            assert told6.get("vendor") == ("00000157000a48545450436c69656e74" if firmware == "uefi-http" else None)
        assert "boot" not in site.ask6(mac)

    inside(lab, work)


def test_what_is_served_follows_a_node_that_is_made_renamed_readdressed_booted_otherwise_and_deleted(
    lab: Lab, site: Site
) -> None:
    def work() -> None:
        assert "boot_file" in site.ask(OTHER, *BIOS)  # a stranger until now, in discovery
        site.bed.add_node("m2.lab.test", hint={"hint-admin-macs": [OTHER]}, alive=False)
        given = {"node_id": "m2.lab.test", "suggestion": "10.77.0.102"}
        assert site.web.post(f"{API}/networks/lab/allocate_ip", json=given).status_code == 201
        site.follow()
        told = site.ask(OTHER, *BIOS)
        assert (told["ip"], told["hostname"], told.get("boot_file")) == ("10.77.0.102", "m2.lab.test", None)
        assert site.served("m2.lab.test") == "local"
        assert site.web.patch(f"{API}/nodes/m2.lab.test", json={"name": "web.lab.test"}).status_code == 200
        site.follow()
        assert site.ask(OTHER)["hostname"] == "web.lab.test"
        [four] = [one for one in held(site, "web.lab.test") if one["ip"] == "10.77.0.102"]
        assert site.web.delete(f"{API}/network_allocations/{four['id']}").status_code == 204
        given = {"node_id": "web.lab.test", "suggestion": "10.77.0.103"}
        assert site.web.post(f"{API}/networks/lab/allocate_ip", json=given).status_code == 201
        site.follow()
        assert site.ask(OTHER)["ip"] == "10.77.0.103"
        site.bed.change_node("web.lab.test", bootenv="rescue")
        site.follow()
        assert (site.served("web.lab.test"), site.ask(OTHER, *BIOS)["boot_file"]) == ("rescue", "rescue/undionly.kpxe")
        site.bed.change_node("web.lab.test", bootenv="local")
        site.follow()
        assert (site.served("web.lab.test"), site.ask(OTHER, *BIOS).get("boot_file")) == ("local", None)
        assert site.web.delete(f"{API}/nodes/web.lab.test").status_code == 204
        site.follow()
        told = site.ask(OTHER, *BIOS)
        assert told["ip"].startswith("10.77.4.")
        assert told["boot_file"] == "discovery/undionly.kpxe"
        assert is_active(site)

    inside(lab, work)


def test_a_server_that_is_killed_holds_nobody_up_is_shown_with_since_when_and_told_when_it_is_back(
    lab: Lab, site: Site
) -> None:
    def work() -> None:
        server = lab.nodes[0].name
        site.bed.change_node("m1.lab.test", bootenv="debian-13")
        site.settle()
        on_node(lab, server, "kill -9 $(pidof kea-dhcp4); while pidof kea-dhcp4 >/dev/null; do sleep 0.05; done")
        site.machine("late.lab.test", OTHER, "10.77.0.110", bootenv="rescue")
        assert is_active(site)
        assert f"DHCP server {server} is not told since " in site.dashboard()
        assert "its server for DHCPv4 does not run" in site.dashboard()
        assert site.served("late.lab.test") == ""
        site.bed.periodic("dhcp-watch")
        site.settle()
        assert "is not told since" in site.dashboard()
        on_node(lab, server, START)
        assert site.ask(MAC, *BIOS)["boot_file"] == "debian-13/undionly.kpxe"  # it had written down what it was told
        site.bed.periodic("dhcp-watch")
        site.settle()
        assert site.ask(OTHER)["ip"] == "10.77.0.110"
        assert site.served("late.lab.test") == "rescue"
        assert "is not told since" not in site.dashboard()
        site.bed.delete_node("late.lab.test")
        site.settle()

    inside(lab, work)


KILL = """
    killed=$(pidof kea-dhcp4 kea-dhcp6)
    kill -9 $killed
    for pid in $killed; do # others may have been begun meanwhile
        while grep -s '^State:' /proc/$pid/status | grep -qv Z; do sleep 0.05; done
    done
"""
START = """
    export KEA_PIDFILE_DIR=/run/kea KEA_LOCKFILE_DIR=/run/lock/kea
    tries=0
    until [ "$(ss -lnx | grep -c 'kea[46]-ctrl-socket')" = 2 ] && pidof kea-dhcp4 >/dev/null &&
        pidof kea-dhcp6 >/dev/null; do
        if [ $((tries % 100)) = 0 ]; then # one that has ended at once is begun again, as systemd does
            for family in 4 6; do
                if ! pidof kea-dhcp$family >/dev/null; then
                    setsid kea-dhcp$family -c /etc/kea/kea-dhcp$family.conf </dev/null >/dev/null 2>&1 &
                fi
            done
        fi
        tries=$((tries + 1))
        [ $tries -lt 1500 ] || { tail -n 20 /var/log/kea/*.log >&2; exit 1; }
        sleep 0.05
    done
"""


def test_what_was_changed_by_hand_is_put_right_and_what_is_not_crowbars_is_left_alone(lab: Lab, site: Site) -> None:
    def work() -> None:
        service = site.service()
        got = service._do("config-get", 4)["arguments"]
        got.pop("hash", None)
        mine = next(one for one in got["Dhcp4"]["subnet4"] if "crowbar" in one["user-context"])
        mine["reservations"][0]["ip-address"] = "10.77.0.249"
        mine["option-data"] = []
        got["Dhcp4"]["subnet4"].append({"id": 900, "subnet": "192.0.2.0/24"})
        got["Dhcp4"]["client-classes"].append({"name": "phones", "test": "option[60].text == 'phone'"})
        service._do("config-set", 4, got)
        site.bed.periodic("dhcp-compare")
        site.settle()
        now = service._do("config-get", 4)["arguments"]["Dhcp4"]
        assert {one["subnet"] for one in now["subnet4"]} == {"192.0.2.0/24", "10.77.0.0/16"}
        assert "phones" in [one["name"] for one in now["client-classes"]]
        assert "10.77.0.249" not in str(now)
        log = "\n".join(site.bed.log("dhcp-database", PHANTOM))
        assert "DHCPv4: subnet 10.77.0.0/16: reservations: 1 changed" in log

    inside(lab, work)


def test_what_cannot_be_served_is_said_at_its_node_and_network_and_the_rest_is_served(lab: Lab, site: Site) -> None:
    def work() -> None:
        site.bed.add_node("twin1.lab.test", hint={"hint-admin-macs": [OTHER]}, alive=False)
        site.bed.add_node("twin2.lab.test", discovery={"macs": [OTHER]}, alive=False)
        kept = {"reserved_for": "the printer", "suggestion": "10.77.4.7"}
        asked = site.web.post(f"{API}/networks/lab/allocate_ip", json=kept)
        assert asked.status_code == 201, asked.json
        site.settle()
        shown = site.dashboard()
        assert f"Node twin1.lab.test: nothing is served to {OTHER}: twin2.lab.test has it, too." in shown
        assert site.ask(MAC)["ip"] == "10.77.0.101"
        assert "has 10.77.4.7 in it, which is reserved for the printer" in shown
        assert site.ask(STRANGER, "-t", "4") == {}
        assert site.web.delete(f"{API}/network_allocations/{asked.json[0]['id']}").status_code == 204
        site.bed.delete_node("twin2.lab.test")
        site.bed.delete_node("twin1.lab.test")
        site.settle()
        assert "nothing is served" not in site.dashboard()
        assert site.ask(STRANGER)["ip"].startswith("10.77.4.")

    inside(lab, work)


def test_routers_of_ipv6_say_that_there_is_a_dhcp_server(lab: Lab, site: Site) -> None:
    def work() -> None:
        text = on_node(lab, lab.nodes[0].name, "cat /etc/radvd.conf; pidof radvd")
        assert "AdvManagedFlag on;" in text
        assert "AdvDefaultLifetime 0;" in text
        heard = on_node(lab, lab.nodes[-1].name, f"""
            ip link set {CARD} up
            until ip -6 addr show dev {CARD} | grep -q 'fd00:77:.*dynamic'; do sleep 0.1; done; echo heard
        """)  # fmt: skip
        assert heard == "heard\n"
        assert f"[{lab.nodes[0].ipv6}]:547" in on_node(lab, lab.nodes[0].name, "ss -lnu")  # where relays find it

    inside(lab, work)


def test_a_server_that_is_not_crowbars_is_named_with_address_mac_and_network_until_it_is_gone(
    lab: Lab, site: Site, tmp_path: Path
) -> None:
    def look() -> list[dict[str, str]]:
        site.bed.periodic("dhcp-foreign")
        return list(site.web.get(f"{API}/dhcp_foreign_servers").json)

    assert inside(lab, look) == []
    with foreign_server(lab, tmp_path) as (_, mac):
        deadline = time.monotonic() + 30
        while len(found := inside(lab, look)) < 2:
            assert time.monotonic() < deadline, (found, (tmp_path / "log").read_text())
        four, six = sorted(found, key=lambda one: one["family"])
        assert (four["address"], four["mac"], four["network"]) == ("10.77.0.1", mac, "lab")
        assert (six["mac"], six["network"], six["node"]) == (mac, "lab", lab.nodes[0].name)
        told = f"A DHCP server that is not Crowbar&#39;s answers in network lab since {four['since'][:10]} "
        for page in ("/", "/dhcp"):
            assert told in site.web.get(page).text
            assert f"10.77.0.1 ({mac}). Switch it off, or let it" in site.web.get(page).text
    assert inside(lab, look) == []
    assert "not Crowbar&#39;s" not in site.dashboard()


@pytest.mark.timeout(3000)
def test_the_driver_of_kea_conforms(lab: Lab, site: Site, pytestconfig: pytest.Config) -> None:
    changes, kills = {"few": (30, 2), "full": (1000, 50)}[pytestconfig.getoption("--dhcp-changes")]

    def kill() -> None:
        on_node(lab, lab.nodes[0].name, KILL + START)

    def work() -> None:
        assert check_dhcp_driver(site.service(), kill=kill, changes=changes, kills=kills) == []
        site.bed.periodic("dhcp-compare")
        site.settle()
        assert site.ask(MAC)["ip"] == "10.77.0.101"

    inside(lab, work, timeout=3000)


TENTATIVE = """
    echo 4 >/proc/sys/net/ipv6/conf/eth0/dad_transmits
    ip -6 addr flush dev eth0 scope link
    ip -6 addr add fe80::77/64 dev eth0
"""


def test_a_server_that_is_unbound_is_as_it_was_before_and_is_made_one_again(lab: Lab, site: Site) -> None:
    def work() -> None:
        server = lab.nodes[0].name
        site.bed.unbind("dhcp-server", server)
        site.settle()
        assert on_node(lab, server, "pidof kea-dhcp4 kea-dhcp6 kea-ctrl-agent radvd || echo none") == "none\n"
        assert on_node(lab, server, "grep -l crowbar /etc/kea/* || echo none") == "none\n"
        assert site.ask(MAC, "-t", "4") == {}
        on_node(lab, server, TENTATIVE)
        site.bed.bind("dhcp-server", server)
        site.bed.commit()
        site.settle()
        assert site.ask(MAC)["ip"] == "10.77.0.101"
        assert "ip" in site.ask6(MAC)  # though it was set up while its address was not sure to be its own

    inside(lab, work)


def test_many_nodes_in_one_change_are_a_handful_of_refreshes(lab: Lab, site: Site, pytestconfig: pytest.Config) -> None:
    """It is the last one: all that is told afterwards is told for all of them."""
    many = {"few": 200, "full": 1000}[pytestconfig.getoption("--dhcp-changes")]

    def work() -> None:
        before = database_runs(site)
        with site.bed.change() as change:
            for number in range(many):
                mac = f"52:54:01:00:{number >> 8:02x}:{number & 255:02x}"
                change.create_node(f"many{number}.lab.test", hint={"hint-admin-macs": [mac]}, bootenv="rescue")
        site.settle()
        assert database_runs(site) - before <= 5
        assert site.ask("52:54:01:00:00:57", *BIOS)["boot_file"] == "rescue/undionly.kpxe"
        assert site.served(f"many{many - 1}.lab.test") == "rescue"

    inside(lab, work)
