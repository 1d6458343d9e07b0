"""Kea behind a relay: dnsmasq's, on a node between the server and the machines that ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crowbar_dhcp.serving import Boot, Machine, Net, Options, serving_of
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from .servers import KeaHere
from .site import MAC, STRANGER, ask, ask6, on_node

pytestmark = pytest.mark.lab

FAR = "card2"
NETS = [
    Net(id=1, network="near", subnet="10.77.0.0/16", ranges={"dhcp": ("10.77.4.0", "10.77.4.63")}),
    Net(id=2, network="near", subnet="fd00:77::/64", ranges={"dhcp": ("fd00:77::dcdc:0", "fd00:77::dcdc:ff")}),
    Net(id=3, network="far", subnet="10.78.0.0/24", ranges={"dhcp": ("10.78.0.128", "10.78.0.159")}, mtu=1420,
        routers=("10.78.0.1",)),
    Net(id=4, network="far", subnet="fd00:78::/64", ranges={"dhcp": ("fd00:78::dcdc:0", "fd00:78::dcdc:ff")}),
]  # fmt: skip
BOOT = Boot(by="p", dhcp4={"bios": "tftp://10.77.0.9/a.kpxe"}, dhcp6={"uefi": "tftp://[fd00:77::9]/a.efi"})
RELAY = """
    ip addr add 10.78.0.1/24 dev far0
    ip addr add fd00:78::1/64 dev far0 nodad
    ip link set far0 up
    until ! ip -6 -o addr show dev far0 tentative | grep -q .; do sleep 0.05; done
    dnsmasq -C /dev/null --port=0 --user=root --pid-file=/tmp/relay.pid --log-facility=/tmp/relay.log \\
        --dhcp-relay=10.78.0.1,10.77.0.1 --dhcp-relay=fd00:78::1,fd00:77::1
"""


@pytest.fixture(scope="module")
def relay(lab: Lab) -> Iterator[None]:
    """The first node has a cable to the last one, on which that asks, and hands on what it hears there."""
    near, far = lab.nodes[0], lab.nodes[-1]
    pids = {one["name"]: one["pid"] for one in lab.describe()["nodes"]}
    cable = ["ip", "link", "add", "far0", "netns", str(pids[near.name]), "type", "veth", "peer", "name", FAR]
    lab.exec([*cable, "netns", str(pids[far.name])], check=True)
    lab.exec(["ip", "route", "add", "10.78.0.0/24", "via", near.ipv4], check=True)
    lab.exec(["ip", "route", "add", "fd00:78::/64", "via", near.ipv6], check=True)
    on_node(lab, far.name, f"ip link set {FAR} up")
    on_node(lab, near.name, RELAY)
    yield
    on_node(lab, near.name, "kill $(cat /tmp/relay.pid)")


def test_machines_behind_a_relay_are_told_what_holds_in_their_network_and_others_what_holds_in_theirs(
    lab: Lab, relay: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    node = Machine(
        id=1, name="n1.lab.test", macs=(MAC,), boot=BOOT,
        addresses=("10.77.0.101", "fd00:77::101", "10.78.0.101", "fd00:78::101"),
    )  # fmt: skip

    def work() -> None:
        there.driver.bring(serving_of(NETS, [node], Options()))
        told = ask(lab, MAC, "-x", "0x5d:0000", card=FAR)
        assert (told["ip"], told["router"], told["mtu"]) == ("10.78.0.101", "10.78.0.1", "1420")
        assert (told["boot_file"], told["siaddr"]) == ("a.kpxe", "10.77.0.9")
        assert ask6(lab, MAC, arch=7, card=FAR) == {"ip": "fd00:78::101", "boot": "tftp://[fd00:77::9]/a.efi"}
        stranger = ask(lab, STRANGER, card=FAR)["ip"]
        assert 128 <= int(stranger.removeprefix("10.78.0.")) < 160
        assert ask6(lab, STRANGER, card=FAR)["ip"].startswith("fd00:78::dcdc:")
        assert ask(lab, MAC)["ip"] == "10.77.0.101"
        assert ask6(lab, MAC)["ip"] == "fd00:77::101"

    with KeaHere(lab, tmp_path_factory.mktemp("kea")) as there:
        inside(lab, work)
