"""Labs with a kernel of their own: nodes with several cards at a switch, which are real to what runs on them."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from crowbar_lab import host, linux
from crowbar_lab.commands import lab as command
from crowbar_lab.errors import LabError, LabNotFound, LabUnavailable
from crowbar_lab.hammer import LabHammer
from crowbar_lab.lab import Lab
from crowbar_lab.testing import rack_fixture

from crowbar_core.testing import wait_until

pytestmark = pytest.mark.lab

rack = rack_fixture(nodes=3, cards=3)
AS_MADE: dict[str, Any] = {"vlan": 1, "tagged": [], "lacp": 0, "mtu": 1500}


def on(lab: Lab, node: str, script: str) -> str:
    """What a script prints, run by root on a node over SSH."""
    done = lab.exec(lab.ssh(node, [script]), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def at(lab: Lab, node: str, script: str) -> str:
    """What a script prints, run at a node's console, which is cheaper."""
    return lab.console(node, ["sh", "-c", script], check=True).stdout


def pings(lab: Lab, node: str, address: str, options: str = "") -> bool:
    return at(lab, node, f"ping -n -c1 -W1 {options} {address} >/dev/null 2>&1 && echo yes || echo no") == "yes\n"


def settle_cards(lab: Lab) -> None:
    """All ports as they are without a setting, and no link on the nodes but the cards, which are down."""
    for node in lab.nodes:
        if node.name.startswith("node-"):
            at(
                lab,
                node.name,
                "for link in $(ls /sys/class/net); do case $link in lo|eth0) ;; "
                "eth?) echo link set $link nomaster; echo link set $link down mtu 1500; echo addr flush dev $link;; "
                "*) echo link del $link;; esac; done | ip -force -batch - >/dev/null 2>&1; true",
            )
        for card in node.cards:
            if not card["cable"]:
                lab.cable(node.name, card["name"], up=True)
            if card != card | AS_MADE:
                lab.port(node.name, card["name"], **AS_MADE)


# ---- nodes like any other, with more cards


def test_nodes_answer_the_labs_server_side_on_both_families_and_by_ssh(rack: Lab) -> None:
    for node in rack.nodes:
        for address in (node.ipv4, node.ipv6):
            assert rack.exec(["ping", "-n", "-c1", "-W5", address], capture_output=True).returncode == 0
        # `ssh` of the lab insists on the host key that the description names.
        assert on(rack, node.name, "hostname -f") == f"{node.name}\n"
    assert on(rack, "node-1", f"ping -c1 -W2 {rack.node('node-2').ipv6} >/dev/null && ping -c1 -W2 10.77.0.1 | wc -l")


def test_each_node_has_its_cards_with_the_macs_that_the_lab_tells(rack: Lab) -> None:
    node = rack.node("node-1")
    assert [card["name"] for card in node.cards] == ["eth1", "eth2", "eth3"]
    seen = json.loads(on(rack, "node-1", "ip -j link"))
    macs = {link["ifname"]: link["address"] for link in seen if link["ifname"] != "lo"}
    assert macs == {"eth0": node.mac, **{card["name"]: card["mac"] for card in node.cards}}
    assert len({card["mac"] for one in rack.nodes for card in one.cards}) == 9


def test_the_nodes_share_a_kernel_of_their_own_and_not_their_files_or_processes(rack: Lab) -> None:
    assert on(rack, "node-1", "uname -r").strip() != os.uname().release
    on(rack, "node-1", "echo mine > /etc/only-here; useradd -M someone; hostname")
    assert on(rack, "node-2", "ls /etc/only-here 2>/dev/null; id -u someone 2>/dev/null; true") == ""
    assert not Path("/etc/only-here").exists()
    assert on(rack, "node-1", "ps -eo comm=").split()[0] == "sshd"
    assert str(rack.directory) not in on(rack, "node-1", "cat /proc/1/mountinfo")
    # Of what the rack is made of a node sees as little as of the host's own.
    assert on(rack, "node-1", "ls -dA /crowbar /home/* /opt/* /run/lab 2>/dev/null; true") == ""
    assert list((rack.directory / "post").iterdir()) == []


