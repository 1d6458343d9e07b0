"""Addresses in their one written form, and which of them can be a machine's own."""

from __future__ import annotations

import pytest

from crowbar_core.domain.addresses import parse_own_interface


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.1/24", "10.0.0.0/31", "10.0.0.7/32", "fd00::1/64", "fd00::/127"])
def test_a_machine_can_have_this(text: str) -> None:
    assert parse_own_interface(text) == text


@pytest.mark.parametrize(
    "text, why",
    [
        ("10.0.0.0/24", "is the address of the subnet 10.0.0.0/24 itself"),
        ("10.0.0.255/24", "is the broadcast address of 10.0.0.0/24"),
        ("10.0.0.1/0", "is in no subnet: write its prefix, as 10.0.0.1/24"),
        ("fd00::1/0", "write its prefix, as fd00::1/64"),
        ("010.0.0.1", "have no leading zeros, which some read as octal; write 192.168.124.81"),
        ("10.0.00.1/24", "have no leading zeros"),
        ("10.0.0.1/33", "This is no IPv4 or IPv6 address"),
        ("10.0.0.1%eth0", "without a zone"),
    ],
)
def test_a_machine_cannot_have_this(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_own_interface(text)
