"""What a machine passes on, and to whom: by the scripts of the discovery image; and who takes from whom."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from crowbar_provisioner.sharing import SILENT, TAKERS, Copy, choose, url_of
from crowbar_provisioner.sledgehammer import build

from crowbar_core.testing import free_port

from .conftest import programs_of_the_image

SBIN = Path(build.__file__).parent / "root/sbin"
PIECE = 8 << 20
IMAGE = os.urandom(PIECE + 8192)
TOKEN, TAKER = "t" * 43, "taker-1"
KEY = hashlib.sha256(TOKEN.encode()).hexdigest()


def of_pair(taker: str) -> str:
    return hashlib.sha256(f"{KEY} {taker}".encode()).hexdigest()


@dataclass
class Door:
    port: int
    notes: Path
    process: subprocess.Popen[str]

    def ask(self, what: str, *, token: str = of_pair(TAKER), more: str = "") -> tuple[str, bytes]:
        """The first line that is answered, without its protocol, and the body. One is let in at a time."""
        return self.say(f"GET /{what} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{more}\r\n".encode())

    def say(self, raw: bytes) -> tuple[str, bytes]:
        with self._wire() as wire:
            try:
                wire.sendall(raw)
            except OSError:  # it may have heard enough
                return "", b""
            got = b""
            try:
                while more := wire.recv(1 << 16):
                    got += more
            except ConnectionResetError:
                pass
        head, _, body = got.partition(b"\r\n\r\n")
        return head.partition(b"\r\n")[0].decode().partition(" ")[2], body

    def _wire(self) -> socket.socket:
        until = time.monotonic() + 60
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=60)
            except ConnectionRefusedError:
                assert time.monotonic() < until, "nobody is let in any more"
                time.sleep(0.02)

    def has(self, much: int) -> None:
        (self.notes / "have").write_text(f"{much}\n")


def session_of(stat: Path) -> int:
    """0 for one that has ended."""
    try:
        state, _, _, session, *_ = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if state == "Z" else int(session)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs_of_the_image(tmp_path_factory.mktemp("image") / "bin")


@pytest.fixture
def door(tmp_path: Path, programs: Path) -> Iterator[Door]:
    disk, port = tmp_path / "disk", free_port()
    disk.write_bytes(IMAGE)
    said = {
        "disk": disk, "notes": tmp_path, "token": TOKEN, "port": port, "disk_size": len(IMAGE), "share": SBIN / "share",
    }  # fmt: skip
    program = [
        *(f"{name}='{value}'" for name, value in said.items()),
        f". {SBIN}/image.sh",
        f". {SBIN}/peers.sh",
        "ASKS=60",
        "begin_sharing",
    ]
    program += ["echo $doors", "read -r line", "end_sharing $line", "echo over", "read -r line"]
    with subprocess.Popen(
        [programs / "sh", "-c", "\n".join(program)], env={"PATH": str(programs)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        made = Door(port, tmp_path, process)
        made.has(len(IMAGE))
        yield made
        process.communicate("0\n\n", timeout=60)
        until = time.monotonic() + 60
        while left := [one for one in Path("/proc").glob("[0-9]*/stat") if session_of(one) == process.pid]:
            if time.monotonic() > until:
                os.killpg(process.pid, signal.SIGKILL)
                raise AssertionError(f"a process is left: {left}")
            time.sleep(0.05)


def test_a_piece_is_passed_on_as_it_stands_on_the_disk(door: Door) -> None:
    assert door.ask(f"{TAKER}?from=0&count={PIECE}") == ("200 OK", IMAGE[:PIECE])
    assert door.ask(f"{TAKER}?from={PIECE}&count=8192") == ("200 OK", IMAGE[PIECE:])


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_it_is_passed_on_over_both_families(door: Door, programs: Path, address: str) -> None:
    wanted = f"{url_of(address, door.port)}/{TAKER}?from=0&count={PIECE}"
    fetch = [programs / "wget", "-q", "-O", "-", "--header", f"Authorization: Bearer {of_pair(TAKER)}", wanted]
    assert door.ask("")[0] == "400 no"  # it is open
    until = time.monotonic() + 60
    while (done := subprocess.run(fetch, capture_output=True, timeout=60, check=False)).returncode:
        assert time.monotonic() < until, done.stderr
    assert done.stdout == IMAGE[:PIECE]


@pytest.mark.parametrize(
    "what, said",
    [
        (f"other?from=0&count={PIECE}", "401 no"),
        (f"{TAKER}?from=0&count={PIECE + 4096}", "400 no"),
        (f"{TAKER}?from=4096&count=4096", "400 no"),
        (f"{TAKER}?from={2 * PIECE}&count=4096", "400 no"),
        (f"{TAKER}?from=-8&count=4096", "400 no"),
        (f"{TAKER}?from=0&count=$(id)", "400 no"),
        (f"{TAKER}?from=0&count=99999999999999999999", "400 no"),
        (f"{TAKER}?from=&count=", "400 no"),
        (f"{TAKER}/../../etc/passwd?from=0&count=4096", "400 no"),
        ("etc/passwd", "400 no"),
        ("", "400 no"),
    ],
)
def test_nothing_else_is_passed_on(door: Door, what: str, said: str) -> None:
    assert door.ask(what) == (said, b"")


@pytest.mark.parametrize("token", ["", "x" * 64, KEY, of_pair("other"), TOKEN])
def test_it_is_passed_on_to_none_but_whom_the_boot_service_named(door: Door, token: str) -> None:
    assert door.ask(f"{TAKER}?from=0&count=4096", token=token) == ("401 no", b"")


def test_who_says_too_much_or_nothing_is_shown_out_and_the_next_is_let_in(door: Door) -> None:
    assert door.say(b"GET /" + b"x" * 1_000_000) == ("", b"")
    assert door.ask(f"{TAKER}?from=0&count=4096", more="X: y\r\n" * 50) == ("", b"")
    assert door.say(b"GET /x") == ("", b"")
    assert door.ask(f"{TAKER}?from=0&count=4096") == ("200 OK", IMAGE[:4096])


def test_what_does_not_stand_there_yet_is_waited_for_a_little_but_not_by_who_looks_how_fast_it_is(door: Door) -> None:
    for have, said in ((str(1 << 20), "503 have 1048576"), ("", "503 have 0")):
        (door.notes / "have").write_text(have)
        assert asked_for(door, f"{TAKER}?from={PIECE}&count=4096", said) >= 2
        looks = (asked_for(door, f"{TAKER}?from=0&count={PIECE}", said) for _ in range(20))
        assert any(one < 2 for one in looks), "each has waited"


def asked_for(door: Door, what: str, said: str) -> float:
    """The seconds until that is said."""
    began = time.monotonic()
    assert door.ask(what)[0] == said
    return time.monotonic() - began


def test_what_is_written_is_passed_on_while_the_rest_is_not(door: Door, programs: Path) -> None:
    door.has(0)
    writes = [programs / "dd", f"of={door.notes / 'disk'}", "bs=1M", "iflag=fullblock", "oflag=direct", "conv=notrunc"]
    with subprocess.Popen(writes, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as writer:
        assert writer.stdin is not None
        (door.notes / "writer").write_text(f"{writer.pid}\n")
        assert door.ask(f"{TAKER}?from=0&count=4096")[0] == "503 have 0"
        writer.stdin.write(IMAGE[: 1 << 20])
        writer.stdin.flush()
        until = time.monotonic() + 60
        while (got := door.ask(f"{TAKER}?from=0&count=4096")) == ("503 have 0", b""):  # it is not written at once
            assert time.monotonic() < until, "what was written is not passed on"
        assert got == ("200 OK", IMAGE[:4096])
        assert door.ask(f"{TAKER}?from=0&count={PIECE}")[0] == "503 have 1048576"
    with (door.notes / "elsewhere").open("wb") as elsewhere:
        elsewhere.seek(len(IMAGE))
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=elsewhere) as other:
            (door.notes / "writer").write_text(f"{other.pid}\n")
            assert door.ask(f"{TAKER}?from=0&count=4096")[0] == "503 have 0", "that process writes something else"


def test_the_door_is_shut_before_the_disk_is_changed_and_waits_for_who_takes(door: Door) -> None:
    assert door.process.stdin is not None
    assert door.process.stdout is not None
    assert door.ask(f"{TAKER}?from={PIECE}&count=4096")[0] == "200 OK"  # and will want the rest
    door.process.stdin.write("200\n")
    door.process.stdin.flush()
    assert door.ask(f"{TAKER}?from={PIECE}&count=8192")[0] == "200 OK", "it is still open"
    began = time.monotonic()
    assert door.process.stdout.readline() == "over\n"
    assert time.monotonic() - began < 30, "who has all of it is not waited for"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", door.port), timeout=5)


def test_who_only_looks_how_fast_it_is_is_not_waited_for(door: Door) -> None:
    assert door.process.stdin is not None
    assert door.process.stdout is not None
    assert door.ask(f"{TAKER}?from=0&count={PIECE}")[0] == "200 OK"
    began = time.monotonic()
    door.process.stdin.write("200\n")
    door.process.stdin.flush()
    assert door.process.stdout.readline() == "over\n"
    assert time.monotonic() - began < 30


# ---------------------------------------------------------------- who takes from whom

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def copy(id: int, *, from_id: int | None = None, address: str = "10.0.0.1", ago: float = 0) -> Copy:
    return Copy(id=id, from_id=from_id, address=address, heard_at=NOW - timedelta(seconds=ago))


def chosen(mine: Copy, *others: Copy, without: tuple[int, ...] = ()) -> int | None:
    found = choose(mine, [*others, mine], now=NOW, without=without)
    return found.id if found is not None else None


def test_who_begins_first_has_it_from_the_boot_service_and_the_others_make_a_chain() -> None:
    row: list[Copy] = []
    for number in range(1, 6):
        row.append(copy(number, from_id=chosen(copy(number), *row)))
    assert [one.from_id for one in row] == [None, 1, 2, 3, 4]


def test_nobody_takes_from_one_that_began_later() -> None:
    assert chosen(copy(1), copy(2), copy(3)) is None


def test_who_was_given_up_is_not_named_again_and_the_earliest_with_the_fewest_takers_is() -> None:
    row = (copy(1), copy(2, from_id=1), copy(3, from_id=2))
    assert chosen(copy(4, from_id=3), *row, without=(3,)) == 1
    assert chosen(copy(4), *row, without=(1, 2, 3)) is None


def test_who_is_silent_or_cannot_be_reached_or_has_takers_enough_is_not_named() -> None:
    assert chosen(copy(2), copy(1, ago=SILENT.total_seconds() + 1)) is None
    for address in ("fd00::1", "fe80::1", "", "0.0.0.0"):
        assert chosen(copy(2), copy(1, address=address)) is None
    assert chosen(copy(2, address="fd00::2"), copy(1, address="fd00::1")) == 1
    assert chosen(copy(2, address="fe80::2"), copy(1, address="fe80::1")) is None
    takers = [copy(10 + number, from_id=1, ago=1000) for number in range(TAKERS)]
    assert chosen(copy(20), copy(1), *takers[1:]) == 1
    assert chosen(copy(20), copy(1), *takers) is None
