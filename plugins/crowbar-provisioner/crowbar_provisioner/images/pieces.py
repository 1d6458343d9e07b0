"""Images that are compressed piece for piece, so that a machine can begin at any of them.

All pieces one after the other are one ``.zst`` file, as any program for it reads it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from crowbar_provisioner.sledgehammer.packages import run

PIECE = 8 << 20
"""As large as those of the discovery image (``image.sh``)."""
SUM = r"^[0-9a-f]{64}$"


def summed(content: bytes) -> str:
    """Its BLAKE2b of 256 bits."""
    return hashlib.blake2b(content, digest_size=32).hexdigest()


def make(disk: Path, packed: Path) -> Mapping[str, Any]:
    """The file ``packed``, and what is to be said of it otherwise than of the raw ``disk``."""
    at_once = os.cpu_count() or 1
    pieces = []
    with disk.open("rb") as file, packed.open("wb") as made, ThreadPoolExecutor(at_once) as pool:
        while contents := [one for one in (file.read(PIECE) for _ in range(at_once)) if one]:
            for content, frame in zip(contents, pool.map(_compressed, contents), strict=True):
                made.write(frame)
                pieces.append((summed(content), len(frame)))
    with packed.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    size = packed.stat().st_size
    return {"file": packed.name, "format": "raw.zst", "sha256": checksum, "size": size, "pieces": pieces}


def _compressed(content: bytes) -> bytes:
    return run(["zstd", "-q", "-9", "-c", f"--stream-size={len(content)}"], given=content)


def fits(pieces: Sequence[tuple[str, int]], size: int, content: int) -> bool:
    """Whether these can be all of a file of ``size`` bytes, whose content has so many."""
    return sum(length for _, length in pieces) == size and len(pieces) == -(-content // PIECE)


def places(pieces: Sequence[tuple[str, int]]) -> str:
    """A line each: the checksum of its content, where in the file it begins, and its bytes there."""
    lines, at = [], 0
    for checksum, length in pieces:
        lines.append(f"{checksum} {at} {length}\n")
        at += length
    return "".join(lines)
