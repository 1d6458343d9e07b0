"""What had a card before a network takes it over: clients of DHCP, and files of others."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from crowbar_network.filing import INTERFACES, RECORD, filing
from crowbar_network.layers import Wanted, stack
from crowbar_network.state import Known, State
from crowbar_network.takeover import ASIDE, Client, aside_of, begin_again, clients, left_over, stop, to_stop
from crowbar_network.writers import WRITERS

MAC = "02:77:00:00:00:11"
LINKS = stack([Wanted(network="a", id=1, nics=("eno1",), addresses=("10.0.0.2/24",))])


@pytest.mark.parametrize(
    "argv, nics",
    [
        ("/sbin/dhclient -4 -v -i -pf /run/dhclient.eno1.pid -lf /var/lib/dhcp/dhclient.eno1.leases eno1", ("eno1",)),
        ("udhcpc -b -i eno1 -p /run/udhcpc.eno1.pid", ("eno1",)),
        ("busybox udhcpc -ieno1", ("eno1",)),
        ("dhcpcd eno1", ("eno1",)),
        ("dhcpcd -q -b", ()),
        ("dhcpcd: eno1 [ip4]", ("eno1",)),
        ("dhcpcd: [manager] [ip4] [ip6]", ()),
        ("dhclient eno1 eno2", ("eno1", "eno2")),
    ],
)
def test_a_client_is_known_with_the_cards_that_it_asks_for(argv: str, nics: tuple[str, ...]) -> None:
    words = argv if argv.startswith("dhcpcd: ") else argv.replace(" ", "\037")
    [one] = clients(f"77 {words}\037\n", ("eno1", "eno2"))
    assert (one.pid, one.nics) == (77, nics)
    mine = nics == ("eno1",)
    assert to_stop([one], {"eno1"}) == ((one,) if mine else ())
    assert left_over([one], {"eno1"}) == (() if mine else (one,))


def test_what_is_no_client_is_none() -> None:
    assert clients("77 busybox\037httpd\037-i\037eno1\037\n78 \n", ("eno1",)) == ()
    assert (
        clients("79 dhcpcd: [privileged proxy] eno1 [ip4]\037\n80 dhcpcd: [BPF ARP] eno1 10.0.0.9\037\n", ("eno1",))
        == ()
    )


def test_a_client_is_begun_again_as_it_was_begun() -> None:
    [one] = clients("77 udhcpc\037-i\037eno1\037-s\037/etc/it's a script\037\n", ("eno1",))
    assert stop([one]).endswith('}\n[ "$(cat /proc/77/comm)" != udhcpc ] || end 77\n')
    assert stop([]) == ""
    assert """again udhcpc -i eno1 -s '/etc/it'"'"'s a script' <""" in begin_again([one])
    [one] = clients("77 dhcpcd: eno1 [ip4]\037\n", ("eno1",))
    assert stop([one]).endswith('}\n[ "$(cat /proc/77/comm)" != dhcpcd ] || end 77\n')
    assert "again dhcpcd -4 eno1 <" in begin_again([one])
    [one] = clients("77 dhcpcd: eno1 [ip4] [ip6]\037\n", ("eno1",))
    assert "again dhcpcd eno1 <" in begin_again([one])
    assert begin_again([]) == ""


def test_with_a_client_ends_what_it_has_begun() -> None:
    """Its name is that of the shell here: what ends, and what does not, is found by who has begun whom."""
    inner = "sleep 600 & echo $$ $!; (sleep 601 & echo $!; wait) & wait"
    with subprocess.Popen(["sh", "-c", inner], stdout=subprocess.PIPE, text=True, start_new_session=True) as client:
        assert client.stdout is not None
        pid, child = client.stdout.readline().split()
        grandchild = client.stdout.readline().strip()
        own = Client(pid=int(pid), name="dhcpcd", nics=("eno1",), argv=("sh",))
        subprocess.run(["sh", "-c", stop([own])], check=True)
        assert client.wait(timeout=30) == -9
        deadline = time.monotonic() + 30
        while any(running(int(one)) for one in (child, grandchild)):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


CLOUD_NETPLAN = """network:
  version: 2
  ethernets:
    eno1:
      dhcp4: true
      match:
        macaddress: 02:77:00:00:00:11
      set-name: eno1
