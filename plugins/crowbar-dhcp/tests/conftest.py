"""How far the driver's conformance is walked: a little, or as far as is asked."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--dhcp-changes",
        choices=("few", "full"),
        default="few",
        help="how many changes and kills a DHCP server survives",
    )
