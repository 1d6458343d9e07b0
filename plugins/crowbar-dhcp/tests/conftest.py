"""How far the driver's conformance is walked: a little, or as far as is asked; and a lab, one for each module."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from crowbar_lab.lab import Lab

from .site import second_card


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--dhcp-changes",
        choices=("few", "full"),
        default="few",
        help="how many changes and kills a DHCP server survives",
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two nodes, of which the last has a card more."""
    with Lab.create("dhcp", nodes=2, state_dir=tmp_path_factory.mktemp("lab"), owner=os.getpid()) as lab:
        second_card(lab, lab.nodes[-1].name)
        yield lab
