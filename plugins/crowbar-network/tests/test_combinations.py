"""Every way to stack layers, for real: bonds, VLANs and bridges of nodes at a switch, each changed into the next.

All ways stand on the node at once, each on a pair of cards of its own, and each pair goes from one to the next.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest
from crowbar_lab.lab import Lab
from crowbar_lab.testing import rack_fixture

from crowbar_core.testing import wait_until

from .at_switch import (
    MODES,
    NODE,
    PAIRS,
    STACKS,
    VLANS,
    Site,
    answer_in_vlans,
    answering,
    cards_of,
    network,
    pinged,
    set_ports,
    site_of,
    view_of,
    vlan_of,
)

pytestmark = pytest.mark.lab

rack = rack_fixture(nodes=2, cards=2 * len(STACKS))
MOST_LOST = 1.5
"""Seconds without an answer after a cable was pulled. A bond looks at its cards every 0.1 s; then both ends, on one
processor that others have too, tell each other. One of 802.3ad that waited for LACP alone would take 3.
"""
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
    wait_until(lambda: answering(rack, everywhere) == expected)

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

    bundled = [pair for pair in PAIRS if wanted[pair]["team_mode"] is not None]
    at_bonds = [text.partition("/")[0] for pair in bundled for text in wanted[pair]["addresses"]]
    partners = sum(wanted[pair]["team_mode"] == MODES["802.3ad"] for pair in bundled)
    for lost in (0, 1):  # without the second, the first must have come back
        wait_until(lambda: whole(rack, partners))
        with pinged(rack, at_bonds) as silent:
            for pair in bundled:
                rack.cable(NODE, cards_of(pair)[lost], up=False)
            wait_until(lambda: answering(rack, expected) == expected)
        print({address: round(seconds, 2) for address, seconds in silent.items()})
        assert max(silent.values()) <= MOST_LOST, silent
        for pair in bundled:
            rack.cable(NODE, cards_of(pair)[lost], up=True)


def whole(rack: Lab, partners: int) -> bool:
    """Whether all cards of all bonds of the node are in use again, those of 802.3ad at both ends."""
    show = ["ip", "-d", "-j", "link", "show"]
    ends = (rack.console(NODE, show, check=True).stdout, rack.run_in_switch(show, check=True).stdout)
    for said in ends:
        infos = [one["linkinfo"] for one in json.loads(said) if "linkinfo" in one]
        members = [one["info_slave_data"]["mii_status"] for one in infos if one.get("info_slave_kind") == "bond"]
        ports = [one["info_data"].get("ad_info", {}).get("num_ports") for one in infos
                 if one.get("info_kind") == "bond" and one["info_data"]["mode"] == "802.3ad"]  # fmt: skip
        if {*members} != {"UP"} or ports != [2] * partners:
            print(members, ports)
            return False
    return True
