"""What an operator does with many nodes, and what lists tell, through the command line against a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.live import Live, live_server

NODES = ("node-10.ops.test", "node-2.ops.test", "web-1.ops.test")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_server(tmp_path_factory.mktemp("operators")) as served:
        yield served


@pytest.fixture(scope="module", autouse=True)
def _nodes(live: Live) -> None:
    for name in NODES:
        live.done("nodes", "create", name)
    for group, nodes in (("blue", NODES[:1]), ("red", NODES[1:])):
        live.done("groups", "create", group)
        live.done("groups", "add", group, *nodes)


def _listed(live: Live, *args: str) -> list[str]:
    return [row["name"] for row in live.json("nodes", "list", *args)]


def test_nodes_are_listed_as_people_count_with_groups_and_without_the_systems_own(live: Live) -> None:
    assert _listed(live) == ["node-2.ops.test", "node-10.ops.test", "web-1.ops.test"]
    assert set(_listed(live, "--system")) > set(NODES)
    title, *lines = live.done("nodes", "list").splitlines()
    assert "ADDRESSES" in title
    assert "GROUPS" in title
    assert "red" in lines[0].split()


def test_lists_are_filtered_by_groups_and_patterns_and_twice_means_either(live: Live) -> None:
    assert _listed(live, "--group", "red") == ["node-2.ops.test", "web-1.ops.test"]
    assert _listed(live, "--group", "red", "--group", "blue", "--match", "node-*") == [
        "node-2.ops.test",
        "node-10.ops.test",
    ]
    assert _listed(live, "--match", "web-?", "--match", "node-2") == ["node-2.ops.test", "web-1.ops.test"]
    assert _listed(live, "--where", "name=web-1.ops.test", "--where", "name=node-2.ops.test", "--sort", "-name") == [
        "web-1.ops.test",
        "node-2.ops.test",
    ]
    assert "no group green" in live.refused("nodes", "list", "--group", "green")
