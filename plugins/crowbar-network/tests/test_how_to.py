"""What the how-to says can be typed as it stands there, from its first line to its last."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import crowbar_jig_script
import crowbar_network

from crowbar_core.testing import FakeJig, Testbed

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to" / "networks.md"


def test_every_command_of_the_how_to_does_what_it_says_in_its_order() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", HOW_TO.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    assert len(lines) > 20
    with Testbed(crowbar_jig_script, crowbar_network, jigs={"network": FakeJig(), "script": FakeJig()}) as bed:
        for name in ("web1", "admin"):
            bed.add_node(f"{name}.rack2.example.com", admin=name == "admin")
        for line in lines:
            crowbar, *words = shlex.split(line)
            assert crowbar == "crowbar", line
            done = bed.cli(*words, *(["--yes"] if "destroy" in words else []))  # a person is asked
            assert done.exit_code == 0, f"{line}\n{done.stdout}{done.stderr}"
