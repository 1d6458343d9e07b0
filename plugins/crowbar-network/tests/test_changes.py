"""From any configuration to any other, and back again: in a model of the kernel."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from crowbar_network.changes import faults, missing, way, with_left
from crowbar_network.filing import RECORD, filing
from crowbar_network.layers import Link, Wanted, stack, standing_on
from crowbar_network.state import Address, Known, State
from hypothesis import given, settings
from hypothesis import strategies as st

from crowbar_core import BadInput

from .kernel import Kernel

CARDS = ("eth0", "eth1", "eth2")


@st.composite
def configurations(draw: st.DrawFn) -> tuple[Wanted, ...]:
    """Up to three networks on up to three cards, as conduits allow them."""
    bases = draw(st.sampled_from([[("eth0",), ("eth1",), ("eth2",)], [("eth0", "eth1"), ("eth2",)], [CARDS]]))
    mode = draw(st.integers(0, 6))
    made = []
    for number in range(1, draw(st.integers(0, 3)) + 1):
        nics = draw(st.sampled_from(bases))
        families = draw(st.sampled_from(["4", "6", "46"]))
        third = draw(st.integers(0, 2))
        addresses = [f"10.{number}.0.{third + 2}/24"] if "4" in families else []
        addresses += [f"fd00:{number}::{third + 2}/64"] if "6" in families else []
        routers = [(f"10.{number}.0.1", draw(st.integers(1, 9)))] if "4" in families and draw(st.booleans()) else []
        routers += [(f"fd00:{number}::1", draw(st.integers(1, 9)))] if "6" in families and draw(st.booleans()) else []
        made.append(Wanted(
            network=f"n{number}", id=number, nics=nics, addresses=tuple(addresses), routers=tuple(routers),
            team_mode=mode if len(nics) > 1 else None, vlan=draw(st.sampled_from([None, 100 + number])),
            bridge=draw(st.booleans()), mtu=draw(st.sampled_from([0, 1400, 9000])), pbr=draw(st.booleans()),
        ))  # fmt: skip
    return tuple(made)


FOREIGN = (
    "addr replace 10.99.0.1/24 dev eth0", "route replace 10.98.0.0/24 dev eth0",
    "route replace 10.97.0.0/24 dev eth0 table 1001", "rule add from 10.9.9.9 lookup 1001 priority 1000",
    "rule add from 10.9.9.9 lookup 7 priority 500", "link set eth2 down", "link set eth2 master bond0",
    "link set eth1 mtu 1300",
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(configurations(), configurations(), st.sets(st.sampled_from(FOREIGN)))
def test_every_way_leads_there_and_the_way_back_to_where_it_began(
    first: tuple[Wanted, ...], second: tuple[Wanted, ...], foreign: set[str]
) -> None:
    try:
        before, wanted = stack(first), stack(second)
    except BadInput:
        return  # nobody can have that
    kernel = Kernel(*CARDS)
    kernel.batch(way(kernel.state(), before).forward)
    began = kernel.state()
    assert missing(began, before) == []
    for line in FOREIGN:
        if line in foreign:
            kernel.batch([line], force=True)
    began = kernel.state()
    # The same is seen by what tells it and by what mends it.
    assert bool(missing(began, before)) == bool(way(began, before).forward)
    ours = [link.name for link in before]
    there = way(began, wanted, ours=ours)
    kernel.batch(there.forward)
    assert missing(kernel.state(), wanted) == []
    assert way(kernel.state(), wanted, ours=ours).forward == ()
    gone = {link.name for link in before} - {link.name for link in wanted} - set(CARDS)
    assert not gone & set(kernel.state().links)
    kernel.batch(there.backward, force=True)
    assert kernel.state() == began


BONDED = Wanted(
    network="a", id=1, nics=("eth0", "eth1"), team_mode=1, addresses=("10.9.0.5/24",), routers=(("10.9.0.1", 1),),
    pbr=True,
)  # fmt: skip


@pytest.mark.parametrize(
    "line, said, mended",
    [
        ("route replace default via 10.9.0.7 dev bond0 table 7",
         "there is a route to default in table 7 by bond0 via 10.9.0.7, which is not wanted",
         "route del default via 10.9.0.7 dev bond0 table 7"),
        ("rule add from 10.9.0.6 lookup 1001 priority 1000",
         "there is a rule for 10.9.0.6 and table 1001, which is not wanted",
         "rule del from 10.9.0.6 lookup 1001 priority 1000"),
        ("link set eth2 master bond0", "eth2 is part of bond0, and should not be", "link set eth2 nomaster"),
    ],
)  # fmt: skip
def test_what_somebody_added_to_a_network_is_told_and_taken_away(line: str, said: str, mended: str) -> None:
    kernel, links = Kernel(*CARDS), stack([BONDED])
    kernel.batch(way(kernel.state(), links).forward)
    kernel.batch(["link set eth2 down", line])
    assert [(one.said, one.link) for one in faults(kernel.state(), links)] == [(said, "bond0")]
    there = way(kernel.state(), links).forward
    assert mended in there
    kernel.batch(there)
    assert faults(kernel.state(), links) == []


def test_what_is_wrong_with_a_link_is_wrong_for_all_networks_that_stand_on_it_and_for_no_other() -> None:
    shared = replace(BONDED, network="b", id=2, vlan=7, bridge=True, addresses=("10.8.0.5/24",), routers=())
    alone = Wanted(network="c", id=3, nics=("eth2",), addresses=("10.7.0.5/24",))
    assert {name: set(found) for name, found in standing_on(stack([BONDED, shared, alone])).items()} == {
        "eth0": {"a", "b"}, "eth1": {"a", "b"}, "bond0": {"a", "b"}, "bond0.7": {"b"}, "br-b": {"b"}, "eth2": {"c"},
    }  # fmt: skip


def test_what_has_nothing_to_do_with_what_differs_is_not_touched() -> None:
    kernel, bonded = Kernel(*CARDS), replace(BONDED, bridge=True, vlan=7)
    alone = Wanted(network="c", id=3, nics=("eth2",), addresses=("10.7.0.5/24",))
    kernel.batch(way(kernel.state(), stack([bonded, alone])).forward)
    there = way(kernel.state(), stack([bonded, replace(alone, addresses=("10.7.0.6/24",), vlan=9)]))
    assert there.touched == ("eth2", "eth2.9")
    assert not [line for line in (*there.forward, *there.backward) if "bond0" in line or "eth0" in line]
    beside = replace(bonded, network="d", id=4, vlan=8, bridge=False, addresses=("10.6.0.5/24",), pbr=False)
    touched = way(kernel.state(), stack([bonded, alone, beside])).touched
    assert {"bond0.8", "bond0.7", "br-a", "bond0", "eth0", "eth1"} == {*touched}, "they stand on one bond"


def test_routes_that_a_program_learns_and_what_is_on_a_bridge_besides_are_left_alone() -> None:
    kernel, links = Kernel(*CARDS), stack([replace(BONDED, bridge=True)])
    kernel.batch(way(kernel.state(), links).forward)
    kernel.batch(["link set eth2 master br-a", "route replace 10.3.0.0/16 via 10.9.0.8 dev br-a"])
    state = kernel.state()
    learned = tuple(replace(one, others=True) if one.to == "10.3.0.0/16" else one for one in state.routes)
    state = replace(state, routes=learned)
    assert (missing(state, links), way(state, links).forward) == ([], ())


def test_an_mtu_that_is_wanted_no_more_is_again_what_it_was() -> None:
    def state(kept: Mapping[str, Any]) -> State:
        return replace(kernel.state(), kept=kept)

    def record(links: Sequence[Link], kept: Mapping[str, Any]) -> Any:
        return json.loads(filing("iproute2", links, ["a"], state(kept)).files[RECORD])

    kernel = Kernel(*CARDS)
    kernel.batch(["link set eth1 mtu 1400"])
    wanted, plain = (stack([replace(BONDED, mtu=mtu, vlan=7)]) for mtu in (9000, 0))
    kept = record(wanted, {})
    assert kept["mtus"] == {"eth0": 1500, "eth1": 1400, "bond0": 1500, "bond0.7": 1500}
    kernel.batch(way(kernel.state(), wanted).forward)
    assert record(wanted, kept)["mtus"] == kept["mtus"]
    now = with_left(state(kept), plain, kept["links"])
    assert {"eth0 has the MTU 9000 and not 1500", "eth1 has the MTU 9000 and not 1400"} < {*missing(state(kept), now)}
    kernel.batch(way(state(kept), plain, ours=kept["links"]).forward)
    assert missing(state(kept), now) == []
    assert [kernel.links[name].mtu for name in ("eth0", "eth1", "bond0", "bond0.7")] == [1500, 1400, 1400, 1400]
    assert record(plain, kept)["mtus"] == {}
    assert way(state({**kept, "mtus": {}}), plain, ours=kept["links"]).forward == ()
    # An earlier version has left no word of it; and a card that no network has any more is left as it was, too.
    assert record(wanted, {"links": ["eth1"]})["mtus"]["eth1"] == 1500
    kernel.batch(way(kernel.state(), wanted).forward)
    kernel.batch(way(state(kept), [], ours=kept["links"]).forward)
    assert kernel.links["eth1"].mtu == 1400


@pytest.mark.parametrize("broken", range(40))
def test_a_way_that_breaks_off_anywhere_leads_back_as_well(broken: int) -> None:
    kernel = Kernel(*CARDS)
    kernel.batch(["addr replace 10.9.0.5/24 dev eth0", "route replace default via 10.9.0.1 dev eth0"])
    began = kernel.state()
    there = way(began, stack([
        Wanted(network="a", id=1, nics=("eth0", "eth1"), team_mode=4, bridge=True, addresses=("10.9.0.5/24",),
               routers=(("10.9.0.1", 1),)),
        Wanted(network="b", id=2, nics=("eth0", "eth1"), team_mode=4, vlan=7, mtu=1400, addresses=("fd00:2::5/64",),
               pbr=True),
    ]))  # fmt: skip
    kernel.batch(there.forward[:broken])
    kernel.batch(there.backward, force=True)
    assert kernel.state() == began


def test_what_is_not_crowbars_is_left_alone() -> None:
    kernel = Kernel(*CARDS)
    kernel.batch(
        ["link add name docker0 type bridge stp_state 0 forward_delay 0", "addr replace 172.17.0.1/16 dev docker0"]
    )
    kernel.batch(["addr replace 10.7.0.1/24 dev eth2"])
    there = way(
        kernel.state(), stack([Wanted(network="a", id=1, nics=("eth0",), bridge=True, addresses=("10.9.0.5/24",))])
    )
    assert not any("docker0" in line or "eth2" in line for line in (*there.forward, *there.backward))


def test_an_address_that_a_client_of_dhcp_gave_without_a_route_is_given_anew_and_given_back_as_it_was() -> None:
    bare = Address(text="10.9.0.5/24", lifetime=600, bare=True, label="eth0")
    known = Known(name="eth0", kind="", mtu=1500, up=True, carrier=True, addresses=(bare,))
    there = way(
        State(links={"eth0": known}), stack([Wanted(network="a", id=1, nics=("eth0",), addresses=(bare.text,))])
    )
    assert there.forward == (
        "addr del 10.9.0.5/24 dev eth0", "link set eth0 up", "addr replace 10.9.0.5/24 dev eth0 brd +",
    )  # fmt: skip
    again = "addr replace 10.9.0.5/24 brd + noprefixroute valid_lft 600 preferred_lft 600 dev eth0"
    assert [line for line in there.backward if line.startswith("addr ")] == ["addr del 10.9.0.5/24 dev eth0", again]
