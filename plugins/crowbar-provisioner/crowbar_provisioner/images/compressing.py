"""Compresses an image that is there piece for piece, whoever made it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

from pydantic import ValidationError

from crowbar_provisioner.catalogue import Image
from crowbar_provisioner.images import pieces
from crowbar_provisioner.images.build import PREFIX
from crowbar_provisioner.sledgehammer.packages import BuildError, making, put, run


def compress(place: Path, name: str) -> Path:
    """The image that ``place/NAME.json`` describes becomes ``NAME.raw.zst``, and its former file goes. ``BuildError``
    where it is not what is said of it.
    """
    about = place / f"{name}.json"
    try:
        text = about.read_bytes()
        image = Image.model_validate_json(text)
    except FileNotFoundError:
        raise BuildError(f"There is no image of {name}: {about} is not there.") from None
    except ValidationError:
        raise BuildError(f"{about} does not describe an image of a whole disk.") from None
    if image.pieces:
        return place / image.file
    with making(place), tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as work:
        disk, packed = place / image.file, Path(work) / f"{name}.raw.zst"
        if image.format != "raw":
            disk = Path(work) / "disk"
            run(["zstd", "-q", "-d", "--sparse", str(place / image.file), "-o", str(disk)])
        checked = _checked(disk, image)
        said = {**json.loads(text), **pieces.make(disk, packed), **checked}
        new = packed.rename(place / packed.name)
    put(place, {about.name: (json.dumps(said, indent=1) + "\n").encode()})
    if image.file != new.name:
        (place / image.file).unlink()
    return new


def _checked(disk: Path, image: Image) -> dict[str, str]:
    """The checksum of its content, which is compared with what is said of it."""
    size, found = disk.stat().st_size, _digest(disk, "blake2b")
    right = image.blake2b in (None, found) and (image.format != "raw" or _digest(disk, "sha256") == image.sha256)
    if size == image.disk_size and right and (not image.xxh64 or _xxh64(disk) == image.xxh64):
        return {"blake2b": found}
    why = "another checksum" if size == image.disk_size else f"{size} bytes, not {image.disk_size}"
    raise BuildError(
        f"The image {image.file} is not what is said of it: its content has {why}. Make or fetch it again."
    )


def _digest(file: Path, kind: str) -> str:
    with file.open("rb") as read:
        return hashlib.file_digest(read, kind).hexdigest()


def _xxh64(file: Path) -> str:
    return run(["xxhsum", "-H1", str(file)]).split()[0].decode()
