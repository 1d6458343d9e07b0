"""What is said of a change that was taken back."""

from __future__ import annotations

from typing import Any

import pytest
from crowbar_network.layers import Link
from crowbar_network.state import State
from crowbar_network.verdict import AS_BEFORE, NO_TIME, NO_WAY_IN, Earlier, Verdict, unanswered
from crowbar_network.wanted import Config


def test_who_could_log_in_does_not_say_that_nobody_could() -> None:
    verdict = Verdict(late=60.0)
    assert verdict.first == NO_WAY_IN
    verdict.saw(State(links={}))
    assert verdict.first == NO_TIME
    verdict.found("eth1 has no carrier", now=1.0)
    verdict.saw(State(links={}))
    assert verdict.first == "eth1 has no carrier"


def test_a_change_is_over_when_a_fault_was_found_three_times_in_a_row_for_as_long_as_patience_says() -> None:
    verdict = Verdict(late=200.0)
    for now in (0.0, 1.0, 2.0):
        verdict.found("there is no route", now=now)
        assert not verdict.is_over(3, now=now)
    assert verdict.is_over(3, now=3.0)
    assert not verdict.is_over(0, now=100.0)
    verdict.found("eth1 has no carrier", now=4.0)
    assert not verdict.is_over(3, now=60.0)
    verdict.found("eth1 has no carrier", now=60.0)
    verdict.found("eth1 has no carrier", now=61.0)
    assert verdict.is_over(3, now=61.0)


def test_a_node_is_slow_when_nothing_is_wrong_and_the_rest_does_not_end_in_time() -> None:
    verdict = Verdict(late=8.0)
    assert (verdict.lacks(now=6.9), verdict.lacks(now=7.5)) == (0.0, 0.5)
    verdict.looking = 1.5
    assert (verdict.lacks(now=2.0), verdict.lacks(now=3.0)) == (0.0, 0.5)
    verdict.found("bond0 has no partner", now=5.0, passing=True)
    assert not verdict.lacks(now=5.0)
    verdict.has_passed()
    assert verdict.first == NO_TIME
    assert verdict.lacks(now=5.0) == 2.5
    verdict.longer = 2.5
    assert not verdict.lacks(now=5.0)
    verdict.found(DEAD, now=5.0)
    verdict.has_passed()
    assert verdict.first == DEAD
    assert not verdict.lacks(now=9.9)


def test_what_is_found_wrong_with_a_slow_node_is_not_waited_for_beyond_the_limit() -> None:
    verdict = Verdict(late=8.0)
    assert (verdict.is_over(0, now=7.9), verdict.is_over(0, now=8.0)) == (False, True)
    verdict.longer = 4.0
    assert (verdict.is_over(0, now=11.9), verdict.is_over(0, now=12.0)) == (False, True)
    verdict.found("duplicate address detection has not ended", now=6.0, passing=True)
    assert (verdict.is_over(0, now=11.9), verdict.is_over(0, now=12.0)) == (False, True)
    verdict.found(DEAD, now=7.0)
    assert (verdict.is_over(0, now=7.9), verdict.is_over(0, now=8.0)) == (False, True)


def asking(routers: list[Any], peers: list[str]) -> Config:
    return Config.of({
        "name": "a", "id": 1, "category": "data", "conduit": "1g1", "addresses": ["10.0.0.2/24"], "routers": routers,
        "peers": peers, "team_mode": None, "vlan": None, "bridge": False, "mtu": 0, "pbr": False, "active": False,
    })  # fmt: skip


ROUTER, PEER = "10.0.0.1", "10.0.0.3"
DEAD = "router 10.0.0.1 of network a does not answer on eth1"
SILENT = "none of the nodes 10.0.0.3 of network a answers on eth1"


@pytest.mark.parametrize(
    "routers, peers, answers, problem, odd",
    [
        ([(ROUTER, 1)], [PEER], {ROUTER: "yes", PEER: "yes"}, "", ""),
        ([(ROUTER, 1)], [PEER], {ROUTER: "no", PEER: "yes"}, DEAD, ""),
        ([(ROUTER, 1)], [PEER], {ROUTER: "yes", PEER: "no"}, "", SILENT),
        ([], [PEER], {PEER: "no"}, SILENT, ""),
        ([], [], {}, "", "network a has no router and no other node with IPv4 to ask"),
    ],
)  # fmt: skip
def test_routers_must_answer_and_other_nodes_where_there_is_none(
    routers: list[Any], peers: list[str], answers: dict[str, str], problem: str, odd: str
) -> None:
    said = {(where, size): word for where, word in answers.items() for size in ("0", "1472")}
    config = asking(routers, peers)
    near: list[str] = []
    assert unanswered(config, said, Link(name="eth1", kind="nic"), near) == problem
    assert near == ([odd] if odd else [])
    if PEER in answers and problem == odd == "":
        said[ROUTER, "1472"] = said[PEER, "1472"] = "no"
        assert "full size" in unanswered(config, said, Link(name="eth1", kind="nic"), near)


@pytest.mark.parametrize(
    "routers, before, now, odd",
    [
        ([(ROUTER, 1)], "no no", "no no", [DEAD]),
        ([], "no no", "no no", [SILENT]),
        ([(ROUTER, 1)], "yes no", "yes no", ["packets of the full size do not get through eth1 to 10.0.0.1, 10.0.0.3"]),
        ([(ROUTER, 1)], "yes yes", "no no", DEAD),
        ([(ROUTER, 1)], "yes yes", "yes no", "packets of the full size"),
        ([(ROUTER, 1)], "yes no", "no no", DEAD),
        ([], "yes yes", "no no", SILENT),
    ],
)  # fmt: skip
def test_what_was_so_before_with_another_network_is_told_and_only_what_is_worse_leads_back(
    routers: list[Any], before: str, now: str, odd: str | list[str]
) -> None:
    def answers(words: str) -> dict[tuple[str, str], str]:
        return {(where, size): word for where in (ROUTER, PEER)
                for size, word in zip(("0", "1472"), words.split(), strict=True)}  # fmt: skip

    config, link = asking(routers, [PEER]), Link(name="eth1", kind="nic")
    near: list[str] = []
    said = unanswered(config, answers(now), link, near, Earlier(network="b", said=answers(before)))
    if isinstance(odd, str):
        assert odd in said
    else:
        assert said == ""
        assert [one for one in near if one.removeprefix(AS_BEFORE) in odd] != []
    # Of the network that is changed itself, nothing is excused.
    assert bool(unanswered(config, answers(now), link, [], Earlier(network="a", said=answers(before))))


def test_an_interface_of_another_network_that_was_wrong_before_leads_nothing_back() -> None:
    verdict = Verdict(late=60.0, earlier=Earlier(network="b", faults=frozenset({"eth2 has no carrier"})))
    assert verdict.not_excused(["eth2 has no carrier", "eth3 has no carrier", "eth4 is down"]) == "eth3 has no carrier"
    assert verdict.near == ["as before the change: eth2 has no carrier"]
    assert verdict.not_excused(["eth2 has no carrier"]) == ""
