"""The hammer's config is checked before anything is done with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from crowbar_lab.errors import LabNotFound
from crowbar_lab.hammer import LabHammer

from crowbar_core import BadInput, Json


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"lab": "x"},
        {"lab": "x", "node": 7},
        {"lab": "", "node": "n"},
        {"lab": "x", "node": "n", "state_dir": 1},
        {"lab": "x", "node": "n", "password": "p"},
    ],
)
def test_a_config_that_names_no_node_is_refused(config: dict[str, Json]) -> None:
    with pytest.raises(BadInput, match="The hammer lab"):
        LabHammer(config)


def test_a_lab_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabNotFound, match="There is no lab gone"):
        LabHammer({"lab": "gone", "node": "node-1.lab.test", "state_dir": str(tmp_path)}).perform("status")