"""
SHARED_NETPLAN = """network:
  version: 2
  ethernets:
    eno1: {dhcp4: true}
    eno2: {dhcp4: true}
  vlans:
    eno1.7: {id: 7, link: eno1}
  bridges:
    br0: {interfaces: [eno1.7]}
    br1: {interfaces: [eno2]}
"""
SHARED_LEFT = """network:
  version: 2
  ethernets:
    eno2:
      dhcp4: true
  bridges:
    br1:
      interfaces:
      - eno2
"""
CASES = {
    "cloud-init's netplan": ("/etc/netplan/50-cloud-init.yaml", CLOUD_NETPLAN, None),
    "netplan, with another card": ("/etc/netplan/01.yaml", SHARED_NETPLAN, SHARED_LEFT),
    "netplan, of another card": ("/etc/netplan/01.yaml", "network: {ethernets: {eno9: {dhcp4: true}}}\n", ""),
    "netplan that nobody can read": ("/etc/netplan/01.yaml", "network: [\n", ""),
    "cloud-init's networkd": ("/etc/systemd/network/10-cloud-init-eno1.network",
                              f"[Match]\nMACAddress={MAC}\nName=eno1\n[Network]\nDHCP=ipv4\n", None),
    "networkd, with another card": ("/etc/systemd/network/05.network", "[Match]\nName=eno1 eno2\n[Network]\nDHCP=yes\n",
                                    "[Match]\nName=eno2\n[Network]\nDHCP=yes\n"),
    "networkd, by a pattern": ("/etc/systemd/network/80.network", "[Match]\nName=en*\n[Network]\nDHCP=yes\n", ""),
    "cloud-init's ifupdown": ("/etc/network/interfaces.d/50-cloud-init", "auto eno1\niface eno1 inet dhcp\n",
                              "#crowbar# auto eno1\n#crowbar# iface eno1 inet dhcp\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_files_of_others_lose_the_card_and_are_as_they_were_when_it_is_given_back(case: str) -> None:
    path, text, left = CASES[case]
    links = {"eno1": Known(name="eno1", kind="", mac=MAC)}
    node = {path: text, "/etc/cloud/cloud.cfg": "users: []\n"}
    state = State(links=links, files=node)
    node = carried_out(state)
    if left is None:
        assert path not in node
    else:
        assert node[path] == (left or text)
    assert "/etc/cloud/cloud.cfg.d/99-crowbar-network.cfg" in node
    again = State(links=links, files=node, kept=json.loads(node[RECORD]))
    assert filing("ifupdown", LINKS, ["a"], again).done(again)
    node = carried_out(again, unbound=True)
    assert {one for one in node if one not in (RECORD, INTERFACES)} == {path, "/etc/cloud/cloud.cfg"}
    assert node[path] == text


def test_from_one_tool_to_another_nothing_of_the_first_is_left() -> None:
    links = {"eno1": Known(name="eno1", kind="", mac=MAC)}
    node = {INTERFACES: "auto eno1\niface eno1 inet dhcp\n"}
    for writer in ("ifupdown", "netplan", "networkd", "iproute2", "ifupdown"):
        kept = json.loads(node.get(RECORD, "{}"))
        made = filing(writer, LINKS, ["a"], State(links=links, files=node, kept=kept))
        node = {path: text for path, text in {**node, **made.files}.items() if path not in made.gone}
        assert {*node} - {RECORD, INTERFACES} == {*json.loads(node[RECORD])["files"]} == {*WRITERS.find(writer)(LINKS)}
        assert "#crowbar# iface eno1 inet dhcp" in node[INTERFACES]


def carried_out(state: State, *, unbound: bool = False) -> dict[str, str]:
    """The node's files afterwards, as ``node/keep.sh`` makes them."""
    made = filing("ifupdown", () if unbound else LINKS, [] if unbound else ["a"], state)
    node = dict(state.files)
    node |= {path: state.files[source] for path, source in made.copies.items()}
    node |= made.files
    return {path: text for path, text in node.items() if path not in made.gone}


def test_what_is_put_aside_lies_below_one_folder() -> None:
    assert aside_of("/etc/netplan/50-cloud-init.yaml") == f"{ASIDE}etc%netplan%50-cloud-init.yaml"
