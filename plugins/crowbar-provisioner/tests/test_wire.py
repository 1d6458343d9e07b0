"""The image's way to a disk: over a wire that breaks, and read back, by the shell of the discovery image."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from crowbar_provisioner.sledgehammer import build

from .conftest import programs_of_the_image
from .light import served

SCRIPT = Path(build.__file__).parent / "root/sbin/image.sh"
IMAGE = os.urandom(9 << 20)


@dataclass
class Wire(http.server.ThreadingHTTPServer):
    """Gives ``content`` from the byte on that is asked for, and hangs up after so many as ``breaks`` says, one each
    time; once it is empty, never. ``status``: what it answers.
    """

    content: bytes = IMAGE
    breaks: list[int] = field(default_factory=list)
    status: int = 200
    asked: list[tuple[int, int]] = field(default_factory=list)
    daemon_threads = True

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)


class _Asked(http.server.BaseHTTPRequestHandler):
    server: Wire

    def do_GET(self) -> None:
        wire = self.server
        query = dict(parse_qsl(urlsplit(self.path).query))
        first = int(query["from"])
        piece = wire.content[first : first + int(query.get("count", len(wire.content)))]
        wire.asked.append((first, len(piece)))
        self.send_response(wire.status)
        self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        self.wfile.write(piece[: wire.breaks.pop(0)] if wire.breaks else piece)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def wire() -> Iterator[Wire]:
    with served(Wire()) as made:
        yield made


@dataclass
class Machine:
    """Where the programs of the discovery image are; ``sleep`` passes at once."""

    home: Path
    wire: Wire
    disk: Path = field(init=False)

    def __post_init__(self) -> None:
        self.disk = self.home / "disk"
        self.disk.write_bytes(os.urandom(64) * 1024)
        (self.home / "notes").mkdir()
        programs_of_the_image(self.home / "bin")

    def does(self, what: str, **values: Any) -> tuple[int, str]:
        """The exit code, and why."""
        said: dict[str, Any] = {
            "disk": self.disk, "token": "t", "notes": self.home / "notes", "format": "raw", "size": len(IMAGE),
            "disk_size": len(IMAGE), "image": f"http://127.0.0.1:{self.wire.server_address[1]}/image", **values,
        }  # fmt: skip
        lines = [f"{name}='{value}'" for name, value in said.items()]
        program = f'set -o pipefail\nsleep() {{ :; }}\n. {SCRIPT}\n{what}\ncode=$?\necho "$why"\nexit $code\n'
        done = subprocess.run(
            [self.home / "bin/sh", "-c", "\n".join([*lines, program])], env={"PATH": str(self.home / "bin")},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.stderr == ""
        return done.returncode, done.stdout.strip()


@pytest.fixture
def machine(tmp_path: Path, wire: Wire) -> Machine:
    return Machine(tmp_path, wire)


BREAKS = [3_500_000, 0, 100, 2 << 20, 1_900_000]


def test_an_image_whose_wire_breaks_is_gone_on_with_where_it_was(machine: Machine, wire: Wire) -> None:
    wire.breaks = list(BREAKS)
    assert machine.does("write_image")[0] == 0
    assert machine.disk.read_bytes() == IMAGE
    mib = 1 << 20
    assert [first for first, _ in wire.asked] == [0, 3 * mib, 3 * mib, 3 * mib, 5 * mib, 6 * mib]


def test_a_compressed_image_goes_on_with_the_piece_whose_wire_broke(machine: Machine, wire: Wire) -> None:
    packed = subprocess.run(["zstd", "-1", "-c"], input=IMAGE, capture_output=True, check=True).stdout
    wire.content, wire.breaks = packed, [100, 0, 8 << 20, 5]
    assert machine.does("write_image", format="raw.zst", size=len(packed))[0] == 0
    assert machine.disk.read_bytes() == IMAGE
    mib = 1 << 20
    assert [first for first, _ in wire.asked] == [0, 0, 0, 8 * mib, 8 * mib]


@pytest.mark.parametrize("format", ["raw", "raw.zst"])
def test_what_is_refused_is_not_asked_for_again(machine: Machine, wire: Wire, format: str) -> None:
    wire.status = 409
    code, why = machine.does("write_image", format=format)
    assert (code, len(wire.asked)) == (1, 1)
    assert "409" in why


@pytest.mark.parametrize("format", ["raw", "raw.zst"])
def test_a_wire_over_which_nothing_comes_is_given_up_in_the_end(machine: Machine, wire: Wire, format: str) -> None:
    wire.status = 503
    code, why = machine.does("write_image", format=format, patience=1)
    assert code == 1
    assert why.startswith("no byte of it came for 1 seconds: wget: server returned error: HTTP/1.")
    assert len(wire.asked) > 1


def test_a_disk_that_cannot_be_written_is_named(machine: Machine) -> None:
    code, why = machine.does("write_image", disk="/dev/full")
    assert code == 1
    assert why.startswith("dd: ")
    assert "/dev/full" in why


@pytest.mark.parametrize("by", ["xxh64", "blake2b", "sha256"])
def test_one_wrong_byte_is_found_when_the_disk_is_read_back(machine: Machine, by: str) -> None:
    quick = subprocess.run(["xxhsum", "-H1"], input=IMAGE, capture_output=True, check=True).stdout.split()[0].decode()
    sums = {
        "xxh64": quick, "blake2b": hashlib.blake2b(IMAGE).hexdigest(), "sha256": hashlib.sha256(IMAGE).hexdigest(),
    }  # fmt: skip
    assert machine.does("write_image")[0] == 0
    assert machine.does("read_image", **{by: sums[by]})[0] == 0
    with machine.disk.open("r+b") as disk:
        disk.seek(5_000_000)
        disk.write(bytes([IMAGE[5_000_000] ^ 1]))
    code, why = machine.does("read_image", **{by: sums[by]})
    assert (code, why.startswith("what stands on it has the checksum ")) == (1, True), why
    assert why.endswith(f", not {sums[by]}")
