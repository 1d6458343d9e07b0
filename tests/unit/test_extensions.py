"""What other packages bring for a barclamp, and what is said of one that cannot be had."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crowbar_core import ConfigError, Extensions

SHELVES = Extensions("crowbar_larder.shelves", "shelf")
FAULTS = {
    "attic": "There is no shelf attic; there are broken, cellar, twice. Install the package that brings it, or name "
    "another.",
    "twice": "The shelf twice is brought by larder:one and larder:two: uninstall one of them.",
    "broken": "The shelf broken (larder:nothing) cannot be loaded: module 'larder' has no attribute 'nothing'.",
}


def install(directory: Path, package: str, *lines: str) -> None:
    made = directory / f"{package}-1.0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (made / "entry_points.txt").write_text("\n".join(["[crowbar_larder.shelves]", *lines, ""]))


def test_what_packages_bring_is_found_by_name_and_what_cannot_be_had_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobodys = Extensions("crowbar_larder.drawers", "drawer")
    with pytest.raises(ConfigError, match=re.escape("There is no drawer top; there are none.")):
        nobodys.find("top")
    (tmp_path / "larder.py").write_text("one = 1\ntwo = 2\n")
    install(tmp_path, "cold", "cellar = larder:one", "twice = larder:one", "broken = larder:nothing")
    install(tmp_path, "warm", "cellar = larder:one", "twice = larder:two")
    monkeypatch.syspath_prepend(tmp_path)
    assert SHELVES.names() == ["broken", "cellar", "twice"]
    assert SHELVES.find("cellar") == 1
    for name, said in FAULTS.items():
        with pytest.raises(ConfigError) as raised:
            SHELVES.find(name)
        assert raised.value.detail == said
