"""How much the drivers have to bear: a little, or as much as is asked."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--dns-changes", type=int, default=20, help="how many random changes each DNS driver is told of")
    parser.addoption("--dns-kills", type=int, default=4, help="how often it, or its server, is killed meanwhile")
