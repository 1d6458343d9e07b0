"""A machine takes its image from others without believing them: by the scripts of the discovery image."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from crowbar_provisioner.images import pieces
from crowbar_provisioner.sledgehammer import build

from crowbar_core.testing import free_port

from .conftest import programs_of_the_image
from .light import served

SBIN = Path(build.__file__).parent / "root/sbin"
PIECE = 8 << 20
IMAGE = os.urandom(2 * PIECE + (3 << 20))
SUMS = "".join(
    f"{hashlib.blake2b(IMAGE[at : at + PIECE], digest_size=32).hexdigest()}\n" for at in range(0, len(IMAGE), PIECE)
)


@dataclass
class Server(http.server.ThreadingHTTPServer):
    """The boot service, and peers below it, each called after what it does: after it was looked how fast it is, or, the
    ``late``, then already. ``seconds``: how long one takes for a piece, by ``clock``, which stands still otherwise.
    ``breaks``: after how many bytes the wire of the boot service breaks. ``packed``: what it sends instead of it.
    """

    clock: Path
    peers: list[str] = field(default_factory=list)
    quiet: int = 3
    seconds: dict[str, float] = field(default_factory=dict)
    left: set[int] = field(default_factory=set)
    asked: list[tuple[str, int, str]] = field(default_factory=list)
    turns: int = 0
    breaks: list[int] = field(default_factory=list)
    packed: bytes = b""
    sums: str = SUMS
    silence: threading.Event = field(default_factory=threading.Event)
    closed: int = field(default_factory=free_port)
    daemon_threads = True

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.clock.write_text("1000.00 0\n")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def peer(self, without: list[int]) -> dict[str, Any] | None:
        left = [(number, name) for number, name in enumerate(self.peers) if number not in (*without, *self.left)]
        if not left:
            return None
        number, name = left[0]
        url = f"http://127.0.0.1:{self.closed}" if name == "absent" else f"{self.url}/{name}"
        return {"id": number, "name": name, "url": url, "token": f"for-{name}", "quiet": self.quiet}

    def pass_time(self, seconds: float) -> None:
        self.clock.write_text(f"{float(self.clock.read_text().split()[0]) + seconds:.2f} 0\n")


class _Asked(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (self.path, said["id"]) == ("/v1/source", "taker")
        self._answer(json.dumps({"peer": self.server.peer(said["without"])}).encode())

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        if place.path == "/image/sums":
            self._answer(self.server.sums.encode(), 200 if self.server.sums else 409)
            return
        query = dict(parse_qsl(place.query))
        first, name = int(query["from"]), place.path.split("/")[1]
        self.server.asked.append((name, first, self.headers["Authorization"]))
        content = self.server.packed if name == "image" and self.server.packed else IMAGE
        piece = content[first : first + int(query.get("count", len(content)))]
        self.server.pass_time(self.server.seconds.get(name, 0))
        if name == "image" and self.server.breaks:
            piece, whole = piece[: self.server.breaks.pop(0)], piece
            self._answer(piece, length=len(whole))
            return
        if name in ("good", "image", "slow") or (first == 0 and not name.startswith("late")):
            self._answer(piece)
            return
        name = name.removeprefix("late-")
        if name == "tiring":
            self.server.pass_time(3)
            self._answer(piece)
        elif name == "leaving" and first > PIECE:
            self.server.left.add(0)
            self.send_error(404)
        elif name == "half" and first > PIECE:  # it goes after a piece
            self.send_error(404)
        elif name in ("half", "leaving"):
            self._answer(piece)
        elif name == "wrong":
            self._answer(piece[:-1] + bytes([piece[-1] ^ 1]))
        elif name == "other":
            self._answer(IMAGE[len(IMAGE) - len(piece) :])
        elif name == "short":
            self._answer(piece[:-1])
        elif name == "endless":
            self.send_response(200)
            self.end_headers()
            for _ in range(1000):  # far more than was asked for
                self.wfile.write(piece)
        elif name == "silent":
            self.send_response(200)
            self.send_header("Content-Length", str(len(piece)))
            self.end_headers()
            self.wfile.write(piece[:1000])
            self.server.silence.wait(100)
        elif name == "standing":
            self.send_response(503, "have 4096")
            self._end()
        elif name == "creeping":
            self.server.turns += 1
            self.send_response(503, f"have {self.server.turns}")
            self._end()
        elif name == "leading":
            self.send_response(302)
            self.send_header("Location", f"{self.server.url}/other/x?from={first}&count={len(piece)}")
            self._end()

    def _answer(self, body: bytes, status: int = 200, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            """It has heard enough."""

    def _end(self) -> None:
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with served(Server(tmp_path / "clock")) as made:
        yield made
        made.silence.set()


def written(server: Server, home: Path, *, clock: Path | None = None, programs: Path | None = None, **more: Any) -> str:
    """From whom it came, as the machine says; it is the image, and no more of it was in memory than a piece. Unless it
    is said, others are fast enough however fast they are. ``clock``: what it goes by, instead of its own."""
    programs, disk, notes = programs or programs_of_the_image(home / "bin"), home / "disk", home / "notes"
    notes.mkdir()
    said: dict[str, Any] = {
        "disk": disk, "notes": notes, "token": "mine", "url": server.url, "image": f"{server.url}/image", "id": "taker",
        "port": free_port(), "seconds": 600, "size": len(server.packed or IMAGE), "disk_size": len(IMAGE),
        "format": "raw.zst" if server.packed else "raw",
        "CLEARLY": 0, "LOOKS": 30, "SLOW": 60, "MUTE": 2, "LONG": 60, **more,
    }  # fmt: skip
    scripts = "\n".join((SBIN / f"{one}.sh").read_text() for one in SCRIPTS)
    program = [
        scripts if clock is None else scripts.replace("/proc/uptime", str(clock)),
        *(f"{name}='{value}'" for name, value in said.items()),
        "trap 'end_sharing 0' EXIT",
        "write_shared || exit 1",
        "end_sharing 0",
        'echo "$whence"',
    ]
    done = subprocess.run(
        [programs / "sh", "-c", "\n".join(program)], env={"PATH": str(programs)}, capture_output=True, text=True,
        timeout=120, check=True,
    )  # fmt: skip
    assert disk.read_bytes() == IMAGE
    assert all(one.stat().st_size <= PIECE for one in notes.iterdir())
    return done.stdout.strip()


SCRIPTS = ("tell", "image", "peers")


def test_a_machine_that_is_named_nobody_has_it_from_the_boot_service(server: Server, tmp_path: Path) -> None:
    assert written(server, tmp_path) == "19 MiB from the boot service"
    assert server.asked == [("image", 0, "Bearer mine")]


def test_a_machine_has_it_from_another_with_the_token_for_that_alone(server: Server, tmp_path: Path) -> None:
    server.peers = ["good"]
    assert written(server, tmp_path) == "11 MiB from good, 8 MiB from the boot service"
    theirs = [("good", first, "Bearer for-good") for first in (0, PIECE, 2 * PIECE)]
    assert server.asked == [("image", 0, "Bearer mine"), *theirs]


@pytest.mark.parametrize(
    "service, other, said",
    [
        (2.0, 1.0, "11 MiB from slow, 8 MiB from the boot service"),
        (2.0, 1.1, "19 MiB from the boot service"),
        (0.2, 1.0, "19 MiB from the boot service"),
        (0.5, 0.5, "19 MiB from the boot service"),
    ],
    ids=["the wire is short", "the other is hardly faster", "the other is slower", "both are as fast"],
)
def test_another_has_to_be_clearly_faster_than_the_boot_service(
    server: Server, tmp_path: Path, service: float, other: float, said: str
) -> None:
    server.peers, server.seconds = ["slow"], {"image": service, "slow": other}
    assert written(server, tmp_path, clock=server.clock, CLEARLY=200) == said
    pieces = [first for name, first, _ in server.asked if name == "slow"]
    assert pieces == ([0, PIECE, 2 * PIECE] if "slow" in said else [0])


SLOW_DISK = """#!{programs}/sh
case $* in
    *of=*/disk*)
        read -r up _ <{clock}
        echo "$((${{up%.*}} + 1)).${{up#*.}} 0" >{clock}
        ;;
