"""What a conduit means on a machine, and why it means nothing."""

from __future__ import annotations

import pytest
from crowbar_network.conduits import InterfaceMap, Nic, clash, in_order, parse, resolve

from crowbar_core import BadInput


def nic(name: str, speed: int = 1000, path: str = "", **more: str) -> Nic:
    return Nic(name=name, mac=more.get("mac", f"52:54:00:00:00:{len(name):02x}"), path=path, speed=speed,
               driver=more.get("driver", "virtio_net"), altnames=tuple(more.get("altnames", "").split()))  # fmt: skip


MACHINE = (
    nic("eno1", 1_000, "0000:00:1c.0/0000:02:00.0", mac="52:54:00:aa:00:01", driver="igb", altnames="enp2s0"),
    nic("eno2", 1_000, "0000:00:1c.0/0000:02:00.1", mac="52:54:00:aa:00:02", driver="igb"),
    nic("ens1f0", 10_000, "0000:00:03.0/0000:05:00.0", mac="52:54:00:aa:00:03", driver="ixgbe"),
    nic("ens1f1", 10_000, "0000:00:03.0/0000:05:00.1", mac="52:54:00:aa:00:04", driver="ixgbe"),
    nic("ens2", 100_000, "0000:80:01.0/0000:81:00.0", mac="52:54:00:aa:00:05", driver="mlx5_core"),
    nic("old0", 100, "0000:00:1e.0/0000:09:00.0", mac="52:54:00:aa:00:06", driver="e100"),
    nic("odd0", 0, "0000:00:1f.6", mac="52:54:00:aa:00:07", driver="unknown"),
)


@pytest.mark.parametrize(
    "text, names",
    [
        ("1g1", "eno1"),
        ("1g2", "eno2"),
        ("1g1,1g2", "eno1 eno2"),
        ("10g2,10g1", "ens1f1 ens1f0"),
        ("100g1", "ens2"),
        ("100m1", "old0"),
        ("+1g1", "ens1f0"),
        ("+1g3", "eno1"),
        ("+1g1,+1g2,+1g3", "ens1f0 ens1f1 eno1"),
        ("+25g1", "ens2"),
        ("-1g1", "eno1"),
        ("-1g3", "old0"),
        ("-10g1", "ens1f0"),
        ("?1g1", "ens1f0"),
        ("?400g7", "ens2"),
        ("mac=52:54:00:AA:00:05", "ens2"),
        ("name=eno2", "eno2"),
        ("name=enp2s0", "eno1"),
        ("driver=ixgbe*2", "ens1f0 ens1f1"),
        ("driver=e100", "old0"),
        ("name=eno1,mac=52:54:00:aa:00:02", "eno1 eno2"),
        ("bmc", ""),
        (" 1G1 , 1g2 ", "eno1 eno2"),
    ],
)
def test_a_conduit_means_these_cards_of_a_machine(text: str, names: str) -> None:
    found = resolve(parse(text), in_order(MACHINE))
    assert not found.problem
    assert [one.name for one in found.nics] == names.split()


@pytest.mark.parametrize(
    "text, said",
    [
        (
            "1g3",
            "1g3 wants card 3 of just that speed, and there are 2: the machine has ens1f0 10g, ens1f1 10g",
        ),
        ("40g1", "40g1 wants card 1 of just that speed, and there is none: the machine has"),
        ("+100g2", "+100g2 wants card 2 so fast or faster, and there is 1:"),
        ("-10m1", "-10m1 wants card 1 so fast or slower, and there is none:"),
        ("?1g8", "?1g8 wants card 8 in all, and there are 7:"),
        ("driver=ixgbe", "driver=ixgbe must mean exactly 1, and there are 2 (ens1f0, ens1f1)."),
        ("driver=igb*3", "driver=igb*3 must mean exactly 3, and there are 2 (eno1, eno2)."),
        ("name=eth0", "name=eth0 must mean exactly 1, and there is none."),
        ("name=eno1,name=enp2s0", "name=enp2s0 means eno1, which another member means too."),
    ],
)
def test_why_a_conduit_means_nothing_on_a_machine(text: str, said: str) -> None:
    found = resolve(parse(text), in_order(MACHINE))
    assert not found.nics
    assert found.problem.startswith(said)


def test_a_machine_without_cards_says_so() -> None:
    assert resolve(parse("1g1"), ()).problem.endswith("the machine has no card at all.")


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "'' is no conduit"),
        ("1g", "'1g' is no conduit"),
        ("1g0", "'1g0' is no conduit"),
        ("1g1,", "'' is no conduit"),
        ("*1g1", "no conduit"),
        ("3g1", "There is no speed '3g'; there are 10m, 100m, 1g, 2.5g"),
        ("1g1,10g1", "are not all of one speed and sign, as '1g1' is"),
        ("1g1,+1g2", "are not all of one speed and sign"),
        ("1g1,1g1", "names '1g1' twice"),
        ("1g1,name=eno1", "names some cards by speed and others not"),
        ("bmc,1g1", "'bmc' is no conduit"),
        ("mac=52:54:00", "'52:54:00' is no MAC address"),
        ("name=eno1*2", "only driver=NAME*COUNT can mean several"),
        ("1g1,1g2,1g3,1g4,1g5,1g6,1g7,1g8,1g9", "means 9 cards; a team has at most 8"),
        ("driver=ixgbe*9", "means 9 cards"),
        ("1g1; reboot", "no conduit"),
    ],
)
def test_what_is_no_conduit_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(text)
    assert said in refused.value.detail
    assert refused.value.errors[0].pointer == "/conduit"


def test_cards_are_in_the_order_of_the_bus_as_numbers() -> None:
    cards = [nic("b", path="0000:0a:00.0"), nic("c", path="0000:9:00.0"), nic("eth10"), nic("eth9")]
    assert [one.name for one in in_order(cards)] == ["eth9", "eth10", "c", "b"]


def test_an_interface_map_orders_the_machines_that_it_is_for() -> None:
    maps = (
        InterfaceMap(pattern="PowerEdge R7*", order=("0000:80:01.0", "0000:00:1c.0")),
        InterfaceMap(pattern="*", order=("0000:00:1e.0",)),
    )
    dell = in_order(MACHINE, product="PowerEdge R740", maps=maps)
    assert [one.name for one in dell[:3]] == ["ens2", "eno1", "eno2"]
    assert in_order(MACHINE, product="ProLiant", maps=maps)[0].name == "old0"
    assert resolve(parse("?1g1"), dell).nics[0].name == "ens2"


def test_conduits_of_two_networks_are_equal_or_disjoint() -> None:
    one, two, three = (resolve(parse(text), in_order(MACHINE)).nics for text in ("1g1,1g2", "1g2,1g1", "+1g3"))
    assert clash(one, two) == ""
    assert clash(one, three) == "eno1"
    assert clash(three, resolve(parse("100g1"), in_order(MACHINE)).nics) == ""
