"""What the how-to tells people to enter at a server of theirs is what machines should be told."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from crowbar_provisioner.answering import of_host

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
