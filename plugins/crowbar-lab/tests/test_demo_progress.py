"""What the demo tells of machines that are being installed, of their timelines."""

from __future__ import annotations

import pytest
from crowbar_lab.demo_progress import news


@pytest.mark.parametrize(
    "what, detail, told",
    [
        ("install: begins", "debian-12 on vda", ["begins: debian-12 on vda"]),
        ("boots", "debian-12-install, bios, from 10.0.0.1", ["boots: debian-12-install, bios, from 10.0.0.1"]),
        ("install: image begun", "", ["image begun"]),
        ("install: image done", "", []),
        ("install: image failed", "the wire broke", ["image failed: the wire broke"]),
        ("install: installed done", "", ["installed done"]),
        ("install: restarts", "", ["restarts"]),
        ("install: done", "it is alive", ["done: it is alive"]),
        ("registered", "from 10.0.0.1", []),
        ("is up", "", []),
    ],
)
def test_a_step_is_told_as_it_begins_and_how_it_ends(what: str, detail: str, told: list[str]) -> None:
    assert news([{"at": "", "what": what, "detail": detail}]) == told
