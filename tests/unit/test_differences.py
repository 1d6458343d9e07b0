"""What the audit trail keeps of a change."""

from __future__ import annotations

from datetime import date

from crowbar_core.domain.differences import LONGEST, MOST, differences


def test_what_differs_is_told_with_what_was() -> None:
    old = {"name": "a", "description": "x", "available": False}
    assert differences(old, {"name": "a", "available": True, "order": 3}) == {
        "available": {"old": False, "new": True},
        "order": {"old": None, "new": 3},
    }


def test_a_tree_is_told_path_by_path() -> None:
    old = {"hint": {"ntp": {"servers": ["a"], "port": 123}, "gone": 1}}
    new = {"hint": {"ntp": {"servers": ["b"], "port": 123}, "dns": {"domain": "x"}}}
    assert differences(old, new) == {
        "hint/ntp/servers": {"old": ["a"], "new": ["b"]},
        "hint/gone": {"old": 1, "new": None},
        "hint/dns/domain": {"old": None, "new": "x"},
    }


def test_a_secret_that_changes_is_told_and_not_shown() -> None:
    old, new = {"hint": {"key": {"$secret": "one"}}}, {"hint": {"key": {"$secret": "two"}}}
    assert differences(old, new) == {"hint/key": {"old": "***", "new": "***"}}
    assert differences(old, old) == {}
    assert differences({"value": {"$secret": "one"}}, {"value": None}) == {"value": {"old": "***", "new": None}}


def test_long_values_and_many_changes_are_cut() -> None:
    told = differences({"x": "a" * 5000}, {"x": "b"})
    assert len(str(told["x"]["old"])) < LONGEST + 40
    many = differences({"tree": {}}, {"tree": {f"k{number}": number for number in range(MOST + 9)}})
    assert len(many) == MOST + 1
    assert "..." in many


def test_what_json_does_not_know_is_told_as_text() -> None:
    told = differences({"until": date(2026, 1, 31)}, {"until": date(2027, 1, 31)})
    assert told == {"until": {"old": "2026-01-31", "new": "2027-01-31"}}
