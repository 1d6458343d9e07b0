"""What is said of a change that was taken back."""

from __future__ import annotations

from crowbar_network.state import State
from crowbar_network.verdict import NO_TIME, NO_WAY_IN, Verdict


def test_who_could_log_in_does_not_say_that_nobody_could() -> None:
    verdict = Verdict()
    assert verdict.first == NO_WAY_IN
    verdict.saw(State(links={}))
    assert verdict.first == NO_TIME
    verdict.found("eth1 has no carrier", now=1.0)
    verdict.saw(State(links={}))
    assert verdict.first == "eth1 has no carrier"


def test_a_fault_stands_when_it_was_found_three_times_in_a_row_for_as_long_as_patience_says() -> None:
    verdict = Verdict()
    for now in (0.0, 1.0, 2.0):
        verdict.found("there is no route", now=now)
        assert not verdict.stands(3, now=now)
    assert verdict.stands(3, now=3.0)
    assert not verdict.stands(0, now=100.0)
    verdict.found("eth1 has no carrier", now=4.0)
    assert not verdict.stands(3, now=60.0)
    verdict.found("eth1 has no carrier", now=60.0)
    verdict.found("eth1 has no carrier", now=61.0)
    assert verdict.stands(3, now=61.0)
