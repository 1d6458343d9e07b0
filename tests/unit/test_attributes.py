"""Values in layers: merged deeply, unset, explained, checked, and their secrets kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowbar_core.barclamp import Attribute
from crowbar_core.domain.attributes import (
    MASK,
    MAX_DEPTH,
    SECRET,
    Layer,
    changed_attributes,
    check_schema,
    check_size,
    check_value,
    explain,
    leaves,
    lookup,
    masked,
    merge,
    place,
    remove,
    resolve,
    resolve_tree,
)
from crowbar_core.errors import BadInput

PORT = Attribute(name="port", map="web/port", default=80, schema={"type": "integer", "minimum": 1})
TREES = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=3),
    lambda below: st.dictionaries(st.sampled_from("abc"), st.one_of(st.integers(0, 3), below), max_size=3),
    max_leaves=8,
)
PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3)


def layer(source: str, data: dict[str, Any]) -> Layer:
    return Layer(source, f"{source} 1", data)


def test_objects_merge_deeply_and_anything_else_replaces() -> None:
    assert merge({"a": {"x": 1, "y": [1]}, "b": 1}, {"a": {"y": [2]}, "b": {"z": 1}}) == {
        "a": {"x": 1, "y": [2]}, "b": {"z": 1},
    }  # fmt: skip
    assert merge({"a": 1}, 7) == 7
    assert merge({"a": 1}, None) is None


def test_a_secret_is_one_value_and_not_an_object_to_merge_into() -> None:
    assert merge({"k": {SECRET: "old"}}, {"k": {SECRET: "new"}}) == {"k": {SECRET: "new"}}
    assert merge({"k": {"a": 1}}, {"k": {SECRET: "new"}}) == {"k": {SECRET: "new"}}
    assert merge({"k": {SECRET: "old"}}, {"k": {"a": 1}}) == {"k": {"a": 1}}


@given(low=TREES, high=TREES)
def test_merging_changes_neither_and_keeps_all_of_the_higher(low: dict[str, Any], high: dict[str, Any]) -> None:
    before = (repr(low), repr(high))
    both = merge(low, high)
    assert (repr(low), repr(high)) == before
    assert merge(both, high) == both
    for path, value in leaves(high):
        if value != {}:
            assert lookup(both, path.split("/")) == (True, value)


@given(tree=TREES, path=PATHS, value=st.integers())
def test_what_is_placed_is_found_and_what_is_removed_is_not(tree: dict[str, Any], path: list[str], value: int) -> None:
    placed = place(tree, path, value)
    assert lookup(placed, path) == (True, value)
    assert lookup(remove(placed, path), path) == (False, None)


def test_objects_that_are_left_empty_go_with_what_was_removed_from_them() -> None:
    assert remove({"a": {"b": {"c": 1}}, "x": 1}, ["a", "b", "c"]) == {"x": 1}
    assert remove({"a": {"b": {"c": 1}, "d": 1}}, ["a", "b", "c"]) == {"a": {"d": 1}}
    assert remove({"a": 1}, ["a", "b"]) == {"a": 1}


def test_the_default_is_lowest_and_the_last_layer_wins() -> None:
    low, high = layer("wall", {"web": {"port": 81}}), layer("user", {"web": {"port": 82}})
    assert resolve(PORT, []) == (True, 80)
    assert resolve(PORT, [low]) == (True, 81)
    assert resolve(PORT, [low, high]) == (True, 82)
    assert resolve(PORT, [low, layer("user", {})]) == (True, 81), "unset: the next source shows through"
    assert resolve(Attribute(name="x"), [low]) == (False, None)


def test_explain_says_who_wins_and_an_object_lets_what_is_below_show() -> None:
    options = Attribute(name="options", default={"a": 1})
    said = explain(
        options, [layer("wall", {"options": {"b": 2}}), layer("user", {}), layer("hint", {"options": {"b": 3}})]
    )
    assert [(one.layer.source, one.is_set, one.wins) for one in said] == [
        ("default", True, True), ("wall", True, True), ("user", False, False), ("hint", True, True),
    ]  # fmt: skip
    said = explain(PORT, [layer("wall", {"web": {"port": 81}}), layer("user", {"web": {"port": 82}})])
    assert [one.wins for one in said] == [False, False, True]


def test_only_declared_attributes_come_into_the_tree() -> None:
    assert resolve_tree([PORT], [layer("user", {"web": {"port": 8, "secret": 1}, "other": 2})]) == {"web": {"port": 8}}


def test_changed_names_the_attributes_whose_value_differs() -> None:
    other = Attribute(name="other")
    assert changed_attributes([PORT, other], {"web": {"port": 1}}, {"web": {"port": 2}, "free": 1}) == {"port"}
    assert changed_attributes([PORT, other], {}, {"other": None}) == {"other"}


def test_a_refused_value_says_where_which_rule_and_the_value() -> None:
    with pytest.raises(BadInput) as caught:
        check_value(PORT, 0)
    assert "port" in caught.value.detail
    assert "minimum: 1" in caught.value.detail
    assert "it is 0" in caught.value.detail
    deep = Attribute(name="servers", schema={"items": {"required": ["ip"]}})
    with pytest.raises(BadInput) as caught:
        check_value(deep, [{"ip": 1}, {}])
    assert caught.value.errors[0].pointer == "/1"


def test_a_refused_secret_is_not_repeated() -> None:
    with pytest.raises(BadInput) as caught:
        check_value(Attribute(name="password", schema={"minLength": 12}, secret=True), "hunter2")
    assert "hunter2" not in caught.value.detail
    assert all("hunter2" not in error.detail for error in caught.value.errors)


@pytest.mark.parametrize(
    "value,why",
    [
        ({SECRET: "x"}, "reserved"),
        ([{"deep": {SECRET: 1}}], "reserved"),
        ("x" * 1_000_001, "larger"),
    ],
)
def test_what_is_too_large_or_pretends_to_be_a_secret_is_refused(value: Any, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        check_size("x", value)


def test_what_is_too_deep_is_refused() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    with pytest.raises(BadInput, match="deep"):
        check_size("x", value)


@pytest.mark.parametrize(
    "attribute",
    [
        Attribute(name="x", schema={"type": "no such type"}),
        Attribute(name="x", schema={"$ref": "https://example.com/schema"}),
        Attribute(name="x", schema={"type": "integer"}, default="a"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_when_it_is_declared(attribute: Attribute) -> None:
    with pytest.raises(BadInput, match="x"):
        check_schema(attribute)


def test_masked_shows_no_secret_anywhere() -> None:
    tree = {"a": {SECRET: "c1"}, "list": [{SECRET: "c2"}, 1], "b": {"c": {SECRET: "c3"}}}
    assert masked(tree) == {"a": MASK, "list": [MASK, 1], "b": {"c": MASK}}


def test_leaves_are_what_provenance_is_kept_for() -> None:
    assert leaves({"a": {"b": 1, "c": {SECRET: "x"}}, "d": {}, "e": [1]}) == [
        ("a/b", 1), ("a/c", {SECRET: "x"}), ("d", {}), ("e", [1]),
    ]  # fmt: skip
