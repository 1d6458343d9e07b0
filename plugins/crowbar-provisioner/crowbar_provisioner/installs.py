"""Installations as they are kept: what is to be written to which disk, and how far the installer is."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, insert, select, update

from crowbar_core import Change
from crowbar_provisioner import under_way
from crowbar_provisioner.tables import installs

WANTED, WRITING, WRITTEN, RESTARTING, DONE, FAILED = "wanted", "writing", "written", "restarting", "done", "failed"
OPEN = (WANTED, WRITING, WRITTEN, RESTARTING)
NO, CHOSEN, BEGUN, REFUSED, OVER, CAME = "", "chosen", "begun", "refused", "over", "came"
"""Of kexec: whether it is to go on so, has said that it does, or cannot; that it restarts instead; that it came so."""


@dataclass(frozen=True, kw_only=True)
class Install:
    """``state``: wanted, writing, written, restarting, done or failed; ``step``: the installer's own; ``kexec``: how
    far that is; ``left_boot``: the boot id of the discovery image that went on so.
    """

    id: int
    node_id: int
    run_id: int
    work: str
    os: str
    disk: Mapping[str, Any]
    image: Mapping[str, Any]
    state: str
    step: str
    percent: int
    detail: str
    host_keys: Sequence[str]
    kexec: str
    left_boot: str
    after_boot: int
    begun_at: datetime
    ended_at: datetime | None

    @property
    def method(self) -> str:
        """By which it is installed: image, preseed, autoinstall or kickstart."""
        return str(self.image.get("method", "image"))

    @property
    def disks(self) -> Sequence[Mapping[str, Any]]:
        """All that are erased, the first one first."""
        return [self.disk, *self.disk.get("others", ())]

    @property
    def in_boot(self) -> int | None:
        """The boot of the discovery image in which it is done, without a reset."""
        return self.image.get("in_boot")

    @property
    def to_write(self) -> bool:
        return self.state in (WANTED, WRITING)

    @property
    def to_jump(self) -> bool:
        """Whether its installer is to go on by kexec, as far as it knows."""
        return self.kexec in (CHOSEN, BEGUN)


def open_of(session: Any, node_id: int) -> Install | None:
    """The one that is under way on the node."""
    return _one(session, and_(installs.c.node_id == node_id, installs.c.state.in_(OPEN)))


def of_run(session: Any, run_id: int) -> Install | None:
    return _one(session, installs.c.run_id == run_id)


def last_of(session: Any, node_id: int) -> Install | None:
    return _one(session, installs.c.node_id == node_id)


def began_in(session: Any, install: Install, boot_id: int) -> bool:
    """Whether an earlier one of the node began in this boot."""
    earlier = and_(installs.c.node_id == install.node_id, installs.c.after_boot == boot_id, installs.c.id != install.id)
    return session.scalar(select(installs.c.id).where(earlier).limit(1)) is not None


def _one(session: Any, where: Any) -> Install | None:
    row = session.execute(select(installs).where(where).order_by(installs.c.id.desc()).limit(1)).first()
    return None if row is None else Install(**row._mapping)


def begin(
    change: Change, *, node_id: int, run_id: int, os: str, disk: Mapping[str, Any], image: Mapping[str, Any],
    after_boot: int, kexec: bool = False,
) -> Install:  # fmt: skip
    """One for each run; what an earlier run left open is over. It is done in a boot later than ``after_boot``."""
    session = change.session
    under_way.give_up(change, installs, OPEN, node_id, "Another run began.", but=run_id)
    if (known := of_run(session, run_id)) is not None:
        return known
    session.execute(
        insert(installs).values(
            node_id=node_id, run_id=run_id, work=secrets.token_urlsafe(16), os=os, disk=dict(disk), image=dict(image),
            state=WANTED, step="", percent=0, detail="", host_keys=[],
            kexec=CHOSEN if kexec else NO, left_boot="", after_boot=after_boot, begun_at=change.now,
        )
    )  # fmt: skip
    made = of_run(session, run_id)
    assert made is not None
    return made


def keep(change: Change, install: Install, **values: Any) -> None:
    change.session.execute(update(installs).where(installs.c.id == install.id).values(**values))
