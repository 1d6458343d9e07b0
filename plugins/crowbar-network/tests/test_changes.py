"""From any configuration to any other, and back again: in a model of the kernel."""

from __future__ import annotations

import pytest
from crowbar_network.changes import missing, way
from crowbar_network.layers import Wanted, stack
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


@settings(max_examples=600, deadline=None)
@given(configurations(), configurations())
def test_every_way_leads_there_and_the_way_back_to_where_it_began(
    first: tuple[Wanted, ...], second: tuple[Wanted, ...]
) -> None:
    try:
        before, wanted = stack(first), stack(second)
    except BadInput:
        return  # nobody can have that
    kernel = Kernel(*CARDS)
    kernel.batch(way(kernel.state(), before).forward)
    began = kernel.state()
    assert missing(began, before) == []
    ours = [link.name for link in before]
    there = way(began, wanted, ours=ours)
    kernel.batch(there.forward)
    assert missing(kernel.state(), wanted) == []
    assert way(kernel.state(), wanted, ours=ours).forward == ()
    gone = {link.name for link in before} - {link.name for link in wanted} - set(CARDS)
    assert not gone & set(kernel.state().links)
    kernel.batch(there.backward, force=True)
    assert kernel.state() == began


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
