"""An image is compressed piece for piece, whoever made it, and is not touched where it is not what is said of it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from crowbar_provisioner.catalogue import Image
from crowbar_provisioner.images.compressing import compress
from crowbar_provisioner.images.pieces import PIECE
from crowbar_provisioner.sledgehammer.packages import BuildError
from pydantic import ValidationError

CONTENT = b"".join((os.urandom(PIECE // 2), bytes(PIECE), os.urandom(4096)))
XXH64 = subprocess.run(["xxhsum", "-H1"], input=CONTENT, capture_output=True, check=True).stdout.split()[0].decode()
GOOD = {"blake2b": hashlib.blake2b(CONTENT).hexdigest(), "xxh64": XXH64}
TARBALL = {
    "os": "some", "file": "some.tar.zst", "format": "tar.zst", "sha256": "0" * 64, "size": 1, "content_size": 1,
    "disk_size": 1,
}  # fmt: skip


def there(place: Path, format: str, **more: Any) -> None:
    file = place / ("some.raw" if format == "raw" else "some.zst")
    file.write_bytes(CONTENT if format == "raw" else unpacked("-c", CONTENT))
    said = {
        "os": "some", "file": file.name, "format": format, "size": file.stat().st_size, "disk_size": len(CONTENT),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "root_partition": 3, **GOOD, "tarball": TARBALL,
        "by": "somebody",
    }  # fmt: skip
    (place / "some.json").write_text(json.dumps(said | more))


def unpacked(how: str, given: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", how], input=given, capture_output=True, check=True).stdout


@pytest.mark.parametrize("format, more", [("raw", {}), ("raw.zst", {}), ("raw", {"blake2b": None, "xxh64": None})])
def test_each_piece_of_it_is_unpacked_alone_and_all_of_them_as_one_file(
    tmp_path: Path, format: str, more: dict[str, Any]
) -> None:
    there(tmp_path, format, **more)
    before = json.loads((tmp_path / "some.json").read_text())
    made = tmp_path / "some.raw.zst"
    if format == "raw.zst":
        line = [sys.executable, "-m", "crowbar_core.cli", "images", "compress", "some", "--to", str(tmp_path)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
        assert done.stdout.strip() == str(made)
    else:
        assert compress(tmp_path, "some") == made
    assert {one.name for one in tmp_path.iterdir()} == {"some.raw.zst", "some.json"}
    packed, text = made.read_bytes(), (tmp_path / "some.json").read_text()
    assert unpacked("-dc", packed) == CONTENT
    image = Image.model_validate_json(text)
    at, found = 0, b""
    assert image.pieces is not None
    for checksum, length in image.pieces:
        piece = unpacked("-dc", packed[at : at + length])
        assert hashlib.blake2b(piece, digest_size=32).hexdigest() == checksum
        assert len(piece) == min(PIECE, len(CONTENT) - len(found))
        at, found = at + length, found + piece
    assert (found, image.sha256, image.size) == (CONTENT, hashlib.sha256(packed).hexdigest(), len(packed))
    assert image.blake2b == GOOD["blake2b"], "how it is read back, if nothing else was said"
    changed = {"file", "format", "sha256", "size", "pieces", "blake2b"}
    assert {name: value for name, value in json.loads(text).items() if name not in changed} == {
        name: value for name, value in before.items() if name not in changed
    }
    assert compress(tmp_path, "some") == made
    assert (tmp_path / "some.json").read_text() == text


@pytest.mark.parametrize(
    "format, more, why",
    [
        ("raw", {"sha256": "0" * 64}, "its content has another checksum"),
        ("raw", {"blake2b": "0" * 128}, "its content has another checksum"),
        ("raw.zst", {"xxh64": "0" * 16}, "its content has another checksum"),
        ("raw", {"disk_size": 7}, f"its content has {len(CONTENT)} bytes, not 7"),
        ("raw.zst", {"root_partition": 0}, "does not describe an image of a whole disk"),
        ("raw", {"file": "none"}, "No such file"),
    ],
)
def test_what_is_not_as_it_is_said_stays_as_it_is(tmp_path: Path, format: str, more: dict[str, Any], why: str) -> None:
    there(tmp_path, format, **more)
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    with pytest.raises(BuildError) as told:
        compress(tmp_path, "some")
    assert why in told.value.detail
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


def test_of_what_is_not_there_is_said_where_it_would_be(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as told:
        compress(tmp_path, "some")
    assert told.value.detail == f"There is no image of some: {tmp_path / 'some.json'} is not there."


SUM = "0" * 64


@pytest.mark.parametrize(
    "format, pieces",
    [
        ("raw", [[SUM, 7]]), ("raw.zst", [[SUM, 8]]), ("raw.zst", [[SUM, 3], [SUM, 4]]), ("raw.zst", []),
        ("raw.zst", [["x", 7]]), ("raw.zst", [[SUM, 7, 0]]),
    ],
)  # fmt: skip
def test_pieces_are_all_of_the_file_and_of_its_content(format: str, pieces: Any) -> None:
    said = {
        "os": "some", "file": "some", "format": format, "size": 7, "disk_size": PIECE, "sha256": SUM,
        "root_partition": 3, **GOOD,
    }  # fmt: skip
    Image.model_validate_json(json.dumps({**said, "format": "raw.zst", "pieces": [[SUM, 7]]}))
    with pytest.raises(ValidationError):
        Image.model_validate_json(json.dumps({**said, "pieces": pieces}))
