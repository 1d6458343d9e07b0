"""What barclamps say survives being kept as JSON, as far as its annotation says what it was."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import pytest

from crowbar_core import NodeView, Role
from crowbar_core.domain.carrying import annotation, cannot_carry, from_json, to_json

if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True, kw_only=True)
class Range:
    first: str
    last: str = ""


@dataclass(frozen=True, kw_only=True)
class Net:
    name: str
    ranges: tuple[Range, ...] = ()
    vlan: int | None = None
    since: datetime | None = None
    colour: Colour = Colour.RED
    by_name: Mapping[str, Range] | None = None
    tags: frozenset[str] = frozenset()
    either: Range | str = ""
    odd: Unknown = None


NET = Net(
    name="admin", ranges=(Range(first="1"), Range(first="3", last="4")), vlan=7,
    since=datetime(2026, 1, 2, tzinfo=UTC), by_name={"a": Range(first="9")}, tags=frozenset({"x", "y"}),
    either=Range(first="2"), odd=[1],
)  # fmt: skip


@pytest.mark.parametrize(
    "kind, value",
    [
        (Net, NET),
        (Net, Net(name="bare", either="text")),
        (Sequence[Net], (NET,)),
        (list[Range], [Range(first="1")]),
        (Net | None, None),
        (dict[str, Range], {"a": Range(first="1")}),
        (tuple[int, str], (1, "a")),
        (NodeView, NodeView(id=3, name="n1.example.test", addresses=("10.0.0.1",), discovery={"a": [1]})),
        (Literal["a", "b"], "a"),
        (float, 1.5),
        (Any, {"a": [1, None, True]}),
    ],
)
def test_a_value_is_what_it_was_after_it_was_json(kind: Any, value: Any) -> None:
    assert cannot_carry(kind) == ""
    assert from_json(kind, json.loads(json.dumps(to_json(value)))) == value


def test_a_field_that_is_gone_is_left_out_and_one_that_is_new_has_its_default() -> None:
    assert from_json(Range, {"first": "1", "gone": 2}) == Range(first="1")
    with pytest.raises(TypeError, match="first"):
        from_json(Range, {"last": "1"})
    with pytest.raises(TypeError, match="Range cannot be made of str"):
        from_json(Range, "1")


@pytest.mark.parametrize(
    "value, said",
    [
        ({"a": {1: 2}}, r"it\.a has the key 1, which is no text"),
        ([1, math.nan], r"it\[1\] is nan"),
        ({"a": threading.Lock()}, r"it\.a is a lock, which has no form in JSON"),
        ("a\0b", "characters that cannot be kept"),
        ("\ud800", "characters that cannot be kept"),
        (2**70, "too large"),
    ],
)
def test_what_has_no_form_in_json_is_refused_with_its_place(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        to_json(value)


@pytest.mark.parametrize("kind", [threading.Thread, Sequence[threading.Thread], SimpleNamespace])
def test_an_annotation_that_cannot_be_made_again_is_named(kind: Any) -> None:
    assert "has no form in JSON" in cannot_carry(kind)


def test_an_annotation_in_text_is_read_with_the_names_of_its_module() -> None:
    assert annotation("Range | None", {"Range": Range}) == Range | None
    assert annotation("Nowhere", {}) is Any


def test_a_role_is_what_it_was() -> None:
    role = Role(name="a", requires=("b",), template={"x": 1}, timeout=3.0, implicit=True)
    assert from_json(Role, to_json(role)) == role
