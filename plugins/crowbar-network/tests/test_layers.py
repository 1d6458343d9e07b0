"""The layers of a node's interfaces, and the files that each network tool reads: compared as whole text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from crowbar_network.filing import filing
from crowbar_network.layers import Wanted, stack
from crowbar_network.state import State
from crowbar_network.writers import WRITERS

from crowbar_core import BadInput, ConfigError

RENDERED = Path(__file__).parent / "rendered"
ADMIN = Wanted(
    network="admin", id=1, nics=("eno1", "eno2"), team_mode=1, addresses=("192.168.124.81/24", "fd00:1::81/64"),
    routers=(("192.168.124.1/24", 10),),
)  # fmt: skip
STORAGE = Wanted(
    network="storage", id=2, nics=("eno2", "eno1"), team_mode=1, vlan=100, bridge=True, mtu=9000,
    addresses=("10.1.0.81/24",), routers=(("10.1.0.1/24", 20),), pbr=True,
)  # fmt: skip
PUBLIC = Wanted(
    network="public", id=3, nics=("ens2",), bridge=True, addresses=("203.0.113.5/24", "2001:db8::5/64"),
    routers=(("203.0.113.1/24", 30), ("2001:db8::1/64", 30)),
)  # fmt: skip
FAST = Wanted(network="fast", id=4, nics=("ens3", "ens4"), team_mode=4, addresses=("10.4.0.81/24",))


def test_the_mtu_of_a_network_on_a_card_alone_is_the_cards() -> None:
    [card] = stack([Wanted(network="a", id=1, nics=("eth0",), mtu=9000, addresses=("10.0.0.1/24",))])
    assert card.mtu == 9000


@pytest.mark.parametrize("writer", ["ifupdown", "iproute2", "netplan", "networkd"])
def test_each_writer_makes_these_files_of_the_layers(writer: str) -> None:
    made = WRITERS.find(writer)(stack([ADMIN, STORAGE, PUBLIC, FAST]))
    whole = "".join(f"==> {path} <==\n{text}" for path, text in made.items())
    assert whole == (RENDERED / f"{writer}.txt").read_text(encoding="utf-8")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that brings writers of its own, while the test runs."""
    package = tmp_path / "crowbar_quux-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: crowbar-quux\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[crowbar_network.writers]\nquux = quux:write\nbroken = quux:nothing\nnetplan = quux:write\n"
    )
    (tmp_path / "quux.py").write_text("def write(links): return {'/etc/quux': ' '.join(one.name for one in links)}\n")
    monkeypatch.syspath_prepend(tmp_path)
    vars(WRITERS).pop("_installed", None)
    yield tmp_path
    vars(WRITERS).pop("_installed", None)


@pytest.mark.usefixtures("installed")
def test_a_package_can_bring_a_writer_of_its_own() -> None:
    assert WRITERS.names() == ["broken", "ifupdown", "iproute2", "netplan", "networkd", "quux"]
    links = stack([ADMIN])
    made = filing("quux", links, ["admin"], State(links={}))
    assert made.files["/etc/quux"] == " ".join(one.name for one in links)
    for name, fault in (
        ("broken", "quux:nothing"),
        ("netplan", "uninstall one"),
        ("wicked", "There is no writer wicked; there are broken, "),
    ):
        with pytest.raises(ConfigError, match=fault):
            WRITERS.find(name)


def test_addresses_are_on_the_topmost_layer_of_their_network() -> None:
    links = {link.name: link for link in stack([ADMIN, STORAGE, PUBLIC])}
    assert links["bond0"].addresses == ADMIN.addresses
    assert links["br-storage"].addresses == STORAGE.addresses
    assert links["bond0.100"].addresses == ()
    assert [links[name].master for name in ("eno1", "eno2", "bond0.100", "ens2")] == [
        "bond0", "bond0", "br-storage", "br-public",
    ]  # fmt: skip


def test_the_lowest_preference_gives_the_default_route_of_each_family() -> None:
    main = [route.via for link in stack([ADMIN, STORAGE, PUBLIC]) for route in link.routes if not route.table]
    assert sorted(main) == ["192.168.124.1", "2001:db8::1"]


def test_what_is_below_carries_the_longest_packets_of_what_is_above() -> None:
    links = {link.name: link.mtu for link in stack([ADMIN, STORAGE, PUBLIC])}
    assert [links[name] for name in ("eno1", "bond0", "bond0.100", "br-storage", "ens2")] == [9000, 9000, 9000, 9000, 0]


def test_a_bridge_over_what_another_network_uses_untagged_takes_its_addresses_along() -> None:
    plain = Wanted(network="a", id=1, nics=("eno1",), addresses=("10.0.0.1/24",))
    bridged = Wanted(network="b", id=2, nics=("eno1",), bridge=True, addresses=("10.0.1.1/24",))
    links = {link.name: link for link in stack([plain, bridged])}
    assert links["eno1"].addresses == ()
    assert links["br-b"].addresses == ("10.0.0.1/24", "10.0.1.1/24")


def test_names_are_never_longer_than_the_kernel_takes_and_differ() -> None:
    long = [
        Wanted(network=f"{'storage-of-rack-' * 3}{number}", id=number, nics=("enp129s0f1np1d3",), vlan=4000 + number,
               bridge=True)
        for number in range(1, 4)
    ]  # fmt: skip
    names = [link.name for link in stack(long)]
    assert len(set(names)) == len(names) == 7
    assert max(map(len, names)) <= 15


@pytest.mark.parametrize(
    "other, said",
    [
        (
            Wanted(network="b", id=2, nics=("eno2",)),
            "eno2 is in the conduits of networks admin (eno1, eno2) and b (eno2)",
        ),
        (Wanted(network="b", id=2, nics=("eno1", "eno2"), team_mode=4), "as a team of the modes 1 and 4"),
        (Wanted(network="b", id=2, nics=("ens3", "ens4")), "Network b has 2 cards, and is no team"),
    ],
)
def test_what_cannot_be_on_one_machine_names_both_networks(other: Wanted, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        stack([ADMIN, other])
    assert said in refused.value.detail


def test_two_networks_on_one_vlan_or_with_two_bridges_on_one_interface_are_refused() -> None:
    def tagged(name: str, number: int) -> Wanted:
        return Wanted(network=name, id=number, nics=("eno1",), vlan=7)

    with pytest.raises(BadInput, match="Networks a and b both want VLAN 7 on eno1"):
        stack([tagged("a", 1), tagged("b", 2)])
    with pytest.raises(BadInput, match="wants a bridge over eno1, which is in br-a already"):
        stack([Wanted(network=name, id=number, nics=("eno1",), bridge=True) for number, name in enumerate("ab", 1)])
