"""What is left on a node for its next start."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from crowbar_network import program
from crowbar_network.filing import INTERFACES, RECORD, choose, filing, without
from crowbar_network.layers import Wanted, stack
from crowbar_network.state import State

from crowbar_core import PermanentError

INSTALLED = """\
# This file describes the network interfaces.
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

allow-hotplug eno1 eno2
iface eno1 inet dhcp
    dns-nameservers 10.0.0.1
    # a note of somebody's
iface eno2 inet manual
"""
STRUCK = """\
# This file describes the network interfaces.
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

allow-hotplug eno2
#crowbar# allow-hotplug eno1
#crowbar# iface eno1 inet dhcp
#crowbar#     dns-nameservers 10.0.0.1
    # a note of somebody's
iface eno2 inet manual
"""


def test_the_lines_of_cards_that_networks_have_are_struck_out_and_can_be_read() -> None:
    assert without(INSTALLED, {"eno1"}) == STRUCK
    assert without(STRUCK, {"eno1"}) == STRUCK
    back = without(STRUCK, set())
    assert "#crowbar#" not in back
    assert "iface eno1 inet dhcp\n    dns-nameservers 10.0.0.1\n" in back
    assert without("auto lo\n", set()).endswith("source /etc/network/interfaces.d/*\n")


def test_what_an_earlier_writer_left_goes_and_what_is_there_already_is_not_written_again() -> None:
    links = stack([Wanted(network="a", id=1, nics=("eno1",), addresses=("10.0.0.2/24",))])
    earlier = State(links={}, kept={"files": ["/etc/systemd/network/10-crowbar-eno1.network"]})
    made = filing("ifupdown", links, ["a"], earlier)
    assert made.gone == ("/etc/systemd/network/10-crowbar-eno1.network",)
    assert not made.done(earlier)
    there = State(links={}, files=dict(made.files))
    assert filing("ifupdown", links, ["a"], there).done(there)
    assert RECORD in made.files
    taken = filing("ifupdown", links, ["a"], State(links={}, files={INTERFACES: INSTALLED}))
    assert taken.files[INTERFACES] == STRUCK


@pytest.mark.parametrize(
    "tools, writer",
    [
        ("ip ifup", "ifupdown"), ("ip", "iproute2"), ("ip ifup networkctl systemd networkd-active", "networkd"),
        ("ip netplan systemd networkd-active", "netplan"), ("ip systemd", "iproute2"),
        ("ip ifup systemd disk", "ifupdown"),
    ],
)  # fmt: skip
def test_a_node_keeps_the_tool_that_it_uses(tools: str, writer: str) -> None:
    assert choose("auto", State(links={}, tools=frozenset(tools.split()))) == writer


def test_a_node_with_networkmanager_is_refused_with_the_way_out() -> None:
    with pytest.raises(PermanentError, match="set network-NAME-writer to"):
        choose("auto", State(links={}, tools=frozenset({"NetworkManager-active"})))


def test_a_node_that_would_forget_its_interfaces_at_its_next_start_is_refused_with_the_way_out() -> None:
    state = State(links={}, tools=frozenset({"ip", "systemd", "disk", "networkctl"}))
    with pytest.raises(PermanentError, match="systemctl enable --now systemd-networkd"):
        choose("auto", state)
    assert (choose("iproute2", state), choose("auto", state, leaving=True)) == ("iproute2", "iproute2")


@pytest.mark.lab
@pytest.mark.parametrize(
    "root, said", [("/dev/vda1 / ext4", True), ("overlay / overlay", False), ("none / tmpfs", False)]
)
def test_a_node_tells_whether_it_runs_from_its_disk(tmp_path: Path, root: str, said: bool) -> None:
    mounts, (text, _) = tmp_path / "mounts", program.look(files=False)
    mounts.write_text(f"rootfs / rootfs rw 0 0\n{root} rw 0 0\n/dev/vdb /srv xfs rw 0 0\n")
    there = "mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec sh -s"
    asked = subprocess.run(
        ["unshare", "--mount", "sh", "-c", there], input=text.replace("/proc/mounts", str(mounts)),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    [tools] = [line for line in asked.stdout.splitlines() if "systemd" in line]
    assert ("disk" in tools.split()) == said
