"""Every way to stack layers, for real: bonds, VLANs and bridges of nodes at a switch, each changed into the next.

All ways stand on the node at once, each on a pair of cards of its own, and each pair goes from one to the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from crowbar_lab.lab import Lab
from crowbar_lab.testing import rack_fixture

from .at_switch import (
    NODE,
    PAIRS,
    STACKS,
    VLANS,
    Site,
    answer_in_vlans,
    answering,
    cards_of,
    eventually,
    network,
    set_ports,
    site_of,
    view_of,
    vlan_of,
)

pytestmark = pytest.mark.lab

rack = rack_fixture(nodes=2, cards=2 * len(STACKS))
ROUNDS = [(bridge, families) for bridge in ("", "bridge") for families in ("4", "6", "46")]


@pytest.fixture(scope="module")
def site(rack: Lab) -> Iterator[Site]:
    answer_in_vlans(rack)
    yield from site_of(rack, view_of(rack), keep_within=60)


@pytest.mark.parametrize("bridge, families", ROUNDS)
def test_traffic_passes(rack: Lab, site: Site, bridge: str, families: str) -> None:
    turn = ROUNDS.index((bridge, families))
    there = {(pair + turn) % len(STACKS): stacked for pair, stacked in enumerate(STACKS)}
    for pair, stacked in there.items():
        set_ports(rack, stacked, pair)
    wanted = {pair: network(stacked, bridge, families, pair, active=True) for pair, stacked in there.items()}
    shown = site.configure(*(wanted[pair] for pair in PAIRS)).wall["network"]["current-config"]
    here = {pair: vlan_of(stacked, pair) for pair, stacked in there.items()}
    everywhere = [*(f"10.{one}.0.1" for one in VLANS), *(f"fd00:{one}::1" for one in VLANS)]
    expected = {text.partition("/")[0] for one in wanted.values() for text in one["addresses"]}
    eventually(lambda: answering(rack, everywhere) == expected)

    learnt = rack.run_in_switch(["bridge", "fdb", "show", "br", "sw0", "dynamic"], check=True).stdout
    bonds, names = itertools.count(), set()
    for pair in PAIRS:
        assert f"vlan {here[pair]} " in learnt, learnt
        base = cards_of(pair)[0]
        if wanted[pair]["team_mode"] is not None:
            names.add(base := f"bond{next(bonds)}")
        names |= {f"{base}.{here[pair]}"} if wanted[pair]["vlan"] else set()
        names |= {f"br-{wanted[pair]['name']}"} if bridge else set()
    assert {one["name"] for one in shown if one["kind"] != "nic"} == names

    bundled = [cards_of(pair) for pair in PAIRS if wanted[pair]["team_mode"] is not None]
    for lost in (0, 1):  # without the second, the first must have come back
        for cards in bundled:
            rack.cable(NODE, cards[lost], up=False)
        eventually(lambda: answering(rack, expected) == expected)
        for cards in bundled:
            rack.cable(NODE, cards[lost], up=True)