esac
exec {dd} "$@"
"""


@pytest.mark.parametrize("service, looks", [(2.0, 1), (1.9, 0)])
def test_another_is_not_looked_at_where_it_could_not_be_faster_for_the_disk_is_what_is_slow(
    server: Server, tmp_path: Path, service: float, looks: int
) -> None:
    """It takes a second for a piece."""
    server.peers, server.seconds = ["slow"], {"image": service, "slow": 0}
    programs = programs_of_the_image(tmp_path / "programs")
    real = (programs / "dd").resolve()
    (programs / "dd").unlink()
    (programs / "dd").write_text(SLOW_DISK.format(programs=programs, clock=server.clock, dd=real))
    (programs / "dd").chmod(0o755)
    told = written(server, tmp_path, clock=server.clock, programs=programs, CLEARLY=200)
    assert len([one for one in server.asked if one[:2] == ("slow", 0)]) == looks
    assert told == ("11 MiB from slow, 8 MiB from the boot service" if looks else "19 MiB from the boot service")


def test_one_that_becomes_slower_than_the_boot_service_is_left(server: Server, tmp_path: Path) -> None:
    server.peers, server.seconds = ["tiring", "good"], {"image": 2.0}
    said = written(server, tmp_path, clock=server.clock, CLEARLY=200, JUDGED=1)
    assert said == "8 MiB from tiring, 11 MiB from the boot service"
    assert server.asked[-1] == ("image", 2 * PIECE, "Bearer mine")


BAD = {
    "wrong": "it sent other bytes", "other": "it sent other bytes", "leading": "it sent other bytes",
    "short": "it does not answer, or is slow", "silent": "it does not answer, or is slow",
    "standing": "it does not come on", "creeping": "it is slow",
}  # fmt: skip


@pytest.mark.parametrize("bad, why", BAD.items())
def test_one_that_is_no_use_is_given_up_and_the_next_one_asked(
    server: Server, tmp_path: Path, bad: str, why: str
) -> None:
    server.peers = [bad, "good"]
    told = f"11 MiB from good, 8 MiB from the boot service; {bad} was given up: {why}"
    soon = {"silent": {"SLOW": 10}, "creeping": {"LONG": 4}}.get(bad, {})
    assert written(server, tmp_path, **soon) == told
    assert not [one for one in server.asked if one[0] == bad and one[1] > PIECE]


@pytest.mark.parametrize("bad", ["absent", "late-short"])
def test_one_that_cannot_be_compared_is_given_up_and_the_next_needs_no_other_piece_of_the_boot_service(
    server: Server, tmp_path: Path, bad: str
) -> None:
    server.peers = [bad, "good"]
    told = f"11 MiB from good, 8 MiB from the boot service; {bad} was given up: it does not answer, or is slow"
    assert written(server, tmp_path) == told


def test_one_that_is_silent_is_no_faster(server: Server, tmp_path: Path) -> None:
    server.peers = ["late-silent", "good"]
    began = time.monotonic()
    assert written(server, tmp_path, LOOKS=1) == "19 MiB from the boot service"
    assert time.monotonic() - began < 60


def test_one_that_has_nothing_yet_is_looked_at_again_and_not_waited_for(server: Server, tmp_path: Path) -> None:
    server.peers, server.quiet = ["late-standing"], 100
    began = time.monotonic()
    assert written(server, tmp_path, LONG=100) == "19 MiB from the boot service"
    assert time.monotonic() - began < 60
    assert [one[:2] for one in server.asked] == [
        (name, first) for at in (0, PIECE) for name, first in (("image", at), ("late-standing", 0))
    ] + [("image", 2 * PIECE)]


def test_no_more_is_taken_into_memory_than_was_asked_for(server: Server, tmp_path: Path) -> None:
    server.peers = ["late-endless"]
    assert written(server, tmp_path).startswith("11 MiB from late-endless, ")


def test_where_the_last_one_goes_the_boot_service_goes_on_at_that_byte(server: Server, tmp_path: Path) -> None:
    server.peers = ["half"]
    told = written(server, tmp_path)
    assert told == "8 MiB from half, 11 MiB from the boot service; half was given up: it does not answer, or is slow"
    assert server.asked[-1] == ("image", 2 * PIECE, "Bearer mine")


def test_one_that_has_shut_its_door_and_goes_on_is_left_at_once(server: Server, tmp_path: Path) -> None:
    server.peers = ["leaving", "good"]
    began = time.monotonic()
    told = "8 MiB from leaving, 3 MiB from good, 8 MiB from the boot service; leaving was given up: it has gone on"
    assert written(server, tmp_path, MUTE=100) == told
    assert time.monotonic() - began < 60


def test_others_are_tried_for_a_while_and_not_without_end(server: Server, tmp_path: Path) -> None:
    server.peers = ["wrong"] * 9
    assert written(server, tmp_path).startswith("19 MiB from the boot service; wrong was given up")
    assert len([one for one in server.asked if one[0] == "wrong" and one[1]]) == 3
    (tmp_path / "later").mkdir()
    server.peers = ["good"]
    assert written(server, tmp_path / "later", seconds=0) == "19 MiB from the boot service"


# ---------------------------------------------------------------- compressed piece for piece


@pytest.fixture
def compressed(server: Server, tmp_path: Path) -> list[int]:
    """Where in the file each piece begins."""
    (tmp_path / "content").write_bytes(IMAGE)
    told = pieces.make(tmp_path / "content", tmp_path / "packed")["pieces"]
    server.packed, server.sums = (tmp_path / "packed").read_bytes(), pieces.places(told)
    return [int(line.split()[1]) for line in server.sums.splitlines()]


def test_what_comes_compressed_is_taken_from_another_as_it_stands_on_its_disk(
    server: Server, tmp_path: Path, compressed: list[int]
) -> None:
    server.peers = ["good"]
    assert written(server, tmp_path) == "11 MiB from good, 8 MiB from the boot service"
    theirs = [("good", first, "Bearer for-good") for first in (0, PIECE, 2 * PIECE)]
    assert server.asked == [("image", 0, "Bearer mine"), *theirs]


def test_one_that_sends_other_bytes_is_given_up_for_a_compressed_image_too(
    server: Server, tmp_path: Path, compressed: list[int]
) -> None:
    server.peers = ["wrong"]
    assert written(server, tmp_path) == "19 MiB from the boot service; wrong was given up: it sent other bytes"
    assert server.asked[-1] == ("image", compressed[1], "Bearer mine")


def test_who_leaves_another_in_the_middle_goes_on_at_that_piece_of_the_compressed_file(
    server: Server, tmp_path: Path, compressed: list[int]
) -> None:
    server.peers = ["half"]
    told = written(server, tmp_path)
    assert told == "8 MiB from half, 11 MiB from the boot service; half was given up: it does not answer, or is slow"
    assert server.asked[-1] == ("image", compressed[2], "Bearer mine")


def test_a_compressed_image_whose_wire_breaks_goes_on_at_the_piece_that_it_was_at(
    server: Server, tmp_path: Path, compressed: list[int]
) -> None:
    server.breaks = [0, compressed[1] + 3_500_000, 10]
    assert written(server, tmp_path) == "19 MiB from the boot service"
    assert [first for _, first, _ in server.asked] == [0, 0, *[compressed[1]] * 2]


def test_pieces_that_cannot_be_unpacked_are_not_asked_for_again(
    server: Server, tmp_path: Path, compressed: list[int]
) -> None:
    broken = bytearray(server.packed)
    broken[compressed[1]] ^= 1
    server.packed = bytes(broken)
    with pytest.raises(subprocess.CalledProcessError):
        written(server, tmp_path)
    assert [first for _, first, _ in server.asked] == [0]


def test_where_no_pieces_are_told_it_comes_as_one_stream(server: Server, tmp_path: Path, compressed: list[int]) -> None:
    server.peers, server.sums = ["good"], ""
    assert written(server, tmp_path) == ""
    assert {name for name, _, _ in server.asked} == {"image"}