def test_a_node_makes_bonds_vlans_bridges_and_more_by_itself(rack: Lab) -> None:
    on(
        rack,
        "node-1",
        "set -e; ip link add bond0 type bond mode active-backup miimon 100; ip link set eth1 master bond0; "
        "ip link add link bond0 name bond0.7 type vlan id 7; ip link add br0 type bridge; "
        "ip link set bond0.7 master br0; ip link add vrf0 type vrf table 10; ip link add dummy0 type dummy; "
        "tc qdisc add dev eth2 root netem delay 1ms; tc qdisc del dev eth2 root; "
        "test -e /proc/net/bonding/bond0; sysctl -qw net.ipv4.conf.dummy0.rp_filter=2",
    )
    settle_cards(rack)


def test_power_off_loses_run_and_links_and_keeps_etc(rack: Lab) -> None:
    on(rack, "node-2", "touch /etc/kept /run/lost; ip link add lost type dummy; ip link set eth1 up")
    boots = rack.node("node-2").boots
    assert rack.power("node-2", "off") == "off"
    assert not rack.node("node-2").powered
    assert rack.exec(["ping", "-c1", "-W1", rack.node("node-2").ipv4], capture_output=True).returncode != 0
    assert "n2-eth1" not in rack.run_in_switch(["ip", "-br", "link"], check=True).stdout
    assert rack.power("node-2", "on") == "on"
    assert on(rack, "node-2", "ls /etc/kept /run/lost 2>/dev/null; ip -br link | wc -l") == "/etc/kept\n5\n"
    assert rack.node("node-2").boots == boots + 1


def test_a_node_that_reboots_itself_is_seen_to(rack: Lab) -> None:
    boots = rack.node("node-2").boots
    rack.exec(rack.ssh("node-2", ["reboot -f"]), capture_output=True, timeout=60)
    wait_until(lambda: rack.node("node-2").boots == boots + 1 and rack.node("node-2").powered)


def test_a_node_that_is_added_later_has_its_cards_and_the_hammer_powers_it(rack: Lab) -> None:
    added = rack.add_node("late.lab.test")
    assert [card["name"] for card in added.cards] == ["eth1", "eth2", "eth3"]
    hammer = LabHammer({"lab": rack.name, "node": added.name, "state_dir": str(rack.directory.parent)})
    assert (hammer.perform("off"), hammer.perform("status"), hammer.perform("on")) == ("off", "off", "on")
    assert on(rack, "late", "cat /sys/class/net/eth0/carrier; ip -br link | wc -l") == "1\n5\n"


def test_the_console_of_a_node_needs_no_network(rack: Lab) -> None:
    at(rack, "node-1", "sysctl -qw net.ipv6.conf.eth0.keep_addr_on_down=1; ip link set eth0 down")
    assert rack.exec(["ping", "-n", "-c1", "-W1", rack.node("node-1").ipv4], capture_output=True).returncode != 0
    done = rack.console(
        "node-1", ["sh", "-c", "cat; hostname; id -u; cat /etc/hostname; ps -o comm= 1"], given="hello\n"
    )
    assert done.stdout.splitlines() == ["hello", "node-1", "0", "node-1", "sshd"]
    with pytest.raises(LabError, match=re.escape("false failed on node-1.lab.test with exit code 1")):
        rack.console("node-1", ["false"], check=True)
    at(rack, "node-1", "ip link set eth0 up")
    assert on(rack, "node-1", "hostname") == "node-1\n"


# ---- nothing of the host's


