"""What a file of declared state is compared by: secrets cannot be told, and stay."""

from __future__ import annotations

import pytest

from crowbar_core.cli.declared import Section, steps

HAMMERS = Section(
    noun="hammers", order=25, key=("node_id", "name"), fields=("priority", "config"), fixed=(),
    refers={"node_id": "nodes"}, shown={}, where={}, merges=("config",),
)  # fmt: skip
KEY: tuple[str, ...] = ("web1", "bmc")
HELD = {"address": "192.0.2.7", "password": "***", "port": 623}


def changed(config: dict[str, object], held: dict[str, object], section: Section = HAMMERS) -> list[str]:
    wanted: dict[tuple[str, ...], dict[str, object]] = {KEY: {"node": "web1", "name": "bmc", "config": config}}
    there: dict[tuple[str, ...], object] = {KEY: (7, {"node": "web1", "name": "bmc", "priority": 0, "config": held})}
    return [word for step in steps(section, wanted, there) for word in step.new]


@pytest.mark.parametrize("config", [{}, {"port": 623}, {"address": "192.0.2.7", "password": "told anew"}])
def test_a_hammer_that_is_as_the_file_says_is_left_alone_whatever_its_secret_is(config: dict[str, object]) -> None:
    assert changed(config, HELD) == []


@pytest.mark.parametrize("config", [{"port": 624}, {"address": "192.0.2.7", "user": "root"}])
def test_a_hammer_with_another_or_a_new_setting_is_changed(config: dict[str, object]) -> None:
    assert changed(config, HELD) == ["config"]


def test_a_tree_that_is_replaced_differs_where_a_key_is_missing_that_is_no_secret() -> None:
    whole = Section(**{**vars(HAMMERS), "merges": ()})
    assert changed({"address": "192.0.2.7", "port": 623}, HELD, whole) == []
    assert changed({"address": "192.0.2.7"}, HELD, whole) == ["config"]
