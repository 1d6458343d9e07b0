"""How often interfaces are broken on purpose: once of each kind, or as often as is asked."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--broken", type=int, default=1, help="how many broken changes of each kind a node must survive")
    parser.addoption("--keep-within", type=int, default=8, help="seconds after which a whole machine leads back")
