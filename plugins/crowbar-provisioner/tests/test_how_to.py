"""What the how-tos say can be typed as it stands there, in its order."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from .conftest import Site
from .light import Machine
from .test_installing import IMAGE, describe

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"
NAMES = ("d52-54-00-12-34-56.example.com", "d52-54-00-12-34-57.example.com", "node-1")
ASKED = ("install", "erase", "redeploy")
KEY = f"ssh-ed25519 {'A' * 68}"
ELSEWHERE = ("sledgehammer", "images", "converge", "add-tree", "erase-report", "burn-in-report", "wake", "sleep")
"""Makes what takes long, or tells of what has ended; other tests type these."""


def lines_of(page: str, section: str = "") -> list[str]:
    """The commands of its blocks."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    if section:
        text = re.split(r"^#+ ", text.partition(f"# {section}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    blocks = re.findall(r"^ *```(?:sh|console)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("crowbar ") and not set(shlex.split(line)) & set(ELSEWHERE)]


def in_quarantine(site: Site) -> Machine:
    machine = site.machine()
    machine.power_on()
    machine.name = machine.registered()["node"]
    machine.ask("POST", "/v1/alive", {"alive": True})
    return machine


@pytest.fixture
def image(site: Site) -> None:
    (site.root / "images" / "debian-12.raw").write_bytes(IMAGE)
    describe(site)


PAGES = [
    ("rack.md", "", False), ("provision.md", "The quarantine", False), ("oses.md", "Give an installer its tree", True),
    ("bmcs.md", "Machines that were discovered", True), ("erase.md", "", True), ("burn-in.md", "", True),
    ("power-save.md", "", True), ("provision.md", "Without the firmware's self-test", True),
]  # fmt: skip


@pytest.mark.parametrize("page, section, accepted", PAGES)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_every_command_does_what_it_says(site: Site, image: None, page: str, section: str, accepted: bool) -> None:
    machine = in_quarantine(site)
    if accepted:
        site.accept(machine.name)
        site.bed.anneal_until_quiet()
    lines = lines_of(page, section)
    assert lines
    for line in lines:
        for name in NAMES:
            line = line.replace(name, machine.name)
        words = shlex.split(line.replace("ssh-ed25519 AAAA…", KEY))[1:]
        asked = ["--yes"] if set(words) & set(ASKED) and "--plan" not in words else []
        done = site.bed.cli(*words, *asked, stdin="hush-hush" if "-" in words else None)
        assert done.exit_code == 0 or "already (deployment role" in done.stderr, f"{line}\n{done.stdout}{done.stderr}"
        site.bed.anneal_until_quiet()
    left = site.bed.cli("--format", "json", "attribs", "drafts", "--deployment", "system")
    assert (left.exit_code, json.loads(left.stdout)) == (0, []), "what it sets holds"
