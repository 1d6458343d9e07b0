"""For tests that need nodes with several network cards: a pytest fixture that holds a rack, one for each module.

    rack = rack_fixture(nodes=3, cards=2)

    def test_a_node_has_its_cards(rack: Lab) -> None: ...

Where User Mode Linux is missing, the tests fail and say what to install.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from crowbar_lab.lab import Lab


def rack_fixture(*, nodes: int, cards: int) -> Callable[..., Iterator[Lab]]:
    """A fixture to be bound to a name of the module: a lab with a kernel of its own, an admin node and ``nodes - 1``
    more, each with ``cards`` besides eth0. It is made by the first test that asks, and goes with the module."""

    @pytest.fixture(scope="module")
    def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
        with Lab.create(
            "rack", nodes=nodes, cards=cards, kernel="uml", state_dir=tmp_path_factory.mktemp("labs")
        ) as lab:
            yield lab

    return rack
