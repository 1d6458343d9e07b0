"""What the how-to tells people to enter at a server of theirs is what machines should be told."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import crowbar_dhcp
import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_provisioner.answering import of_host

from crowbar_core.testing import FakeJig, Testbed

HOW_TO = Path(__file__).parents[3].joinpath("docs/how-to/dhcp.md").read_text(encoding="utf-8")
ALONE = HOW_TO.partition("### Your server alone")[2]


def test_the_options_to_enter_by_hand_are_the_boot_files_of_the_boot_service() -> None:
    cells = [[one.strip().strip("`") for one in line.split("|")[1:-1]] for line in ALONE.splitlines() if "|" in line]
    told = {row[0]: f"tftp://{row[2]}/{row[3]}" if row[2] else row[3] for row in cells[2:]}
    names = {"BIOS": "bios", "UEFI": "uefi", "UEFI over HTTP": "uefi-http", "iPXE": "ipxe"}
    assert {names[who]: url for who, url in told.items()} == of_host("10.0.0.1", 8091, script="boot4.ipxe")


def test_dnsmasq_takes_the_lines_for_it_and_they_name_the_same_files(tmp_path: Path) -> None:
    lines = ALONE.partition("```\n")[2].partition("```")[0]
    (tmp_path / "conf").write_text(f"port=0\n{lines}")
    tested = subprocess.run(["dnsmasq", "--test", "-C", tmp_path / "conf"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    boots = re.findall(r'^dhcp-boot=.*tag:(\w+),"?([^",]+)"?(?:,,(.*))?$', lines, re.MULTILINE)
    named = {tag.replace("http", "uefi-http"): f"tftp://{at}/{file}" if at else file for tag, file, at in boots}
    assert named == of_host("10.0.0.1", 8091, script="boot4.ipxe")


@pytest.mark.parametrize("section", ["A server on a node", "Boot through your own DHCP server"])
def test_every_command_to_serve_and_to_boot_beside_another_server_does_what_it_says(section: str) -> None:
    """Each from a network and the database role on, which others set up."""
    blocks = re.findall(
        r"^```(?:sh|console)\n(.*?)^```$", HOW_TO.partition(f"## {section}\n")[2].partition("\n## ")[0], re.S | re.M
    )
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    assert len(lines) >= 4
    jigs = {name: FakeJig() for name in ("network", "script", "dhcp")}
    with Testbed(crowbar_jig_script, crowbar_network, crowbar_dhcp, jigs=jigs) as bed:
        bed.add_node("admin.example.com", admin=True, hint={"hint-admin-v4addr": "10.0.0.1/24"})
        made = bed.cli(
            "networks", "create", "admin", "--category", "admin", "--range", "host=10.0.0.16/24-10.0.0.99/24"
        )
        assert made.exit_code == 0, made.stderr
        if section.startswith("Boot"):
            bed.bind("dhcp-database")
        for line in lines:
            crowbar, *words = shlex.split(line)
            assert crowbar == "crowbar", line
            done = bed.cli(*words)
            assert done.exit_code == 0, f"{line}\n{done.stdout}{done.stderr}"
        [server] = [one for one in bed.node_roles() if one.role == "dhcp-server"]
        assert server.state != "PROPOSED"
        if section.startswith("Boot"):
            assert server.data["dhcp"]["program"] == "dnsmasq"
            shown: Any = bed.web("viewer").get("/api/v2/networks/admin").json
            assert shown["dhcp"] == "proxy"