def test_the_racks_kernel_has_no_right_over_the_host(rack: Lab) -> None:
    kernel = kernel_of(rack)
    status = dict(
        line.split(":\t") for line in Path(f"/proc/{kernel}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["Uid"].split() == ["65534"] * 4
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    mounts = [line.split() for line in Path(f"/proc/{kernel}/mountinfo").read_text().splitlines()]
    writable = {fields[4] for fields in mounts if "ro" not in fields[5].split(",")}
    assert writable == {"/", "/proc"}
    assert os.stat(f"/proc/{kernel}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino


def test_even_root_of_the_rack_cannot_write_to_the_host(rack: Lab) -> None:
    script = "mount -o remount,rw /; for at in /etc/x /usr/x /var/tmp/x /x; do touch $at && echo $at; done"
    assert rack.run_in_switch(["sh", "-c", f"{script}; cat /etc/shadow; true"]).stdout == ""


def kernel_of(lab: Lab) -> int:
    """The pid of the rack's kernel."""
    keeper = lab.describe()["keeper"]
    children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    return next(int(pid) for pid in children if b"linux.uml" in Path(f"/proc/{pid}/cmdline").read_bytes())


# ---- the switch


@pytest.fixture
def cards(rack: Lab) -> Iterator[Lab]:
    """The rack with ports as they are without a setting, which they are again afterwards."""
    yield rack
    settle_cards(rack)


def addressed(lab: Lab, node: str, link: str) -> str:
    """Bring a link up with 10.9.0.NUMBER and fd09::NUMBER; the IPv4 address."""
    number = lab.node(node).number
    at(
        lab,
        node,
        f"ip link set {link} up; ip addr add 10.9.0.{number}/24 dev {link}; "
        f"ip addr add fd09::{number}/64 dev {link} nodad",
    )
    return f"10.9.0.{number}"


def carrier(lab: Lab, node: str, nic: str) -> str:
    return at(lab, node, f"cat /sys/class/net/{nic}/carrier").strip()


def test_a_pulled_cable_takes_the_carrier_and_a_bond_goes_on_over_the_other(cards: Lab) -> None:
    other = addressed(cards, "node-2", "eth1")
    at(
        cards,
        "node-1",
        "ip link add bond0 type bond mode active-backup miimon 50 num_grat_arp 2; "
        "for nic in eth1 eth2; do ip link set $nic master bond0; done",
    )
    addressed(cards, "node-1", "bond0")
    wait_until(lambda: pings(cards, "node-1", other) and pings(cards, "node-1", "fd09::2"))
    active = at(cards, "node-1", "cat /sys/class/net/bond0/bonding/active_slave").strip()
    cards.cable("node-1", active, up=False)
    assert carrier(cards, "node-1", active) == "0"
    wait_until(lambda: pings(cards, "node-1", other))
    assert at(cards, "node-1", "cat /sys/class/net/bond0/bonding/active_slave").strip() != active
    cards.cable("node-1", "eth1", up=False)
    cards.cable("node-1", "eth2", up=False)
    assert carrier(cards, "node-1", "bond0") == "0"
    assert not pings(cards, "node-1", other)
    cards.cable("node-1", active, up=True)
    wait_until(lambda: pings(cards, "node-1", other))


def test_a_port_lets_its_vlans_through_and_no_other(cards: Lab) -> None:
    for node in ("node-1", "node-2"):
        cards.port(node, "eth1", vlan=0, tagged=[100, 200])
        at(cards, node, "ip link add link eth1 name eth1.100 type vlan id 100; ip link set eth1 up")
        addressed(cards, node, "eth1.100")
    wait_until(lambda: pings(cards, "node-1", "10.9.0.2") and pings(cards, "node-1", "fd09::2"))
    learnt = cards.run_in_switch(["bridge", "fdb", "show", "dynamic"], check=True).stdout
    assert f"{cards.node('node-2').cards[0]['mac']} dev n2-eth1 vlan 100 master sw0" in learnt
    cards.port("node-2", "eth1", tagged=[200])
    assert not pings(cards, "node-1", "10.9.0.2")
    # An access port takes the tag off for a node that knows of none.
    cards.port("node-2", "eth1", vlan=100, tagged=[])
    at(cards, "node-2", "ip link del eth1.100")
    addressed(cards, "node-2", "eth1")
    wait_until(lambda: pings(cards, "node-1", "10.9.0.2"))


def test_a_bond_finds_its_lacp_partner_where_the_ports_are_a_group_and_nowhere_else(cards: Lab) -> None:
    at(
        cards,
        "node-1",
        "ip link add bond0 type bond mode 802.3ad miimon 50 lacp_rate fast; "
        "for nic in eth1 eth2; do ip link set $nic master bond0; done",
    )
    addressed(cards, "node-1", "bond0")
    other = addressed(cards, "node-2", "eth1")

    def aggregate() -> tuple[bool, int]:
        """Whether there is a partner, and how many ports are in use."""
        told = json.loads(at(cards, "node-1", "ip -j -d link show bond0"))[0]["linkinfo"]["info_data"]["ad_info"]
        return told["partner_mac"] != "00:00:00:00:00:00", told["num_ports"]

    assert aggregate() == (False, 1)
    for nic in ("eth1", "eth2"):
        cards.port("node-1", nic, lacp=True)
    wait_until(lambda: aggregate() == (True, 2))
    wait_until(lambda: pings(cards, "node-1", other))
    # What is set at one port of the group holds for the other.
    cards.port("node-1", "eth2", vlan=300)
    assert [card["vlan"] for card in cards.node("node-1").cards] == [300, 300, 1]
    assert not pings(cards, "node-1", other)
    cards.port("node-2", "eth1", vlan=300)
    wait_until(lambda: pings(cards, "node-1", other))
    cards.cable("node-1", "eth1", up=False)
    wait_until(lambda: aggregate() == (True, 1) and pings(cards, "node-1", other))
    cards.port("node-1", "eth1", lacp=False)
    cards.port("node-1", "eth2", lacp=False)
    assert "lacp" not in cards.run_in_switch(["ip", "-br", "link"], check=True).stdout


def test_frames_larger_than_a_ports_mtu_are_dropped(cards: Lab) -> None:
    for node in ("node-1", "node-2"):
        at(cards, node, "ip link set eth1 mtu 9000")
        addressed(cards, node, "eth1")
    full = "-M do -s 8972"
    wait_until(lambda: pings(cards, "node-1", "10.9.0.2"))
    assert not pings(cards, "node-1", "10.9.0.2", full)
    cards.port("node-1", "eth1", mtu=9000)
    assert not pings(cards, "node-1", "10.9.0.2", full)
    cards.port("node-2", "eth1", mtu=9000)
    assert pings(cards, "node-1", "10.9.0.2", full)


def test_no_frame_is_larger_than_a_wire_would_have_it(cards: Lab) -> None:
    for node in ("node-1", "node-2"):
        addressed(cards, node, "eth1")
    wait_until(lambda: pings(cards, "node-1", "10.9.0.2"))

    def seen() -> tuple[int, int]:
        told = cards.run_in_switch(["ip", "-j", "-s", "link", "show", "dev", "n1-eth1"], check=True).stdout
        received = json.loads(told)[0]["stats64"]["rx"]
        return received["bytes"], received["packets"]

    before = seen()
    cards.console("node-1", ["bash", "-c", "head -c 100000 /dev/zero > /dev/tcp/10.9.0.2/22"])
    size, count = (after - earlier for after, earlier in zip(seen(), before, strict=True))
    assert size > 10_000
    assert size / count <= 1514


def test_a_switch_whose_mtu_is_too_small_lets_a_connection_begin_and_hang(cards: Lab) -> None:
    for node in ("node-1", "node-2"):
        addressed(cards, node, "eth1")
    keys = "ssh-keyscan -T 5 -t ed25519 10.9.0.2 2>/dev/null | wc -l"
    wait_until(lambda: pings(cards, "node-1", "10.9.0.2"))
    assert at(cards, "node-1", keys) == "1\n"
    cards.port("node-2", "eth1", mtu=1280)
    assert pings(cards, "node-1", "10.9.0.2")
    assert at(cards, "node-1", keys) == "0\n"


def test_what_is_set_at_a_port_stays_over_a_power_off(cards: Lab) -> None:
    cards.port("node-2", "eth1", vlan=0, tagged=[100], lacp=True)
    cards.port("node-2", "eth2", lacp=True, mtu=9000)
    cards.cable("node-2", "eth2", up=False)
    cards.power("node-2", "off")
    cards.port("node-2", "eth3", vlan=7)
    cards.power("node-2", "on")
    shown = cards.run_in_switch(["sh", "-c", "bridge vlan"], check=True).stdout
    assert {"n2-eth3 7 PVID Egress Untagged", "n2-lacp1 100"} <= {" ".join(line.split()) for line in shown.splitlines()}
    at(cards, "node-2", "ip link set eth1 up; ip link set eth2 up")
    assert (carrier(cards, "node-2", "eth1"), carrier(cards, "node-2", "eth2")) == ("1", "0")
    members = "cat /sys/class/net/n2-lacp1/bonding/slaves /sys/class/net/n2-lacp1/mtu"
    assert cards.run_in_switch(["sh", "-c", members], check=True).stdout.split() == ["n2-eth1", "n2-eth2", "9000"]


@pytest.mark.parametrize(
    "asked, complaint",
    [
        ({"nic": "eth9", "vlan": 5}, "The node node-1.lab.test has no card eth9 at the switch"),
        ({"vlan": 4095}, "4095 is no VLAN: give one from 1 to 4094."),
        ({"tagged": [0]}, "0 is no VLAN"),
        ({"vlan": 5, "tagged": [5]}, "VLAN 5 cannot be both tagged and untagged at eth1"),
        ({"mtu": 100}, "100 is no MTU of a port: give one from 1280 to 9216."),
        ({"lacp": -1}, "-1 is no LACP group"),
        ({}, "Nothing was said of the port"),
    ],
)
def test_what_a_port_cannot_be_is_refused_in_a_sentence(rack: Lab, asked: dict[str, Any], complaint: str) -> None:
    with pytest.raises(LabError, match=re.escape(complaint)):
        rack.port("node-1", **{"nic": "eth1", **asked})


# ---- from the command line


def run(lab: Lab, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setenv("CROWBAR_LAB_STATE_DIR", str(lab.directory.parent))
    verb, *rest = arguments
    return CliRunner().invoke(command, [verb, "--name", lab.name, *rest])


def test_cables_and_ports_are_set_from_the_command_line(cards: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(cards, monkeypatch, "cable", "node-1", "eth2", "down").exit_code == 0
    port = ["node-1", "eth1", "--vlan", "0", "--tagged", "100,200", "--lacp", "--mtu", "9000"]
    assert run(cards, monkeypatch, "port", *port).exit_code == 0
    one, two, _ = cards.node("node-1").cards
    assert one == one | {"vlan": 0, "tagged": [100, 200], "lacp": 1, "mtu": 9000, "cable": True}
    assert two == two | {"vlan": 1, "tagged": [], "lacp": 0, "mtu": 1500, "cable": False}
    shown = [" ".join(line.split()) for line in run(cards, monkeypatch, "status").output.splitlines()]
    assert shown[shown.index("NODE CARD MAC CABLE VLAN TAGGED LACP MTU") + 4 :][:3] == [
        "node-1.lab.test eth1 02:77:01:00:00:11 up - 100,200 1 9000",
        "node-1.lab.test eth2 02:77:02:00:00:11 down 1 - - 1500",
        "node-1.lab.test eth3 02:77:03:00:00:11 up 1 - - 1500",
    ]
    assert run(cards, monkeypatch, "port", "node-1", "eth3", "--lacp-group", "2").exit_code == 0
    links = cards.run_in_switch(["ip", "-br", "link", "show", "type", "bond"], check=True).stdout
    assert [line.split()[0] for line in links.splitlines()] == ["n1-lacp1", "n1-lacp2"]
    refused = run(cards, monkeypatch, "port", "node-1", "eth1", "--tagged", "a,b")
    assert (refused.exit_code, refused.output) == (
        1,
        "Error: 'a,b' names no VLANs: give numbers with commas between them, like 100,200.\n",
    )


def test_without_user_mode_linux_the_lab_is_made_as_before_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "RACK_TOOLS", {"linux.uml-that-is-not-there": "user-mode-linux"})
    with pytest.raises(LabUnavailable, match="apt-get install user-mode-linux"):
        Lab.create("none", nodes=1, kernel="uml", state_dir=tmp_path)
    try:
        made = run(
            Lab("plain", tmp_path / "plain"), monkeypatch, "up", "--nodes", "0", "--kernel", "uml", "--cards", "2"
        )
        assert made.output.splitlines()[0] == (
            "User Mode Linux is not complete here (apt-get install user-mode-linux): "
            "the nodes share this machine's kernel, and have eth0 alone."
        )
        found = Lab.load("plain", state_dir=tmp_path)
        assert (found.describe()["kernel"], found.node("admin").cards) == ("host", [])
        with pytest.raises(LabError, match=r"The lab plain has no switch: make it with --kernel uml\."):
            found.cable("admin", "eth1", up=False)
    finally:
        Lab.remove("plain", state_dir=tmp_path)


def test_cards_take_a_kernel_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="make it with --kernel uml"):
        Lab.create("none", nodes=1, cards=2, state_dir=tmp_path)
    with pytest.raises(LabError, match="up to 15 cards"):
        Lab.create("none", nodes=1, cards=16, kernel="uml", state_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---- its end


def test_when_its_kernel_is_killed_the_lab_has_ended_and_down_clears_it(tmp_path: Path) -> None:
    with Lab.create("killed", nodes=1, kernel="uml", state_dir=tmp_path) as lab:
        keeper, kernel = lab.describe()["keeper"], kernel_of(lab)
        inside = os.stat(f"/proc/{keeper}/ns/pid").st_ino
        os.kill(kernel, signal.SIGKILL)
        wait_until(lambda: linux.started(keeper) is None)
        wait_until(lambda: processes_in(inside) == [])
        with pytest.raises(LabNotFound, match="does not run any more"):
            Lab.load("killed", state_dir=tmp_path)
        assert "The kernel of the rack has ended" in (lab.directory / "keeper.log").read_text()
    assert list(tmp_path.iterdir()) == []


def test_when_its_kernel_panics_the_lab_ends_and_says_why(tmp_path: Path) -> None:
    with Lab.create("panics", nodes=0, kernel="uml", state_dir=tmp_path) as lab:
        crash = "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger"
        with pytest.raises(LabError, match="ended while it was asked"):
            lab.run_in_switch(["sh", "-c", crash])
        wait_until(lambda: "Kernel panic - not syncing: sysrq" in (lab.directory / "keeper.log").read_text())


def test_when_its_keeper_is_killed_the_kernel_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Lab("orphan", tmp_path / "orphan") as lab:
        made = run(lab, monkeypatch, "up", "--nodes", "0", "--kernel", "uml", "--cards", "1")
        assert made.output == "The lab orphan is up: 1 nodes, admin.lab.test and 0 more.\n"
        assert [card["name"] for card in lab.node("admin").cards] == ["eth1"]
        keeper = lab.describe()["keeper"]
        inside = os.stat(f"/proc/{keeper}/ns/pid").st_ino
        assert processes_in(inside) != []
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: processes_in(inside) == [])
        assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert list(tmp_path.iterdir()) == []


def processes_in(pid_namespace: int) -> list[str]:
    """Command lines of what runs in a pid namespace."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and os.stat(process / "ns/pid").st_ino == pid_namespace:
                found.append((process / "cmdline").read_text())
        except OSError:
            continue  # it ended
    return found
