"""Machines that are being written the same image take it from each other: each from one that began before it.

So the image passes the boot service's wire once, and goes on from disk to disk. Nobody waits in a circle, since all
stand in a row in which they began; and nobody has to be believed, since each piece is compared with what the boot
service says of it (``Sums``).
"""

from __future__ import annotations

import hashlib
import ipaddress
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, BinaryIO

from sqlalchemy import and_, delete, func, insert, select, update

from crowbar_core import Change, TemporaryError
from crowbar_provisioner.boots import Boot
from crowbar_provisioner.images.pieces import PIECE, summed
from crowbar_provisioner.installs import WRITING, Install
from crowbar_provisioner.settings import Settings
from crowbar_provisioner.tables import boots, copies, installs

ALIGNED = 4096
STEPS = ("image", "check")
"""Of the installer, in which what stands on the disk is the image and nothing else."""
TAKERS = 3
SILENT = timedelta(seconds=60)
QUIET, QUIET_MORE = 20, 10
"""After how many seconds without progress one that takes from another gives that up; the longer, the more there are
before it in the row: who stands at its head has noticed by then, and all behind go on.
"""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """One machine's copy of an image, as far as it is. ``from_id``: that which it is taken from."""

    id: int
    address: str
    heard_at: datetime
    node: str = ""
    boot_id: int = 0
    from_id: int | None = None
    depth: int = 0


@dataclass(frozen=True, kw_only=True)
class Peer:
    """From whom to take it, with what, and after how many seconds without progress it is given up."""

    id: int
    name: str
    url: str
    token: str
    quiet: int


def offered(settings: Settings, image: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a machine is told that may pass its image on: the port, and how long it may take it from others. None: that
    image is fetched by each for itself.
    """
    raw = image.get("format") == "raw" and image.get("size") == image.get("disk_size")
    if not ((raw or image.get("in_pieces")) and 0 < settings.share_port < 65536 and image["disk_size"] % ALIGNED == 0):
        return None
    return {"port": settings.share_port, "seconds": int(settings.install_minutes * 30)}


def choose(mine: Copy, others: Sequence[Copy], *, now: datetime, without: Collection[int] = ()) -> Copy | None:
    """Pure: the one that has the fewest takers of those that began before, which makes a chain of them; the earliest of
    several. None: from the boot service.
    """
    takers = [one.from_id for one in others if one.id != mine.id]
    able = [
        (takers.count(one.id), one.id, one)
        for one in others
        if one.id < mine.id
        and one.id not in without
        and now - one.heard_at <= SILENT
        and _family(one.address) == _family(mine.address) != 0
    ]
    count, _, found = min(able, default=(TAKERS, 0, None), key=lambda each: each[:2])
    return found if count < TAKERS else None


def _family(address: str) -> int:
    """4, 6, or 0 for one that others cannot reach."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return 0
    return 0 if found.is_link_local or found.is_unspecified else found.version


def ask(
    change: Change, install: Install, boot: Boot, *, node: str, address: str, without: Collection[int], port: int
) -> Peer | None:
    """From whom a machine takes its image now. Whoever asks for the first time in a boot stands last in the row."""
    mine = _mine(change, install, boot, node=node, address=address)
    found = choose(mine, _others(change.session, install), now=change.now, without=without)
    depth = found.depth + 1 if found is not None else 0
    change.session.execute(
        update(copies)
        .where(copies.c.id == mine.id)
        .values(from_id=found.id if found else None, depth=depth, heard_at=change.now, address=address)
    )
    if found is None:
        return None
    return Peer(
        id=found.id, name=found.node, url=url_of(found.address, port),
        token=_token(change.session, found, taker=install.work), quiet=QUIET + QUIET_MORE * min(depth - 1, 10),
    )  # fmt: skip


def url_of(address: str, port: int) -> str:
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _mine(change: Change, install: Install, boot: Boot, *, node: str, address: str) -> Copy:
    one = copies.c.install_id == install.id
    row = change.session.execute(select(copies).where(one, copies.c.boot_id == boot.id)).first()
    if row is None:
        change.session.execute(delete(copies).where(one))
        change.session.execute(
            insert(copies).values(
                install_id=install.id, boot_id=boot.id, sha256=install.image["sha256"], node=node, address=address,
                depth=0, heard_at=change.now, came="",
            )
        )  # fmt: skip
        row = change.session.execute(select(copies).where(one)).one()
    return _copy(row)


def _others(session: Any, install: Install) -> list[Copy]:
    """All copies of that image that are being written, or read back."""
    under_way = and_(
        installs.c.id == copies.c.install_id, installs.c.state == WRITING, installs.c.step.in_(STEPS)
    )  # fmt: skip
    asked = select(copies).join(installs, under_way).where(copies.c.sha256 == install.image["sha256"])
    return [_copy(row) for row in session.execute(asked)]


def _copy(row: Any) -> Copy:
    return Copy(**{name: getattr(row, name) for name in Copy.__dataclass_fields__})


def _token(session: Any, peer: Copy, *, taker: str) -> str:
    """Of this pair alone: both machines know it without a word between them, the one that passes on by the hash of its
    boot's token (``share`` of the discovery image makes the same).
    """
    key = session.scalar(select(boots.c.token_hash).where(boots.c.id == peer.boot_id))
    return hashlib.sha256(f"{key} {taker}".encode()).hexdigest()


def heard(change: Change, install: Install, boot: Boot, came: str = "") -> None:
    """It is alive; last, it says from whom the image came."""
    values: dict[str, Any] = {"heard_at": change.now} | ({"came": came} if came else {})
    mine = and_(copies.c.install_id == install.id, copies.c.boot_id == boot.id)
    change.session.execute(update(copies).where(mine).values(**values))


def came_of(session: Any, install: Install) -> str:
    """From whom its image came, as it says; ''."""
    asked = select(func.max(copies.c.came)).where(copies.c.install_id == install.id)
    return session.scalar(asked) or ""


class Sums:
    """Of each piece of a raw image its BLAKE2b of 256 bits, a line each. Made once for each version of it."""

    MOST = 8

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[int, ...], bytes] = {}

    def of(self, file: BinaryIO, version: tuple[int, ...]) -> bytes:
        """Raises ``TemporaryError`` while another thread makes them: none waits for that."""
        if version in self._known:
            return self._known[version]
        if not self._lock.acquire(blocking=False):
            raise TemporaryError("The checksums of an image are being made: ask again.")
        try:
            if version not in self._known:
                lines = []
                while piece := file.read(PIECE):
                    lines.append(summed(piece) + "\n")
                while len(self._known) >= self.MOST:
                    del self._known[next(iter(self._known))]
                self._known[version] = "".join(lines).encode()
            return self._known[version]
        finally:
            self._lock.release()
